"""Warm start: run a script in a process that has the large packages imported already.

This is the client, the half that every job pays for, so it imports little: no dataclasses, no
typing, no pathlib, no argparse. The other half is ``capsynth.warm_server``. The two talk over a
Unix socket in frames (a length and a ``marshal`` value; both ends are one interpreter, one user's):

    server  its surroundings             what a process inherits and imports depend on
    client  (arguments, folder, environment), with stdin, stdout and stderr as descriptors
    server  the job's process id         or None: nothing was started
    client  signals for the job          one byte each
    server  the job's exit code          negative: killed by that signal
"""

import contextlib
import marshal
import os
import resource
import signal
import socket
import sys
from collections.abc import Mapping, Sequence

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without the milliseconds that typing costs a job
if TYPE_CHECKING:
    from typing import Any, NoReturn

# Names the server's socket. It has no file, so nothing is left of it, however its server ends.
SOCKET_VARIABLE = "CAPSYNTH_WARM"

# Linux only: forking a process that has loaded Apple's frameworks is not safe, and Windows has
# no fork.
SUPPORTED = sys.platform == "linux"

# Bounds the wait for a server that still imports, on a machine that may be very busy. After it
# the job runs without the server.
PATIENCE_S = 600.0

# Variables that are read when the interpreter starts or a package is imported. If one differs
# between the job and the server, the server's imports are not the ones the job would have made.
IMPORT_VARIABLES = (
    *("PYTHON", "LD_", "LC_", "LANG", "MALLOC_", "HOME", "XDG_CACHE_HOME"),
    *("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "ARROW_", "JE_ARROW_"),
    *("TORCH", "PYTORCH_", "ATEN_", "CUDA_", "NVIDIA_", "TIMM_"),
    *("HF_", "HUGGING", "TRANSFORMERS_", "DIFFUSERS_", "SAFETENSORS_", "MPL", "MATPLOTLIB"),
)

# Read at import too, but a job can be given its own value afterwards.
THREAD_VARIABLES = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS"),
    *("NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"),
)

_HEADER_BYTES = 4


def run(script: str, arguments: Sequence[str]) -> "NoReturn":
    """Run ``python script arguments...`` and end this process as that one ends; never returns.

    The script runs in a child of the server that ``CAPSYNTH_WARM`` names. Without a server, with
    one that does not answer, or with one whose surroundings differ (another interpreter, another
    cgroup, another ``HF_HOME`` ...) this process becomes the plain command instead.
    """
    address = os.environ.get(SOCKET_VARIABLE)
    if SUPPORTED and address and os.path.isfile(script):
        try:
            exit_code = _run_warm(address, [script, *arguments])
        except (OSError, EOFError) as error:
            _say(f"{script} runs without the warm server: {error}")
        else:
            if exit_code is not None:
                end_like(exit_code)
    command = [sys.executable, *_interpreter_flags(), script, *arguments]
    os.execv(sys.executable, command)


def _run_warm(address: str, argv: list[str]) -> int | None:
    """Return the exit code of the job, or None if the server must not run it.

    Raises:
        OSError: If the server cannot be reached, and no job was started.
        EOFError: If the server ended before it started the job.
    """
    here = surroundings(os.environ)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE_S)
        connection.connect(name_of(address))
        if peer_user(connection) != os.geteuid():
            raise OSError("it is another user's")
        difference = find_difference(here, receive(connection))
        if difference:
            _say(f"{argv[0]} runs without the warm server: {difference}")
            return None
        # Until the job exists a signal ends this process at once, and with it the request.
        signals = [
            number
            for number in (signal.SIGINT, signal.SIGTERM)
            if signal.getsignal(number) != signal.SIG_IGN
        ]
        for number in signals:
            signal.signal(number, signal.SIG_DFL)
        request = frame((argv, os.getcwd(), dict(os.environ)))
        # The descriptors travel with the first byte.
        socket.send_fds(connection, [request[:1]], [0, 1, 2])
        connection.sendall(request[1:])
        pid = receive(connection)
        if pid is None:
            return None
        connection.settimeout(None)

        def forward(number: int, _: object) -> None:
            # The server may have ended meanwhile; the read below tells.
            with contextlib.suppress(OSError):
                connection.sendall(bytes([number]))

        for number in signals:
            signal.signal(number, forward)
        try:
            return receive(connection)
        except (OSError, EOFError):
            # The kernel killed the job with the server; its own children are left to us.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            _say(f"the warm server ended while {argv[0]} ran; start the job again")
            return 1


