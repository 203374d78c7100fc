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
    without a word, hangs, or was killed together with its Snakemake. ``FAILED``: it has no results,
    and its log ends with an error. ``STOPPED``: it has none, and its log no error. ``WAITING``: the
    other jobs that are owed.
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
    if job.started is not None:
        # The shell makes the log at the start; clocks of two hosts differ a little.
        if logged is None or logged < job.started - CLOCKS_S:
            return JobStatus(State.QUEUED, batches=len(batches))
        sign = max([logged, *(time for file in batches if (time := _changed_at(file)))])
        state = State.SILENT if now - sign > SILENT_S else State.RUNNING
        found = _PROGRESS.findall(_tail(job.log))
        done, total, rate = found[-1] if found else (None, None, None)
        return JobStatus(
            state,
            int(done) if done else None,
            int(total) if total else None,
            float(rate) if rate else None,
            batches=len(batches),
        )
    if job.reasons.missing and not job.reasons.made_before and logged is not None:
        errors = _ERROR.findall(_tail(job.log))
        state = State.FAILED if errors else State.STOPPED
        return JobStatus(state, error=errors[-1] if errors else None, batches=len(batches))
    return JobStatus(State.WAITING, batches=len(batches))


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
        found = _PROGRESS.findall(_tail(job.log)) if job.log and Path(job.log).exists() else []
        if took and found:
            items += int(found[-1][1])
            seconds += took
    return items / seconds if seconds else None
