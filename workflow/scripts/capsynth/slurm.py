"""SLURM's queue, as far as one folder's jobs are concerned."""

import logging
import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from capsynth.errors import CapsynthError
from capsynth.supervision import ENDED, QUEUE_FORMAT, Job, own_jobs, parse_queue

log = logging.getLogger(__name__)

_PATIENCE_S = (
    60  # a busy controller answers late; one that is down is given up by its clients first
)
_AT_ONCE = 500  # job ids on one command line


class Queue:
    """The jobs that Snakemake submitted from one folder under one prefix."""

    def __init__(self, prefix: str, folder: str) -> None:
        self._prefix, self._folder = prefix, os.path.realpath(folder)

    def jobs(self) -> list[Job] | None:
        """Return the jobs, ended ones as long as SLURM remembers them; None if it does not answer.

        Raises:
            CapsynthError: If there is no SLURM on this machine.
        """
        text = _ask("squeue", "--me", "--noheader", "--states=all", f"--format={QUEUE_FORMAT}")
        return None if text is None else own_jobs(parse_queue(text), self._prefix, self._folder)

    def cancel(self, job_ids: Iterable[str], kill: bool = False) -> None:
        """Cancel jobs; with ``kill``, kill whatever they still run, without a warning."""
        how = ["--signal=KILL", "--full"] if kill else []
        for some in _portions(job_ids):
            _ask("scancel", *how, *some)

    def release(self, job_ids: Iterable[str]) -> None:
        """Let held jobs go."""
        for some in _portions(job_ids):
            _ask("scontrol", "release", ",".join(some))


def is_active(job_id: str) -> bool | None:
    """Return whether a job, of whatever user, may still do something; None if nobody says."""
    words = ["squeue", "--noheader", "--states=all", "--format=%T", f"--jobs={job_id}"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_PATIENCE_S)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None  # not every cluster has SLURM's commands on its compute nodes
    if done.returncode:
        return False if "Invalid job id" in done.stderr else None
    return not ENDED.issuperset(done.stdout.split())


def _portions(items: Iterable[str]) -> Iterator[Sequence[str]]:
    left = iter(items)
    while some := list(islice(left, _AT_ONCE)):
        yield some


def _ask(*words: str) -> str | None:
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_PATIENCE_S)
    except FileNotFoundError:
        raise CapsynthError(
            f"{words[0]} is not on PATH; run this on a login node of the cluster, "
            "after its SLURM module is loaded"
        ) from None
    except subprocess.TimeoutExpired:
        return None
    if done.returncode:
        # scancel fails for a job that has ended meanwhile: the next look at the queue tells.
        log.debug("%s: %s", words[0], done.stderr.strip())
        return None
    return done.stdout
