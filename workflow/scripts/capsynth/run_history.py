"""The records of all runs together, those that can be read."""

from dataclasses import dataclass, field
from pathlib import Path

from capsynth.errors import CapsynthError
from capsynth.provenance import FOLDER, RUNNING, Job, gather, read_jobs, read_run, run_names


@dataclass
class History:
    """What all records say together.

    Attributes:
        runs: Name, jobs and whether it has not ended, of each run, the earliest first. Jobs of one
            that has not ended are as their logs have it.
        damaged: What is wrong with a record that is left out, by the run's name.
        unknown: Those of the runs in ``damaged`` of whose jobs nothing is known.
    """

    runs: list[tuple[str, list[Job], bool]] = field(default_factory=list)
    damaged: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)


def read_history(folder: Path = FOLDER) -> History:
    """Read the records of all runs, those that can be read."""
    history = History()
    for name in run_names(folder):
        is_running = True  # logs of its jobs say nothing of it if it has ended, or what is known
        try:
            is_running = read_run(name, folder)["outcome"] == RUNNING
        except CapsynthError as error:
            history.damaged[name] = str(error)
        try:
            jobs = read_jobs(name, folder)
        except CapsynthError as error:
            history.damaged[name] = str(error)
            history.unknown.append(name)
        else:
            jobs = gather(name, jobs) if is_running else jobs
            history.runs.append((name, jobs, is_running))
    return history
