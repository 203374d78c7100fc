"""The warm start as its users see it: real processes, which end by themselves or are ended.

No test waits for a time: a process is known to be dead when a pipe that it held open reports the
end of the file.
"""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from waiting import BACKSTOP_S, wait_until

from capsynth import warm, warm_server
from capsynth.offline import OFFLINE

WARM = str(Path(warm_server.__file__).parents[1] / "warm.py")
# A command that tells where the server is and then waits until its stdin is closed.
TELL_AND_WAIT = 'echo "$CAPSYNTH_WARM"; read line'

# Whatever Python is told where these tests run, it is told nothing in them. Hub access is off, as
# for the jobs of the workflow.
CLEAN = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "CAPSYNTH_WARM"))}
CLEAN |= OFFLINE

Process = subprocess.Popen[str]

pytestmark = pytest.mark.skipif(not warm_server.SUPPORTED, reason="warm start is for Linux")


def start(*command: str, env: dict[str, str] = CLEAN, cwd: Path | None = None) -> Process:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=env, cwd=cwd
    )


def start_server(*preload: str) -> tuple[Process, dict[str, str]]:
    """Return a wrapper and the environment in which jobs find its server."""
    flags = [part for name in preload for part in ("--preload", name)]
    wrapper = start(sys.executable, WARM, "serve", *flags, "--", "sh", "-c", TELL_AND_WAIT)
    return wrapper, {**CLEAN, "CAPSYNTH_WARM": stdout_of(wrapper).readline().strip()}


def stop(wrapper: Process) -> str:
    return wrapper.communicate(timeout=BACKSTOP_S)[1]


def stdout_of(process: Process) -> IO[str]:
    assert process.stdout is not None
    return process.stdout


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    # `wave` is a module that nothing else imports: a job that has it runs in the server's child.
    wrapper, environment = start_server("json", "wave")
    yield environment
    stop(wrapper)
    assert wrapper.returncode == 1  # of `read`, at the end of its stdin


def write(folder: Path, code: str) -> str:
    path = folder / "job.py"
    path.write_text(code, encoding="utf-8")
    return str(path)


def start_job(environment: dict[str, str], *argv: str, cwd: Path | None = None) -> Process:
    return start(sys.executable, WARM, "run", *argv, env=environment, cwd=cwd)


def finish(process: Process, stdin: str = "") -> tuple[int, str, str]:
    stdout, stderr = process.communicate(stdin, timeout=BACKSTOP_S)
    return process.returncode, stdout, stderr


def run_job(environment: dict[str, str], *argv: str) -> tuple[int, str, str]:
    return finish(start_job(environment, *argv))


