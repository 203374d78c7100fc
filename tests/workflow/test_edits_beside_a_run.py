"""What is edited while a run is under way: a job counts as made with what it was planned with."""

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import UNTIL_TOLD, wait_until

from capsynth.written_inputs import EDITED

pytestmark = pytest.mark.slow

TARGET = "results/scores.csv"


@pytest.fixture
def waiting_run(experiment: Any) -> Iterator[subprocess.Popen[str]]:
    """A run whose job that collects the scores works and waits for the file ``go``."""
    folder: Path = experiment.folder
    script = folder / "workflow/scripts/collect_scores.py"
    script.write_text(UNTIL_TOLD + script.read_text())
    command = ("snakemake", "--cores", "1", TARGET)
    with subprocess.Popen(command, cwd=folder, env=experiment.environment, text=True) as run:

        def works() -> bool:
            assert run.poll() is None
            return (folder / "working").exists()

        try:
            wait_until(works, "the job at work")
            yield run
        finally:
            (folder / "go").touch()
            run.kill()


def edit(experiment: Any, module: str = "reporting/scores.py") -> tuple[Path, str]:
    """Edit a module; return it and what it held."""
    path = experiment.folder / "workflow/scripts/capsynth" / module
    before = path.read_text()
    path.write_text(before + "\nNEW = 1\n")
    return path, before


def read_by(experiment: Any, output: str) -> dict[str, bytes]:
    """What the workflow wrote for the job of an output, as Snakemake recorded its names."""
    name = base64.b64encode(output.encode()).decode()
    record = json.loads((experiment.folder / ".snakemake/metadata" / name).read_text())
    names = (file.removesuffix(EDITED) for file in record["input"])
    written = [file for file in names if file.startswith("results/.")]
    return {file: (experiment.folder / file).read_bytes() for file in written}


def test_a_job_whose_code_was_edited_while_it_ran_is_owed_whoever_looked_meanwhile(
    experiment: Any, waiting_run: subprocess.Popen[str]
) -> None:
    folder: Path = experiment.folder
    module, before = edit(experiment)
    experiment.write_config({**experiment.config, "training_seeds": [0]})
    for look in ("status", "changed"):
        said = experiment.snakemake(look, "--quiet", "all")
        assert said.returncode == 0, said.stderr
    experiment.write_config(experiment.config)
    (folder / "go").touch()
    assert waiting_run.wait() == 0
    assert experiment.owed(TARGET) == {"collect_scores"}
    said = experiment.snakemake("changed", "--quiet", "all").stdout
    assert "collect_scores runs anew: its code changed (capsynth/reporting/scores.py)" in said
    # What it was planned with is still there, as it was.
    written = read_by(experiment, TARGET)
    (arguments,) = [text for name, text in written.items() if ".arguments/" in name]
    assert b"seed1/" in arguments
    # Nor is it trusted if the edit is taken back: the job may have read the one or the other.
    edited = module.read_text()
    module.write_text(before)
    assert experiment.owed(TARGET) == {"collect_scores"}
    module.write_text(edited)

    assert experiment.run(TARGET) == {"collect_scores"}
    assert experiment.owed(TARGET) == set()
    # Back to the code of before: that is other code again.
    module.write_text(before)
    assert experiment.owed(TARGET) == {"collect_scores"}


def test_code_that_went_and_came_back_between_two_runs_reruns_nothing(experiment: Any) -> None:
    module, before = edit(experiment, "generation.py")
    assert experiment.owed() != set()
    module.write_text(before)
    assert experiment.owed() == set()
    for path in (experiment.folder / "results/.code").iterdir():
        path.touch()
    assert experiment.owed() == set()
