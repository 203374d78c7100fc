"""The folder of a workflow that runs whole in one job of SLURM, from one submission to the next."""

import json
import platform
from collections.abc import Callable
from pathlib import Path

from capsynth.errors import CapsynthError
from capsynth.files import write_json
from capsynth.folder_lock import locks_left, refuse_company
from capsynth.supervision import Holder

RECORD = Path("results/.allocation.json")


def take_folder(folder: Path, job_id: str, is_active: Callable[[str], bool | None]) -> bool:
    """Take a folder for a job of SLURM; return whether a dead Snakemake's lock lies in it.

    A job that is killed, by its time limit as a rule, leaves Snakemake's lock. Whether its holder
    is dead is for SLURM to say, which knows of all nodes.

    Args:
        folder: The folder.
        job_id: The job that this process is a part of; requeued, it keeps its number.
        is_active: Tells whether a job may still do something; None if nobody knows.

    Raises:
        CapsynthError: If another job or Snakemake works in the folder, or may do.
    """
    earlier = _read(folder)
    if earlier and earlier["job"] != job_id:
        active = is_active(earlier["job"])
        if active:
            raise CapsynthError(
                f"{folder.resolve()}: job {earlier['job']} works in this folder already, on "
                f"{earlier['host']}; wait for it, or `scancel {earlier['job']}` and submit again"
            )
        if active is None and locks_left(folder):
            raise CapsynthError(
                f"{folder.resolve()} is locked by job {earlier['job']}, and SLURM does not say "
                f"whether that still runs. If `squeue --jobs={earlier['job']}` does not show it, "
                "run `snakemake --unlock` in that folder and submit again"
            )
    dead = Holder(earlier["host"], 0, "") if earlier else None
    remedy = "run `snakemake --unlock` here and submit again"
    refuse_company(folder, dead, take_over=False, remedy=remedy)
    write_json(folder / RECORD, {"job": job_id, "host": platform.node()})
    return locks_left(folder)


def _read(folder: Path) -> dict[str, str] | None:
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        return {"job": str(record["job"]), "host": str(record["host"])}
    except (OSError, ValueError, KeyError, TypeError):
        return None
