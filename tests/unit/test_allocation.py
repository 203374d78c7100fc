"""Who has the folder of a workflow that runs whole in one job of SLURM."""

import json
import platform
from collections.abc import Callable
from pathlib import Path

import pytest

from capsynth.allocation import RECORD, take_folder
from capsynth.errors import CapsynthError


def nobody_asks(job_id: str) -> bool | None:
    raise AssertionError(job_id)


def says(answer: bool | None) -> Callable[[str], bool | None]:
    return lambda job_id: answer if job_id == "7" else nobody_asks(job_id)


def leave(
    folder: Path, *, job: str | None = None, host: str = "node1", locked: bool = True
) -> None:
    """Leave what a job leaves that was killed."""
    log = folder / ".snakemake/log/2026-11-25T024050.snakemake.log"
    log.parent.mkdir(parents=True)
    log.write_text(f"SNAKEMAKE\n=========\n  Host: {host}\n")
    if locked:
        (folder / ".snakemake/locks").mkdir()
        (folder / ".snakemake/locks/0.input.lock").touch()
    if job:
        (folder / RECORD).parent.mkdir()
        (folder / RECORD).write_text(json.dumps({"job": job, "host": host}))


def test_a_new_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    assert take_folder(tmp_path, "8", nobody_asks) is False
    assert json.loads((tmp_path / RECORD).read_text()) == {"job": "8", "host": platform.node()}


@pytest.mark.parametrize(("job", "ask"), [("7", says(False)), ("8", nobody_asks)])
def test_the_lock_of_a_job_that_has_ended_or_was_requeued_goes(
    tmp_path: Path, job: str, ask: Callable[[str], bool | None]
) -> None:
    leave(tmp_path, job=job)
    assert take_folder(tmp_path, "8", ask) is True
    assert json.loads((tmp_path / RECORD).read_text())["job"] == "8"


@pytest.mark.parametrize("locked", [True, False])
def test_beside_a_living_job_none_begins(tmp_path: Path, locked: bool) -> None:
    leave(tmp_path, job="7", locked=locked)
    with pytest.raises(CapsynthError, match=r"job 7 works .* on node1; .* `scancel 7`"):
        take_folder(tmp_path, "8", says(True))
    assert json.loads((tmp_path / RECORD).read_text())["job"] == "7"


def test_where_slurm_does_not_answer_only_a_lock_is_a_reason_to_stop(tmp_path: Path) -> None:
    leave(tmp_path, job="7")
    with pytest.raises(CapsynthError, match=r"locked by job 7, .* `snakemake --unlock`"):
        take_folder(tmp_path, "8", says(None))
    (tmp_path / ".snakemake/locks/0.input.lock").unlink()
    assert take_folder(tmp_path, "8", says(None)) is False


@pytest.mark.parametrize("job", [None, "7"])
def test_the_lock_of_a_plain_snakemake_elsewhere_is_respected(
    tmp_path: Path, job: str | None
) -> None:
    leave(tmp_path, job=job, host="node1")
    newer = tmp_path / ".snakemake/log/2026-11-26T024050.snakemake.log"
    newer.write_text("SNAKEMAKE\n=========\n  Host: login2\n")
    with pytest.raises(CapsynthError, match=r"Snakemake of host login2, .* `snakemake --unlock`"):
        take_folder(tmp_path, "8", says(False))


@pytest.mark.parametrize("text", ["", "[1]", '{"job": "7"}'])
def test_a_record_that_cannot_be_read_stops_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / RECORD).parent.mkdir()
    (tmp_path / RECORD).write_text(text)
    assert take_folder(tmp_path, "8", nobody_asks) is False
