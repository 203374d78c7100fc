"""What a shell has left, where a checkout lies and how a YAML is written: harmless, or refused."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from checkouts import copy_parts
from planning import plan
from snakemake.exceptions import WorkflowError

TINY = "tests/configs/tiny.yaml"


@pytest.fixture
def folder(checkout: Callable[[], Path]) -> Path:
    """A checkout whose models are names only."""
    folder = checkout()
    for model in ("tiny-captioner", "tiny-generator"):
        (folder / "models" / model).mkdir(parents=True)
    return folder


def test_jobs_find_the_python_of_the_workflow_and_nothing_of_another_launcher(
    folder: Path, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "python"
    other.write_text("#!/bin/sh\nexit 3\n")
    other.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    left = {"WORLD_SIZE": "4", "RANK": "0", "PET_NNODES": "4", "PYTHONSAFEPATH": "1"}
    for name, value in left.items():
        monkeypatch.setenv(name, value)
    gpus = (repository / TINY).read_text().replace("epochs:", "gpus: 2\n    epochs:", 1)
    (folder / "config.yaml").write_text(gpus)
    commands = {job.rule: job.command for job in plan(folder, folder / "config.yaml")}
    assert shutil.which("python") == str(Path(sys.executable).with_name("python"))
    assert not left.keys() & os.environ.keys()
    assert commands["train_classifier"].startswith(
        "exec python -m torch.distributed.run --standalone --nproc-per-node 2 "
    )


def test_a_key_twice_in_a_configfile_is_refused_before_anything_is_planned(
    folder: Path, repository: Path
) -> None:
    text = (repository / TINY).read_text()
    (folder / "config.yaml").write_text(text)
    lines = len(text.splitlines())
    (folder / "mine.yaml").write_text(f"{text}\ntraining_seeds: [0]\nrecipes: {{}}\n")
    with pytest.raises(WorkflowError) as caught:
        plan(folder, folder / "mine.yaml")
    said = str(caught.value)
    first = text[: text.index("training_seeds:")].count("\n") + 1
    assert f"mine.yaml:{lines + 2}: training_seeds stands on line {first} already" in said
    assert f"mine.yaml:{lines + 3}: recipes stands on line " in said


@pytest.mark.parametrize("name", ["a{b", "a}b", "{x}"])
def test_braces_in_the_path_of_a_checkout_are_refused_in_words(
    name: str, repository: Path, tmp_path: Path
) -> None:
    folder = copy_parts(repository, tmp_path / name)
    shutil.copy(repository / TINY, folder / "config.yaml")
    with pytest.raises(WorkflowError, match="rename the folder"):
        plan(folder, folder / "config.yaml")
