"""Warm start: the server that has the large packages imported and forks a child for every job.

Three kinds of process: the wrapper runs the command and waits; the server (its child) imports,
then forks; a job (a child of the server) turns into what ``python script.py`` would have been.

The server has one thread and starts no other, so a fork copies a process at rest: it runs no
torch operation, reads no model, initialises no GPU, sets no number of threads. It imports nothing
of this repository, so every job reads the code that lies there when the job starts.
"""

import atexit
import contextlib
import ctypes
import gc
import importlib
import importlib.machinery
import io
import os
import random
import secrets
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import NoReturn

from capsynth.errors import CapsynthError
from capsynth.processes import follow
from capsynth.warm import (
    SOCKET_VARIABLE,
    SUPPORTED,
    THREAD_VARIABLES,
    end_like,
    frame,
    name_of,
    peer_user,
    surroundings,
    unframe,
)

PRELOAD = (
    "torch.utils.data",
    "torchvision.transforms.functional",
    "timm.optim",
    "diffusers:StableDiffusionPipeline,AutoPipelineForText2Image,DDIMScheduler",
    "transformers:VisionEncoderDecoderModel,ViTModel,GPT2LMHeadModel,ViTImageProcessor",
    "transformers:AutoImageProcessor,AutoTokenizer,GPT2Tokenizer,CLIPTextModel,CLIPTokenizer",
    "safetensors.torch",
    "pandas",
    "pyarrow.parquet",
    "matplotlib.pyplot",
    "PIL.ImageFont",
    "jsonschema",
    "tqdm",
)

# What the server itself imports under: no pool threads of OpenBLAS and of pyarrow's jemalloc, and
# a look at the GPUs (torch.cuda.is_available) that leaves them untouched.
_SERVER_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "PYTORCH_NVML_BASED_CUDA_CHECK": "1",
}

_SCRIPTS = Path(__file__).parents[1]
_BACKLOG = 512
_PART_BYTES = 1 << 16
_STDIO = 3
_SI_KERNEL = 0x80  # asm-generic/siginfo.h: sent by the terminal, to the whole foreground group


def serve(command: Sequence[str], preload: Sequence[str]) -> NoReturn:
    """Run ``command`` beside a warm server and end this process as ``command`` ends.

    Never returns, in none of the processes.

    Args:
        command: A program and its arguments. It starts at once; jobs wait for the imports.
        preload: What the server imports, each ``module`` or ``module:name,name``.

    Raises:
        CapsynthError: If ``preload`` names a module of this repository.
    """
    for spec in preload:
        check_third_party(spec)
    if not SUPPORTED or None in (sys.stdin, sys.stdout, sys.stderr):
        _say("this system has no safe fork, or a standard stream is closed; no warm start")
        sys.exit(subprocess.run(command, check=False).returncode)
    # The server takes no number of threads from its own environment, the jobs set theirs.
    here = surroundings({n: v for n, v in os.environ.items() if n not in THREAD_VARIABLES})
    address = f"@capsynth-warm-{secrets.token_hex(16)}"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(name_of(address))
    listener.listen(_BACKLOG)
    # The server holds the end to read from: it reads the end of the file when the wrapper is gone.
    lifeline, held = os.pipe()
    wrapper = os.getpid()
    server = os.fork()
    if server == 0:
        os.close(held)
        follow(wrapper, signal.SIGTERM)
        job = _Server(listener, lifeline, here).run(preload)
        if job is None:
            os._exit(0)
        job()
    os.close(lifeline)
    listener.close()
    environment = {**os.environ, SOCKET_VARIABLE: address}
    try:
        exit_code = _run_command(command, environment)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(server, signal.SIGTERM)
        os.waitpid(server, 0)
    end_like(exit_code)


def check_third_party(spec: str) -> None:
    """Refuse to preload what lies in this repository.

    Raises:
        CapsynthError: If the module named by ``spec`` is one of ours.
    """
    top = spec.partition(":")[0].partition(".")[0]
    if (_SCRIPTS / top).is_dir() or (_SCRIPTS / f"{top}.py").is_file():
        raise CapsynthError(
            f"--preload {spec}: {top!r} is code of this repository, and jobs must read that anew; "
            "name third-party packages only"
        )


def preload_modules(specs: Sequence[str]) -> None:
    """Import ``specs`` as far as they can be imported; jobs meet what is missing themselves."""
    for spec in specs:
        name, _, attributes = spec.partition(":")
        try:
            module = importlib.import_module(name)
            for attribute in filter(None, attributes.split(",")):
                getattr(module, attribute)
        except Exception as error:  # a broken package may raise anything at import
            _say(f"{spec} is not preloaded: {type(error).__name__}: {error}")


