"""What a job says of itself in its log."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from capsynth import cli, job_log
from capsynth.errors import CapsynthError

SCRIPTS = Path(__file__).resolve().parents[2] / "workflow" / "scripts"
Capture = pytest.CaptureFixture[str]


def lines(text: str) -> list[dict[str, object]]:
    found = [line for line in text.splitlines() if line.startswith(job_log.PREFIX)]
    return [json.loads(line.removeprefix(job_log.PREFIX)) for line in found]


@pytest.fixture(autouse=True)
def _in_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(job_log.RUN_VARIABLE, "the-run")
    monkeypatch.setenv("SLURM_JOB_ID", "17")


def test_a_job_says_when_it_starts_and_what_it_took(capsys: Capture) -> None:
    assert cli.run(lambda: None) == 0
    start, end = lines(capsys.readouterr().err)
    assert "exit_code" not in start
    assert start.items() <= end.items()
    assert start["run"] == "the-run"
    assert start["slurm_job_id"] == "17"
    assert start["pid"] == os.getpid()
    assert end["exit_code"] == 0
    assert {"wall_s", "cpu_s", "peak_memory_mb", "gpu"} <= end.keys()


def test_an_error_a_mistake_and_an_exit_say_their_exit_code(capsys: Capture) -> None:
    def mend() -> None:
        raise CapsynthError("mend it")

    assert cli.run(mend) == 1
    with pytest.raises(ZeroDivisionError):
        cli.run(lambda: print(1 / 0))
    for code in (75, None, "no"):
        with pytest.raises(SystemExit):
            cli.run(lambda code=code: sys.exit(code))  # type: ignore[misc]  # it never returns
    ends = [line for line in lines(capsys.readouterr().err) if "exit_code" in line]
    assert [end["exit_code"] for end in ends] == [1, 1, 75, 0, 1]


def test_outside_of_a_run_a_script_says_nothing(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(job_log.RUN_VARIABLE)
    assert cli.run(lambda: None) == 0
    assert capsys.readouterr().err == ""


def end_of(code: str) -> dict[str, object]:
    """The last line of a process that runs ``code``, started by this large one."""
    program = f"import sys; sys.path.insert(0, {str(SCRIPTS)!r}); from capsynth import cli\n{code}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return lines(done.stderr)[-1]


needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@needs_linux
def test_memory_is_the_jobs_own_and_that_of_what_it_started() -> None:
    ballast = bytearray(400_000_000)
    ballast[::4096] = b"x" * len(ballast[::4096])
    small = end_of("cli.run(lambda: None)")
    own = end_of("cli.run(lambda: bytearray(b'x') * 200_000_000)")
    started = end_of(
        "import subprocess\n"
        "large = [sys.executable, '-c', \"bytearray(b'x') * 200_000_000\"]\n"
        "cli.run(lambda: subprocess.run(large))"
    )
    assert 0 < int(str(small["peak_memory_mb"])) < 100
    assert 200 < int(str(own["peak_memory_mb"])) < 300
    assert 200 < int(str(started["peak_memory_mb"])) < 300


@needs_linux
def test_a_child_of_a_large_server_does_not_report_the_servers_past() -> None:
    end = end_of(
        "import os\n"
        "past = bytearray(b'x') * 300_000_000\n"
        "sum(range(20_000_000))\n"
        "del past\n"
        "if os.fork(): os.wait()\n"
        "else: cli.run(lambda: None); os._exit(0)"
    )
    assert int(str(end["peak_memory_mb"])) < 100
    assert float(str(end["cpu_s"])) < 0.2
