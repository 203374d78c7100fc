"""What a shell has left does not reach the jobs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from capsynth.job_environment import prepare_environment

OTHERS = {
    "WORLD_SIZE": "4",
    "RANK": "0",
    "LOCAL_RANK": "0",
    "MASTER_ADDR": "127.0.0.1",
    "PET_NNODES": "4",
    "TORCHELASTIC_RUN_ID": "x",
    "ACCELERATE_USE_FSDP": "1",
    "PYTHONSAFEPATH": "1",
    "PYTHONINSPECT": "1",
}
OWN = {"NCCL_SOCKET_IFNAME": "ib0", "CUDA_VISIBLE_DEVICES": "1", "PYTHONPATH": "/lib", "HOME": "/"}


def python_of(environment: dict[str, str]) -> str:
    """Return what a shell of a job runs as ``python``."""
    ask = "exec python -c 'import sys; print(sys.executable)'"
    done = subprocess.run(["sh", "-c", ask], env=environment, capture_output=True, text=True)
    return done.stdout.strip()


def fake_python(folder: Path) -> Path:
    folder.mkdir()
    fake = folder / "python"
    fake.write_text("#!/bin/sh\necho another\n")
    fake.chmod(0o755)
    return folder


def test_words_of_launchers_and_of_a_careful_python_go_and_all_else_stays(tmp_path: Path) -> None:
    path = f"{Path(sys.executable).parent}{os.pathsep}/bin"
    environment = {**OTHERS, **OWN, "PATH": path}
    prepare_environment(environment, sys.executable, tmp_path)
    assert environment == {**OWN, "PATH": path}


@pytest.mark.parametrize("path", ["{fake}:{rest}", "{fake}:{own}:{rest}", "{rest}", None])
def test_jobs_run_the_python_that_runs_the_workflow(tmp_path: Path, path: str | None) -> None:
    own, fake = Path(sys.executable).parent, fake_python(tmp_path / "tools")
    environment = {} if path is None else {"PATH": path.format(fake=fake, own=own, rest="/bin")}
    prepare_environment(environment, sys.executable, tmp_path / "shim")
    assert python_of(environment) == sys.executable
    before = dict(environment)
    prepare_environment(environment, sys.executable, tmp_path / "shim")
    assert environment == before


def test_an_interpreter_of_another_name_is_python_too(tmp_path: Path) -> None:
    # Beside it lies a python that is another one.
    folder = fake_python(tmp_path / "odd 'folder'")
    other = folder / "python3.99"
    other.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    other.chmod(0o755)
    environment = {"PATH": f"{folder}:/bin"}
    prepare_environment(environment, str(other), tmp_path / "shim")
    assert python_of(environment) == sys.executable
