"""The shim that injects faults injects them: a test that relies on it could not fail otherwise."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from faults import FaultyIO

WHY_NOT = FaultyIO.why_unavailable()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))

# Writes by itself, so that nothing hides what write(2) returns.
SCRIPT = """
import os
handle = os.open("below/a", os.O_WRONLY | os.O_CREAT)
print(os.write(handle, b"12345678"))
os.close(handle)
os.rename("below/a", "below/b")
os.mkdir("below/c")
with open("beside", "w") as file:
    file.write("not counted")
os.unlink("below/b")
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return FaultyIO(tmp_path_factory.mktemp("shim")).library


@pytest.fixture
def run(shim: Path, tmp_path: Path) -> Run:
    """``run(kind, at)`` runs a script that does six operations below a folder."""

    def run(kind: str, at: int, script: str = SCRIPT) -> subprocess.CompletedProcess[str]:
        (tmp_path / "below").mkdir()
        faults = FaultyIO.environment(tmp_path / "below", tmp_path / "state", kind, at)
        return subprocess.run(
            [sys.executable, "-c", script],
            cwd=tmp_path,
            env={**os.environ, **faults, "LD_PRELOAD": str(shim)},
            capture_output=True,
            text=True,
        )

    return run


def test_without_a_fault_operations_are_counted_by_what_they_can_meet(
    run: Run, tmp_path: Path
) -> None:
    done = run("COUNT", 0)
    assert (done.returncode, done.stdout) == (0, "8\n")
    # open, write, close, rename, mkdir; unlink needs no space and cannot be interrupted.
    counts = {"ENOSPC": 5, "EIO": 6, "EINTR": 2, "SHORT": 1, "KILL": 6}
    assert FaultyIO.read(tmp_path / "state") == (counts, None)


@pytest.mark.parametrize(
    ("kind", "at", "hit", "says"),
    [
        ("ENOSPC", 2, "write", "[Errno 28] No space left on device"),
        ("EIO", 3, "close", "[Errno 5] Input/output error"),
        ("EIO", 4, "rename", "[Errno 5] Input/output error"),
        ("EIO", 6, "unlink", "[Errno 5] Input/output error"),
    ],
)
def test_the_operation_that_is_named_fails(
    kind: str, at: int, hit: str, says: str, run: Run, tmp_path: Path
) -> None:
    done = run(kind, at)
    assert done.returncode == 1
    assert says in done.stderr
    what = FaultyIO.read(tmp_path / "state")[1]
    assert what is not None
    assert what.startswith(f"{hit} ")
    assert (tmp_path / "below" / "c").exists() == (hit == "unlink")


def test_a_short_write_writes_half_and_says_so(run: Run, tmp_path: Path) -> None:
    script = SCRIPT.replace('os.unlink("below/b")', "")
    assert run("SHORT", 1, script).stdout == "4\n"
    assert (tmp_path / "below" / "b").read_bytes() == b"1234"


def test_an_interrupted_call_is_met_once_and_python_calls_again(run: Run, tmp_path: Path) -> None:
    done = run("EINTR", 2)
    assert (done.returncode, done.stdout) == (0, "8\n")
    counts, what = FaultyIO.read(tmp_path / "state")
    assert counts["EINTR"] == 3
    assert what is not None


def test_a_full_disk_stays_full(run: Run) -> None:
    script = """
import os
for name in ("a", "b"):
    try:
        os.open(f"below/{name}", os.O_WRONLY | os.O_CREAT)
    except OSError as error:
        print(error.errno)
"""
    assert run("ENOSPC", 1, script).stdout == "28\n28\n"


def test_a_kill_comes_before_its_operation(run: Run, tmp_path: Path) -> None:
    assert run("KILL", 5).returncode == -9
    assert [path.name for path in (tmp_path / "below").iterdir()] == ["b"]