def test_a_job_starts_with_the_preloaded_modules(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    script = write(tmp_path, "import sys; print('wave' in sys.modules)")
    assert run_job(environment, script) == (0, "True\n", "")


POOL = """
import multiprocessing, os, sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

@dataclass(frozen=True)
class Item:
    value: int

def double(item: Item) -> Item:
    return Item(2 * item.value)

if __name__ == "__main__":
    for method in ("fork", "spawn"):
        context = multiprocessing.get_context(method)
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            print(list(pool.map(double, map(Item, range(3)))))
"""

SCRIPTS = {
    "ends": "print('done')",
    "exits 3": "import sys; sys.exit(3)",
    "exits with a message": "import sys; sys.exit('no such shard')",
    "raises": "def f():\n    raise KeyError('a')\ntry:\n    f()\nexcept KeyError as e:\n"
    "    raise ValueError('b') from e",
    "has a syntax error": "print(1\n",
    "is interrupted": "raise KeyboardInterrupt",
    "is killed": "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)",
    "aborts": "import os\nos.abort()",
    "writes to both streams": "import sys\nprint('out')\nprint('err', file=sys.stderr)",
    "is buffered": "import os\nprint('second')\nos.write(1, b'first\\n')\nos.write(2, b'x')",
    "reads stdin": "import sys\nprint([line for line in sys.stdin])",
    "looks at its arguments": "import sys\nprint(sys.argv, sys.orig_argv, sys.flags, sys.path)",
    "looks at its module": "print({k: v for k, v in globals().items() if k != '__loader__'})\n"
    "print(__loader__.path, __loader__.name)",
    "looks at its streams": "import sys\nfor f in (sys.stdin, sys.stdout, sys.stderr):\n"
    "    print(f, f.fileno(), f.encoding, f.errors, f.line_buffering, f.write_through, f.isatty())",
    "looks at its process": "import os, signal, tempfile\nprint(os.getcwd(), sorted(os.environ))\n"
    "print([signal.getsignal(n) for n in (2, 15, 17, 1, 13)], signal.pthread_sigmask(0, []))\n"
    "print(sorted(os.listdir('/proc/self/fd')), tempfile.gettempdir(), os.nice(0))",
    "leaves a file open": "class Keep:\n    file = open('left.txt', 'w')\n"
    "Keep.file.write('all of it')",
    "has an object with a last word": "class Last:\n    def __del__(self):\n        print('gone')\n"
    "one = Last()\none.itself = one",
    "has a last word": "import atexit\natexit.register(print, 'last')\nprint('first')",
    "fails at its last word": "import atexit, sys\nclass Last:\n"
    "    def __call__(self):\n        1 / 0\n    def __repr__(self):\n        return 'Last'\n"
    "atexit.register(Last())\nsys.exit(4)",
    "leaves a thread": "import threading\ngo = threading.Event()\n"
    "threading.Thread(target=lambda: (go.wait(), print('late'))).start()\n"
    "print('main ends')\ngo.set()",
    "has its own hook": "import sys\nsys.excepthook = lambda *a: print('hook', a[0], a[1])\n1 / 0",
    "uses process pools": POOL,
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_cannot_tell_a_warm_start(
    name: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    write(tmp_path, SCRIPTS[name])
    other = {**environment, "TMPDIR": str(tmp_path), "JOB": name}
    command = ("./job.py", "--flag", "a b")
    left = tmp_path / "left.txt"
    plain = finish(start(sys.executable, *command, env=other, cwd=tmp_path), "one\ntwo\n")
    files = [path.read_text() for path in tmp_path.glob("left.txt")]
    left.unlink(missing_ok=True)
    started = start_job(other, *command, cwd=tmp_path)
    assert finish(started, "one\ntwo\n") == plain
    assert [path.read_text() for path in tmp_path.glob("left.txt")] == files


def test_a_full_disk_at_the_end_is_an_error_as_in_a_plain_run(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    script = write(tmp_path, "print('lost')")
    with open("/dev/full", "w") as full:
        job = subprocess.run(
            [sys.executable, WARM, "run", script],
            env=environment,
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert job.returncode == 120
    assert b"No space left" in job.stderr


@pytest.mark.parametrize("address", [None, "/no/such/socket"])
def test_without_a_server_a_job_runs_plainly(address: str | None, tmp_path: Path) -> None:
    script = write(tmp_path, "import os, sys; print(os.getpid(), sys.flags.optimize); sys.exit(5)")
    environment = {**CLEAN, "CAPSYNTH_WARM": address} if address else CLEAN
    job = start(sys.executable, "-O", WARM, "run", script, env=environment)
    code, stdout, stderr = finish(job)
    assert (code, stdout) == (5, f"{job.pid} 1\n")  # it became the script, flags and all
    assert ("without the warm server" in stderr) == bool(address)


def test_a_job_of_other_surroundings_runs_plainly_and_says_why(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    script = write(tmp_path, "import sys; print('wave' in sys.modules)")
    code, stdout, stderr = run_job({**environment, "HF_HUB_OFFLINE": "yes"}, script)
    assert (code, stdout) == (0, "False\n")
    assert "the variable HF_HUB_OFFLINE is yes here and 1 there" in stderr


def test_a_script_that_is_missing_is_reported_by_the_interpreter(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    code, _, stderr = run_job(environment, str(tmp_path / "none.py"))
    assert code == 2
    assert "can't open file" in stderr


def test_code_that_changes_between_two_jobs_is_seen(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    script = write(tmp_path, "import helper; print(helper.VALUE)")
    for value in ("1", "22"):
        (tmp_path / "helper.py").write_text(f"VALUE = {value}\n", encoding="utf-8")
        assert run_job(environment, script) == (0, f"{value}\n", "")


def test_no_code_of_the_repository_is_loaded_in_a_job(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    folder = str(Path(WARM).parent)
    script = write(
        tmp_path,
        f"import sys\nfor name, module in sys.modules.items():\n"
        f"    if str(getattr(module, '__file__', '')).startswith({folder!r}):\n"
        f"        print(name)",
    )
    assert run_job(environment, script) == (0, "", "")


def test_two_jobs_run_at_once(tmp_path: Path, environment: dict[str, str]) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    # Opening a fifo waits for the other end: neither job can end before both have started.
    script = write(tmp_path, f"import sys\nopen({str(fifo)!r}, sys.argv[1]).close()\nprint('met')")
    jobs = [start_job(environment, script, mode) for mode in ("r", "w")]
    assert [finish(job) for job in jobs] == [(0, "met\n", "")] * 2


def test_descriptors_of_another_job_do_not_leak(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    script = write(
        tmp_path,
        "import os, sys\nif len(sys.argv) > 1:\n    print('ready', flush=True)\n    input()\n"
        "print(sorted(map(int, os.listdir('/proc/self/fd'))))",
    )
    other = start_job(environment, script, "wait")
    assert stdout_of(other).readline() == "ready\n"
    assert run_job(environment, script) == (0, "[0, 1, 2, 3]\n", "")
    assert finish(other, "\n")[1] == "[0, 1, 2, 3]\n"


COUNT = (
    "import os\nserver = os.getppid()\n"
    "children = open(f'/proc/{server}/task/{server}/children').read().split()\n"
    "print(children == [str(os.getpid())], len(os.listdir(f'/proc/{server}/fd')))"
)


def test_twenty_jobs_leave_no_zombies_and_no_descriptors(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    script = write(tmp_path, COUNT)
    counts = []
    for _ in range(20):
        alone, count = run_job(environment, script)[1].split()
        assert alone == "True"
        counts.append(int(count))
    # The server may be about to close the three streams of the job that counts.
    assert counts[-1] <= counts[0] + 3


def catches(pid: int, number: signal.Signals) -> bool:
    """Return whether a process has a handler of its own for a signal."""
    (caught,) = re.findall(r"^SigCgt:\s*(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.M)
    return bool(int(caught, 16) >> (number - 1) & 1)


def test_signals_to_the_client_reach_the_script(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    script = write(
        tmp_path,
        "import signal, sys\n"
        "def stop(number, frame):\n    print('got', number)\n    sys.exit(7)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "try:\n    print('ready', flush=True)\n    signal.pause()\n"
        "except KeyboardInterrupt:\n    sys.exit(8)",
    )
    for number, expected in ((signal.SIGTERM, (7, "got 15\n", "")), (signal.SIGINT, (8, "", ""))):
        job = start_job(environment, script)
        assert stdout_of(job).readline() == "ready\n"
        # The script may be ready before the client has heard that the job exists.
        wait_until(lambda process=job: catches(process.pid, signal.SIGTERM), "the client")
        job.send_signal(number)
        assert finish(job) == expected


FAMILY = (
    "import os, subprocess, sys\n"
    "child = subprocess.Popen([sys.executable, '-c', 'import signal; print(1, flush=True); "
    "signal.pause()'])\n"
    "child.wait()"
)


def test_killing_the_client_kills_the_job_and_what_it_started(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    job = start_job(environment, write(tmp_path, FAMILY))
    assert stdout_of(job).readline() == "1\n"
    job.kill()
    # Job and grandchild hold this pipe too: its end is the end of all of them.
    assert finish(job) == (-signal.SIGKILL, "", "")
    # The server learns of the death a moment after the pipe does.
    script = write(tmp_path, COUNT)
    assert any(run_job(environment, script)[1].startswith("True") for _ in range(50))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_when_the_wrapper_ends_the_server_and_the_jobs_end(number: int, tmp_path: Path) -> None:
    wrapper, environment = start_server("json")
    job = start_job(environment, write(tmp_path, FAMILY))
    assert stdout_of(job).readline() == "1\n"
    wrapper.send_signal(number)
    # The server and the command hold the wrapper's streams, the job's family the client's.
    assert stdout_of(wrapper).read() == ""
    stop(wrapper)
    assert wrapper.returncode == -number
    code, stdout, stderr = finish(job)
    assert (code, stdout) in {(1, ""), (-signal.SIGKILL, "")}
    assert code < 0 or "start the job again" in stderr


def test_a_job_whose_server_is_killed_fails_and_leaves_nothing(tmp_path: Path) -> None:
    wrapper, environment = start_server("json")
    script = write(tmp_path, "import os; print(os.getppid(), flush=True)\n" + FAMILY)
    job = start_job(environment, script)
    server = int(stdout_of(job).readline())
    assert stdout_of(job).readline() == "1\n"
    os.kill(server, signal.SIGKILL)
    code, stdout, stderr = finish(job)
    assert (code, stdout) == (1, "")
    assert "the warm server ended" in stderr
    # The next job does without.
    assert run_job(environment, write(tmp_path, "print('plain')"))[:2] == (0, "plain\n")
    stop(wrapper)


def test_a_job_ends_with_its_server_even_if_nobody_is_left_to_kill_it(tmp_path: Path) -> None:
    wrapper, environment = start_server("json")
    code = "import os, signal; print(os.getppid(), flush=True); signal.pause()"
    job = start_job(environment, write(tmp_path, code))
    server = int(stdout_of(job).readline())
    job.send_signal(signal.SIGSTOP)
    os.kill(server, signal.SIGKILL)
    job.kill()
    assert finish(job) == (-signal.SIGKILL, "", "")
    stop(wrapper)


@pytest.mark.parametrize(
    ("command", "code"), [(["true"], 0), (["sh", "-c", "exit 9"], 9), (["no-such-command"], 127)]
)
def test_serve_ends_as_its_command_ends(command: list[str], code: int) -> None:
    assert finish(start(sys.executable, WARM, "serve", "--preload", "json", "--", *command))[0] == (
        code
    )


def test_nothing_is_left_of_a_server_that_is_killed_with_all_its_kin(tmp_path: Path) -> None:
    # A folder for temporary files too deep for the path of a socket, and one that takes no file.
    deep = tmp_path / ("x" * 200)
    deep.mkdir()
    for folder in (deep, tmp_path / "none"):
        command = ["sh", "-c", 'echo "$CAPSYNTH_WARM"; kill -9 $PPID $$']
        serve = [sys.executable, WARM, "serve", "--preload", "json", "--"]
        wrapper = start(*serve, *command, env={**CLEAN, "TMPDIR": str(folder)})
        code, stdout, _ = finish(wrapper)  # at its end the server, which holds its stderr, is gone
        assert code == -signal.SIGKILL
        assert stdout.startswith("@capsynth-warm-")
        assert stdout.strip() not in Path("/proc/net/unix").read_text()
    assert [*tmp_path.iterdir(), *deep.iterdir()] == [deep]


def test_a_server_and_a_job_of_two_users_do_not_meet(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    address = environment["CAPSYNTH_WARM"]
    with socket.socket(socket.AF_UNIX) as other:
        if os.geteuid() == 0:
            os.seteuid(65534)
            try:
                other.connect(warm.name_of(address))
            finally:
                os.seteuid(0)
            assert other.recv(1) == b""
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(OSError, match="another user's"):
        warm._run_warm(address, ["x.py"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["serve", "--preload", "capsynth", "--", "true"], "third-party packages only"),
        (["serve"], "there is no command"),
        (["walk"], "invalid choice"),
        (["run"], "required: script"),
    ],
)
def test_bad_arguments_are_refused(arguments: list[str], message: str) -> None:
    code, _, stderr = finish(start(sys.executable, WARM, *arguments))
    assert code == 2
    assert message in stderr


LOADER = """
import os, random, sys
warm = "torch" in sys.modules and os.getsid(0) == os.getpid()
import numpy, torch
from torch.utils.data import DataLoader
print(warm, torch.get_num_threads())
print(random.random(), numpy.random.rand(), torch.rand(1).item())
print(sum(int(batch.sum()) for batch in DataLoader(list(range(8)), num_workers=2)))
"""


@pytest.mark.slow
def test_torch_has_the_threads_of_its_job_and_fresh_randomness(tmp_path: Path) -> None:
    wrapper, environment = start_server("torch.utils.data")
    script = write(tmp_path, LOADER)
    draws = []
    for threads in ("1", "3"):
        code, stdout, stderr = run_job({**environment, "OMP_NUM_THREADS": threads}, script)
        assert (code, stderr) == (0, "")
        state, draw, total = stdout.splitlines()
        assert state == f"True {threads}"
        assert total == "28"
        draws += draw.split()
    assert len(set(draws)) == 6
    stop(wrapper)