def name_of(address: str) -> str:
    """Return the kernel's address of a socket: ``@`` stands for the zero of one without a file."""
    return address.replace("@", "\0", 1) if address.startswith("@") else address


def peer_user(connection: socket.socket) -> int:
    """Return the user at the other end: without a file there is no folder to keep others away."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    return int.from_bytes(credentials[4:8], sys.byteorder)  # process, user, group


def end_like(exit_code: int) -> "NoReturn":
    """End this process with ``exit_code``, or by the signal ``-exit_code``; never returns."""
    if exit_code < 0:
        if -exit_code not in (signal.SIGKILL, signal.SIGSTOP):
            signal.signal(-exit_code, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [-exit_code])
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the job itself has left the core file
        os.kill(os.getpid(), -exit_code)
        exit_code = 128 - exit_code
    os._exit(exit_code)


def surroundings(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what a process in ``environment`` inherits or reads at its start, by name.

    A job may run in a child of the server only if all of it is equal for both: what a fork
    copies from the server is then what the job's own process would have had.
    """
    mask = os.umask(0)
    os.umask(mask)
    limits = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    ignored = [n for n in signal.valid_signals() if signal.getsignal(n) == signal.SIG_IGN]
    values = {
        "the interpreter": (sys.executable, sys.version, sys.prefix),
        "the interpreter's flags": (sys.flags, sys.warnoptions, sorted(sys._xoptions.items())),
        "the buffering of stdout": getattr(sys.stdout, "write_through", None),
        "sys.path": sys.path[1:],
        "the user": (os.getresuid(), os.getresgid(), sorted(os.getgroups())),
        "the umask": mask,
        "the niceness": os.nice(0),
        "the CPU affinity": sorted(os.sched_getaffinity(0)),
        "the set of ignored signals": sorted(map(int, ignored)),
        "the set of blocked signals": sorted(map(int, signal.pthread_sigmask(0, []))),
        "the cgroup": _read("/proc/self/cgroup"),
    }
    for name in limits:
        values[f"the limit {name}"] = resource.getrlimit(getattr(resource, name))
    for name in ("mnt", "net", "pid", "user"):
        values[f"the namespace {name}"] = os.readlink(f"/proc/self/ns/{name}")
    for name, value in environment.items():
        if name in THREAD_VARIABLES:
            # One positive number can be set later, as long as OpenMP and MKL are to agree.
            plain = value.isdecimal() and int(value) > 0
            if name == "MKL_NUM_THREADS" and value != environment.get("OMP_NUM_THREADS"):
                plain = False
            if plain or not value:
                continue
        elif not name.startswith(IMPORT_VARIABLES):
            continue
        values[f"the variable {name}"] = value
    return {name: str(value) for name, value in values.items()}


def find_difference(here: dict[str, str], there: dict[str, str]) -> str | None:
    """Return a sentence on the first name in which two surroundings differ, or None."""
    for name in sorted({*here, *there}):
        mine, its = here.get(name), there.get(name)
        if mine != its:
            return f"{name} is {mine or 'not set'} here and {its or 'not set'} there"
    return None


def frame(value: "Any") -> bytes:
    """Return ``value`` (plain Python containers, strings, numbers) as one frame."""
    body = marshal.dumps(value)
    return len(body).to_bytes(_HEADER_BYTES, "big") + body


def unframe(data: bytes | bytearray) -> "Any":
    """Return the value of the frame ``data``, or None while bytes of it are missing."""
    end = _HEADER_BYTES + int.from_bytes(data[:_HEADER_BYTES], "big")
    if len(data) < _HEADER_BYTES or len(data) < end:
        return None
    return marshal.loads(data[_HEADER_BYTES:end])


def receive(connection: socket.socket) -> "Any":
    """Return the next value that a blocking connection brings.

    Raises:
        EOFError: If the other end closed the connection.
    """
    size = int.from_bytes(_receive_bytes(connection, _HEADER_BYTES), "big")
    return marshal.loads(_receive_bytes(connection, size))


def _receive_bytes(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise EOFError("it closed the connection")
        data += part
    return data


def _interpreter_flags() -> list[str]:
    """Return the options between ``python`` and the script of the command that runs now."""
    return sys.orig_argv[1 : len(sys.orig_argv) - len(sys.argv)]


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def _say(message: str) -> None:
    print("warm:", message, file=sys.stderr, flush=True)
