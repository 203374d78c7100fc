"""How far a run is: what is done, runs, failed and is owed, read from what it leaves in files."""

import os
import re
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from capsynth.monitoring.estimates import benchmark_seconds, estimate, sample
from capsynth.monitoring.plan import Plan, PlannedJob

# A stage writes a line of progress every 10 s; loading a model is quiet for longer.
SILENT_S = 300
CLOCKS_S = 5
TAIL_BYTES = 8192
_PROGRESS = re.compile(r"(\d+)/(\d+) \w+, ([\d.]+) a second$", re.MULTILINE)
_ERROR = re.compile(
    r"^(?:error: .*|\w[\w.]*(?:Error|Exception|Interrupt)\b.*|slurmstepd: error.*|.*\bKilled\b.*)$",
    re.MULTILINE,
)


class State(StrEnum):
    """How far a job is.

    ``DONE``: its results are there and as asked for. ``RUNNING``: Snakemake has started it, and its
    log is of that start. ``QUEUED``: Snakemake has submitted it, and no log is of that start.
    ``SILENT``: it runs, as far as is known, and has left no sign of life for a while: it computes
    without a word, hangs, or was killed together with its Snakemake. ``FAILED``: its log ends with
    an error, and it has no results or was started. ``STOPPED``: it has none, never had, and its log
    has no error. ``WAITING``: the other jobs that are owed.
    """

    DONE = "done"
    RUNNING = "running"
    QUEUED = "queued"
    SILENT = "silent"
    FAILED = "failed"
    STOPPED = "stopped"
    WAITING = "waiting"


@dataclass(frozen=True)
class JobStatus:
    """How far a job is.

    Attributes:
        state: Its state.
        done: Items it has finished, as its log says; None if it does not.
        total: Items it has to do.
        rate: Items a second.
        error: The last error in its log.
        batches: Finished batches that wait beside its output.
    """

    state: State
    done: int | None = None
    total: int | None = None
    rate: float | None = None
    error: str | None = None
    batches: int = 0


@dataclass(frozen=True)
class StageStatus:
    """How far the jobs of a rule are.

    Attributes:
        rule: The rule.
        counts: Number of its jobs by state.
        batches: Finished batches of jobs that are not done.
        items_per_s: Items a second and job, mean of jobs that are done; None if it is not known.
        items_per_s_now: Items a second of the jobs that run, together.
        core_s_left: Seconds that its owed jobs need one after another; None if it is not known.
        failures: Log and error of jobs that failed.
    """

    rule: str
    counts: Mapping[State, int]
    batches: int
    items_per_s: float | None
    items_per_s_now: float | None
    core_s_left: float | None
    failures: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class RunStatus:
    """How far a run is.

    Attributes:
        stages: By rule, in the order of the workflow.
        left_s: Until the end, at the slots of the command; jobs of no recorded time count nothing.
        unknown: Owed jobs of which no time is recorded.
    """

    stages: tuple[StageStatus, ...]
    left_s: float
    unknown: int


def run_status(plan: Plan, now: float | None = None) -> RunStatus:
    """Return how far the run of a plan is.

    Args:
        plan: The plan.
        now: Seconds since the epoch; the present by default.
    """
    now = time.time() if now is None else now
    states = [job_status(job, now) for job in plan.jobs]
    known = {
        place: (status.total - status.done) / status.rate
        for place, status in enumerate(states)
        if status.state == State.RUNNING and status.rate and status.total and status.done
    }
    costs = estimate(plan, known)
    jobs: dict[str, list[tuple[PlannedJob, JobStatus, float | None]]] = defaultdict(list)
    for place, (job, status) in enumerate(zip(plan.jobs, states, strict=True)):
        jobs[job.rule].append((job, status, costs.seconds.get(place)))
    return RunStatus(
        tuple(_stage(rule, jobs[rule]) for rule in plan.rules if rule in jobs),
        costs.wall_s,
        sum(seconds is None for seconds in costs.seconds.values()),
    )


def _stage(rule: str, jobs: Sequence[tuple[PlannedJob, JobStatus, float | None]]) -> StageStatus:
    owed = [(status, seconds) for _, status, seconds in jobs if status.state != State.DONE]
    rates = [s.rate for _, s, _ in jobs if s.state == State.RUNNING and s.rate is not None]
    times = [seconds for _, seconds in owed if seconds is not None]
    return StageStatus(
        rule,
        Counter(status.state for _, status, _ in jobs),
        sum(status.batches for status, _ in owed),
        recorded_rate([job for job, status, _ in jobs if status.state == State.DONE]),
        sum(rates) if rates else None,
        sum(times) if len(times) == len(owed) else None,
        tuple(
            (job.log or "", s.error) for job, s, _ in jobs if s.error and s.state == State.FAILED
        ),
    )


def job_status(job: PlannedJob, now: float) -> JobStatus:
    """Return how far a job is, from Snakemake's marker, its log and what lies beside its output."""
    if job.reasons is None:
        return JobStatus(State.DONE)
    batches = [file for output in job.outputs for file in finished_batches(Path(output))]
    logged = _changed_at(Path(job.log)) if job.log else None
    tail = _tail(job.log)
    errors = _ERROR.findall(tail)
    # The shell makes the log at the start; clocks of two hosts differ a little.
    is_of_this_start = logged is not None and logged >= (job.started or 0) - CLOCKS_S
    if job.started is not None and not is_of_this_start:
        return JobStatus(State.QUEUED, batches=len(batches))
    # A profile that keeps what failed jobs wrote keeps Snakemake's marker of their start, too.
    if errors and (job.started is not None or job.reasons.missing):
        return JobStatus(State.FAILED, error=errors[-1], batches=len(batches))
    if job.started is not None:
        signs = [logged or 0.0, *filter(None, map(_changed_at, batches))]
        state = State.SILENT if now - max(signs) > SILENT_S else State.RUNNING
        done, total, rate = next(reversed(_PROGRESS.findall(tail)), (None, None, None))
        return JobStatus(
            state,
            None if done is None else int(done),
            None if total is None else int(total),
            None if rate is None else float(rate),
            batches=len(batches),
        )
    # A log beside the record of a run that ended well is of that run: its result was deleted.
    is_stopped = logged is not None and job.reasons.missing and not job.reasons.made_before
    return JobStatus(State.STOPPED if is_stopped else State.WAITING, batches=len(batches))


def finished_batches(output: Path) -> list[Path]:
    """Return the finished batches of an unfinished output, see ``capsynth.resuming``."""
    return [*output.with_name(f".{output.name}.partial").glob("*/[0-9]*")]


def _changed_at(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _tail(path: str | None) -> str:
    try:
        with open(path or "", "rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def recorded_rate(jobs: Sequence[PlannedJob]) -> float | None:
    """Return the items a second of one job, from recorded times and logs; None if not known."""
    items, seconds = 0, 0.0
    for job in sample(jobs):
        took = benchmark_seconds(job.benchmark)
        found = _PROGRESS.findall(_tail(job.log))
        if took and found:
            items += int(found[-1][1])
            seconds += took
    return items / seconds if seconds else None