def _run_command(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Run ``command`` and pass signals on to it; return its exit code, or minus a signal."""
    passed_on = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT}
    wrapper = os.getpid()
    # Blocked and waited for, not handled: nothing can come between two steps.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, passed_on | {signal.SIGCHLD})

    def prepare() -> None:
        follow(wrapper, signal.SIGTERM)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    try:
        # The one thread of this process makes preexec_fn safe.
        process = subprocess.Popen(command, env=environment, preexec_fn=prepare)
    except OSError as error:
        _say(f"cannot run {command[0]}: {error}")
        return 127
    while process.poll() is None:
        received = signal.sigwaitinfo(passed_on | {signal.SIGCHLD})
        # What the terminal sends, the command has got already: it is in the same group.
        if received.si_signo != signal.SIGCHLD and received.si_code != _SI_KERNEL:
            process.send_signal(received.si_signo)
    return process.returncode


@dataclass
class _Client:
    """One connection: first a request in parts, then signals for its job."""

    connection: socket.socket
    data: bytearray = field(default_factory=bytearray)
    stdio: list[int] = field(default_factory=list)
    pid: int | None = None

    def close(self) -> None:
        self.connection.close()
        for descriptor in self.stdio:
            os.close(descriptor)
        self.stdio.clear()


class _Server:
    """The process that imports once and forks a child for every request."""

    def __init__(self, listener: socket.socket, lifeline: int, here: dict[str, str]) -> None:
        self._listener, self._lifeline, self._surroundings = listener, lifeline, here
        self._path = sys.path[1:]
        self._clients: dict[int, _Client] = {}  # by the descriptor of the connection
        self._killed: set[int] = set()
        # poll, not epoll: an epoll instance would be shared with every child.
        self._selector = selectors.PollSelector()
        self._handlers: dict[int, Callable[[int, FrameType | None], object] | int | None] = {}
        self._ending = False

    def run(self, preload: Sequence[str]) -> Callable[[], NoReturn] | None:
        """Serve until the wrapper has gone, then return None; in a child return its job."""
        os.setsid()  # Ctrl-C in the terminal is for the command
        os.environ.update(_SERVER_ENVIRONMENT)
        for name in set(THREAD_VARIABLES) - set(_SERVER_ENVIRONMENT):
            os.environ.pop(name, None)
        began = time.monotonic()
        sys.path[:] = self._path  # without our scripts
        preload_modules(preload)
        reason = find_obstacle()
        if reason:
            _say(f"no warm start: {reason}; jobs import for themselves")
            self._listener.close()
            signal.pause()  # until the wrapper ends
        _say(f"imports took {time.monotonic() - began:.1f} s")
        # What exists now stays: the collector must not write to pages shared with the children.
        gc.collect()
        gc.freeze()
        self._listen()
        while not self._ending:
            for key, _ in self._selector.select():
                job = key.data()
                if job is not None:
                    return job
        for client in self._clients.values():
            _kill_group(client.pid)
        return None

    def _listen(self) -> None:
        self._wakeup, self._wakeup_write = os.pipe()
        for descriptor in (self._wakeup, self._wakeup_write):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(self._wakeup_write, warn_on_full_buffer=False)
        for number, handler in (
            (signal.SIGCHLD, lambda *_: None),
            (signal.SIGTERM, lambda *_: self._end()),
            (signal.SIGINT, signal.SIG_IGN),
            (signal.SIGHUP, signal.SIG_IGN),
        ):
            self._handlers[number] = signal.signal(number, handler)
        self._listener.setblocking(False)
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._selector.register(self._lifeline, selectors.EVENT_READ, self._end)
        self._selector.register(self._wakeup, selectors.EVENT_READ, self._reap)

    def _end(self) -> None:
        self._ending = True

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:  # the client has gone
            return
        if peer_user(connection) != os.geteuid():
            connection.close()
            return
        connection.setblocking(False)
        client = _Client(connection)
        self._clients[connection.fileno()] = client
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._read(client))
        self._send(client, self._surroundings)

    def _send(self, client: _Client, value: object) -> None:
        # A few kilobytes always fit; a client that has gone is noticed when it is read from.
        with contextlib.suppress(OSError):
            client.connection.sendall(frame(value))

    def _read(self, client: _Client) -> Callable[[], NoReturn] | None:
        if client.connection.fileno() < 0:  # forgotten since the selector saw it
            return None
        data, stdio = b"", list[int]()
        try:
            data, stdio, _, _ = socket.recv_fds(
                client.connection, _PART_BYTES, _STDIO, socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return None
        except OSError:  # as good as an end of file
            pass
        client.stdio += stdio
        if not data:
            self._forget(client)
            return None
        if client.pid is not None:
            for number in data:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(client.pid, number)
            return None
        client.data += data
        request = unframe(client.data)
        if request is None or not _is_there(client.connection):
            return None
        return self._start(client, *request)

    def _start(
        self, client: _Client, argv: list[str], folder: str, environment: dict[str, str]
    ) -> Callable[[], NoReturn] | None:
        if len(client.stdio) != _STDIO:  # this process has no descriptors left
            self._send(client, None)
            return None
        server = os.getpid()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            client.pid = os.fork()
        except OSError as error:
            _say(f"cannot fork for {argv[0]}: {error}")
        if client.pid == 0:
            os.setsid()
            follow(server, signal.SIGKILL)
            self._leave(client)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            return lambda: run_script(argv, folder, environment, self._path)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._send(client, client.pid)
        for descriptor in client.stdio:
            os.close(descriptor)
        client.stdio.clear()
        return None

    def _leave(self, own: _Client) -> None:
        """Give up, in a child, everything that belongs to the server; take the client's stdio."""
        signal.set_wakeup_fd(-1)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        for target, descriptor in enumerate(own.stdio):
            os.dup2(descriptor, target)
        self._selector.close()
        self._listener.close()
        for descriptor in (self._lifeline, self._wakeup, self._wakeup_write):
            os.close(descriptor)
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wakeup, _PART_BYTES)
        for client in list(self._clients.values()):
            if client.pid is None:
                continue
            pid, status = os.waitpid(client.pid, os.WNOHANG)
            if pid:
                client.pid = None
                self._send(client, os.waitstatus_to_exitcode(status))
                self._forget(client)
        self._killed -= {pid for pid in self._killed if os.waitpid(pid, os.WNOHANG)[0]}

    def _forget(self, client: _Client) -> None:
        """Drop a connection; its job, if one still runs, ends with everything it started."""
        self._selector.unregister(client.connection)
        del self._clients[client.connection.fileno()]
        client.close()
        if client.pid is not None:
            _kill_group(client.pid)
            self._killed.add(client.pid)


def run_script(
    argv: Sequence[str], folder: str, environment: dict[str, str], path: Sequence[str]
) -> NoReturn:
    """Make this process what ``python script arguments...`` is, run it and end as it ends.

    Args:
        argv: The script and its arguments, as the command line has them.
        folder: The current folder.
        environment: All of the environment.
        path: ``sys.path`` without its first entry.
    """
    preloaded = set(sys.modules)
    _open_stdio()
    try:
        _enter(argv, folder, environment, path)
        preloaded = set(sys.modules)
        exit_code = _execute(os.path.join(folder, argv[0]))
    except BaseException as error:
        exit_code = report_exception(error)
    _finish(preloaded)
    end_like(_flush(exit_code))


def _enter(
    argv: Sequence[str], folder: str, environment: dict[str, str], path: Sequence[str]
) -> None:
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    tempfile.tempdir = None  # found anew from TMPDIR
    multiprocessing = sys.modules.get("multiprocessing.process")
    if multiprocessing is not None:
        vars(multiprocessing)["ORIGINAL_DIR"] = folder
    _set_threads(environment)
    _reseed()
    _drop_own_modules()
    sys.argv = list(argv)
    sys.orig_argv = [sys.executable, *argv]
    sys.path[:] = [os.path.dirname(os.path.realpath(argv[0])), *path]
    importlib.invalidate_caches()


def _execute(file: str) -> int:
    main = types.ModuleType("__main__")
    main.__dict__.update(
        __annotations__={},
        __builtins__=sys.modules["builtins"],
        __file__=file,
        __cached__=None,
        __loader__=importlib.machinery.SourceFileLoader("__main__", file),
    )
    sys.modules["__main__"] = main
    with open(file, "rb") as source:
        code = compile(source.read(), file, "exec", dont_inherit=True)
    exec(code, main.__dict__)
    return 0


def report_exception(error: BaseException) -> int:
    """Print what the interpreter prints when ``error`` leaves a script; return the exit code."""
    if isinstance(error, SystemExit):
        if error.code is None:
            return 0
        if isinstance(error.code, int):
            return error.code & 0xFF
        print(error.code, file=sys.stderr)
        return 1
    # Without the frames of this module; nothing is left of an error in the script's syntax.
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    sys.excepthook(type(error), error.with_traceback(trace), trace)
    return -signal.SIGINT if isinstance(error, KeyboardInterrupt) else 1


def _finish(preloaded: set[str]) -> None:
    """Do what the interpreter does at its end, but leave the preloaded packages standing.

    To take them down costs half a second of CPU time and frees only what the kernel frees anyway.
    Files left open are written, and the objects of the script and of its own imports do go.
    """
    wait_for_threads = vars(threading)["_shutdown"]
    for step in (wait_for_threads, atexit._run_exitfuncs):
        try:
            step()
        except BaseException as error:
            report_exception(error)
    _flush_open_files()
    for name in ["__main__", *(set(sys.modules) - preloaded)]:
        sys.modules.pop(name, None)
    gc.collect()


def _flush_open_files() -> None:
    """Write buffers out before the collector runs: it may close the file below a buffer first."""
    for thing in gc.get_objects():
        if issubclass(type(thing), (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)):
            with contextlib.suppress(OSError, ValueError):  # closed, or only read from
                thing.flush()


def _flush(exit_code: int) -> int:
    """Flush stdout and stderr; return ``exit_code``, or the interpreter's 120 if that fails."""
    for file in (sys.stdout, sys.stderr):
        try:
            if file is not None and not file.closed:
                file.flush()
        except (OSError, ValueError) as error:
            if file is sys.stdout:
                exit_code = 120
                with contextlib.suppress(OSError, ValueError):
                    _say(f"stdout could not be written: {error}")
    return exit_code


def find_obstacle() -> str | None:
    """Return why this process must not fork jobs, or None.

    A thread would be missing in the children, with whatever locks it holds; CUDA does not work in
    a child of a process that has initialised it.
    """
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        return f"a preloaded package has started {threads - 1} threads"
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        return "a preloaded package has initialised CUDA"
    return None


def _open_stdio() -> None:
    """Open stdin, stdout and stderr as the interpreter does at its start.

    The old objects were made for other files: they know whether those were terminals.
    """
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        old = getattr(sys, name)
        raw = io.FileIO(descriptor, mode, closefd=False)
        vars(raw)["name"] = f"<{name}>"
        new = io.TextIOWrapper(
            io.BufferedReader(raw) if mode == "r" else io.BufferedWriter(raw),
            encoding=old.encoding,
            errors=old.errors,
            line_buffering=name == "stderr" or raw.isatty(),
            write_through=old.write_through,
        )
        vars(new)["mode"] = mode
        setattr(sys, name, new)
        setattr(sys, f"__{name}__", new)


def _set_threads(environment: dict[str, str]) -> None:
    """Set the numbers of threads that libraries read from the environment when they are loaded."""
    processors = len(os.sched_getaffinity(0))
    wanted = environment.get("OMP_NUM_THREADS")
    torch = sys.modules.get("torch")
    if torch is not None and wanted:
        # OpenMP's and MKL's number, for all threads of the process.
        torch.set_num_threads(int(wanted))
    names = ("OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "OMP_NUM_THREADS")
    blas_threads = next((int(environment[n]) for n in names if environment.get(n)), processors)
    for set_num_threads in _find_openblas():
        set_num_threads(max(1, min(blas_threads, processors)))


def _find_openblas() -> Iterator[Callable[[int], object]]:
    """Yield the function that sets the number of threads, of every OpenBLAS in this process."""
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        files = {line.split(maxsplit=5)[-1].strip() for line in maps if "openblas" in line}
    for file in sorted(files):
        library = ctypes.CDLL(file)
        for prefix in ("scipy_openblas", "openblas"):
            for suffix in ("64_", ""):
                function = getattr(library, f"{prefix}_set_num_threads{suffix}", None)
                if function is not None:
                    yield function


def _reseed() -> None:
    """Start the global generators from the system's entropy, as a new process does."""
    random.seed()
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.default_generator.seed()


def _drop_own_modules() -> None:
    """Forget all modules of this repository, so that the job imports the files of this moment."""
    ours = os.path.join(_SCRIPTS, "")
    for name, module in list(sys.modules.items()):
        if (getattr(module, "__file__", None) or "").startswith(ours):
            del sys.modules[name]
    linecache = sys.modules.get("linecache")
    if linecache is not None:
        linecache.clearcache()


def _is_there(connection: socket.socket) -> bool:
    """Return whether the other end is still open: a job must not start for nobody."""
    try:
        return connection.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False


def _kill_group(pid: int | None) -> None:
    if pid is None:
        return
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:  # so young that it has no group yet
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _say(message: str) -> None:
    print("warm:", message, file=sys.stderr, flush=True)
