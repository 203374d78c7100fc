"""What owed jobs cost, from the recorded times and the results of jobs of the same kind."""

import csv
import functools
import heapq
import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from capsynth.job_lines import kept_wall_s
from capsynth.monitoring.plan import Plan, PlannedJob
from capsynth.written_inputs import eval_set_of

# Jobs of a kind that are looked at: their mean needs no more.
SAMPLE = 50
# Wildcards in which jobs of a kind may differ.
ALIKE = ("shard", "class_id", "seed", "download", "repository")
# Files whose size tells how much a job has to do.
READ = (".jsonl", ".parquet")


@dataclass(frozen=True)
class Rate:
    """What jobs of a kind took on average.

    Attributes:
        seconds: Of one job.
        seconds_per_byte: Of one byte of the files of ``READ``, which have a record a sample, that
            a job reads; None if such jobs read none.
        output_sizes: Size of each output of one job; None if no job of the kind has made its own.
        is_same_kind: Whether they are of the same variant, captioner, training set, ...; other
            jobs of the rule else.
    """

    seconds: float | None
    seconds_per_byte: float | None
    output_sizes: tuple[float, ...] | None
    is_same_kind: bool

    @property
    def output_bytes(self) -> float | None:
        """Size of what one job makes."""
        return None if self.output_sizes is None else sum(self.output_sizes)


@dataclass(frozen=True)
class StageCost:
    """What the owed jobs of one rule cost.

    Attributes:
        rule: The rule.
        jobs: How many are owed.
        unknown: How many of them no time is recorded for; the figures leave them out.
        rough: How many are judged by jobs of another kind.
        core_s: Seconds, times the threads of the job.
        gpu_s: Seconds, times the GPUs that the job asks for.
        new_bytes: Size of results that do not exist yet; None if none of their kind exists.
    """

    rule: str
    jobs: int
    unknown: int
    rough: int
    core_s: float
    gpu_s: float
    new_bytes: float | None


@dataclass(frozen=True)
class Estimate:
    """What the owed jobs cost.

    Attributes:
        stages: By rule, in the order of the workflow.
        wall_s: Until the last job ends if all slots are there all the time; jobs without a recorded
            time count nothing.
        seconds: By position in the plan: of each owed job, None if nothing is recorded.
    """

    stages: tuple[StageCost, ...]
    wall_s: float
    seconds: Mapping[int, float | None]


def benchmark_seconds(path: str | None) -> float | None:
    """Return the wall time that a benchmark file of Snakemake records, None if there is none."""
    try:
        with open(path or "", encoding="utf-8", newline="") as file:
            return float(next(csv.DictReader(file, delimiter="\t"))["s"])
    except (OSError, StopIteration, KeyError, ValueError):
        return None


@functools.cache
def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except OSError:
        return None


def _read_bytes_then(job: PlannedJob) -> int | None:
    """Return the bytes that a job read when it ran; None if it read none, or some are gone."""
    new = set() if job.reasons is None else {*job.reasons.inputs_new}
    sizes = [_size(path) for path in job.inputs if path.endswith(READ) and path not in new]
    known = [size for size in sizes if size is not None]
    return sum(known) if sizes and len(known) == len(sizes) else None


def sample(jobs: Sequence[PlannedJob]) -> list[PlannedJob]:
    """Return at most ``SAMPLE`` jobs from all over ``jobs`` that have a recorded time."""
    timed = [job for job in jobs if job.benchmark and _size(job.benchmark)]
    return timed[:: -(-len(timed) // SAMPLE) or 1]


def _rate(jobs: Sequence[PlannedJob], is_same_kind: bool) -> Rate:
    times: list[float] = []
    scaled = [0.0, 0]
    for job in sample(jobs):
        seconds = benchmark_seconds(job.benchmark)
        if seconds is None:
            continue
        seconds += kept_wall_s(job.log)
        times.append(seconds)
        if size := _read_bytes_then(job):
            scaled = [scaled[0] + seconds, scaled[1] + size]
    made = [job for job in jobs if all(_size(path) is not None for path in job.outputs)]
    sizes = [_made_sizes(job) for job in made[:: -(-len(made) // SAMPLE) or 1]]
    return Rate(
        sum(times) / len(times) if times else None,
        scaled[0] / scaled[1] if scaled[1] else None,
        tuple(sum(of_one) / len(sizes) for of_one in zip(*sizes, strict=True)) if sizes else None,
        is_same_kind,
    )


def _made_sizes(job: PlannedJob) -> list[int]:
    # A folder's own size says nothing; what is drawn into it is packed by the next stage.
    return [(_size(path) or 0) if Path(path).is_file() else 0 for path in job.outputs]


def moved(job: PlannedJob, folder: Path) -> PlannedJob:
    """Return a job as it was run in another working directory, on the inputs it had there."""
    inputs = (str(folder / path) for path in job.inputs)
    return replace(
        job,
        inputs=tuple(path for path in inputs if _size(path) is not None),
        outputs=tuple(str(folder / path) for path in job.outputs),
        benchmark=None if job.benchmark is None else str(folder / job.benchmark),
        reasons=None,
    )


def kind_of(job: PlannedJob) -> tuple[str, ...]:
    """Return what jobs that take alike have in common: rule, variant, training set, recipe."""
    return (job.rule, *(v for name, v in job.wildcards.items() if name not in ALIKE))


class Rates:
    """What jobs of each kind took, looked up when asked for."""

    def __init__(self, jobs: Iterable[PlannedJob]) -> None:
        self._kinds: dict[tuple[str, ...], list[PlannedJob]] = defaultdict(list)
        self._rules: dict[str, list[PlannedJob]] = defaultdict(list)
        for job in jobs:
            self._kinds[kind_of(job)].append(job)
            self._rules[job.rule].append(job)
        self._known: dict[tuple[str, ...], Rate] = {}

    def of(self, job: PlannedJob) -> Rate:
        """Return what jobs of the kind of ``job`` took, or else all jobs of its rule."""
        kind = kind_of(job)
        if kind not in self._known:
            rate = _rate(self._kinds[kind], is_same_kind=True)
            if rate.seconds is None:
                rate = _rate(self._rules[job.rule], is_same_kind=False)
            self._known[kind] = rate
        return self._known[kind]


def pending_inputs(job: PlannedJob, upstream: Collection[str] = ()) -> list[str]:
    """Return the inputs that are work for a job: all but those whose answers it takes over.

    An evaluation answers only the sets that it has no answers to, and those that change; all, if
    anything else is another, such as the weights.

    Args:
        job: The job.
        upstream: What jobs that it waits for make.
    """
    reasons = job.reasons
    if job.rule != "evaluate_classifier" or reasons is None or not reasons.made_before:
        return list(job.inputs)
    changed = {*upstream, *reasons.updated, *reasons.inputs_new}
    names = {Path(path).stem for path in reasons.never}
    for path in changed.intersection(job.inputs) | {*reasons.updated}:
        eval_set = eval_set_of(path)
        if eval_set is None:
            return list(job.inputs)
        names.add(eval_set)
    if reasons.forced or reasons.incomplete or reasons.modules is not None or reasons.params_now:
        return list(job.inputs)
    return [path for path in job.inputs if eval_set_of(path) in names]


def seconds_of(
    job: PlannedJob, rate: Rate, sizes: Mapping[str, float], upstream: Collection[str] = ()
) -> float | None:
    """Return how long a job will take: by the size of what it reads where that is known.

    Args:
        job: The job.
        rate: What jobs of its kind took.
        sizes: Sizes to expect of files that do not exist.
        upstream: What jobs that it waits for make.
    """
    pending = pending_inputs(job, upstream)
    if job.inputs and not pending:
        return 0.0
    read = [sizes.get(path, _size(path)) for path in pending if path.endswith(READ)]
    known = [size for size in read if size is not None]
    if read and rate.seconds_per_byte is not None and len(known) == len(read):
        return sum(known) * rate.seconds_per_byte
    return rate.seconds


def _expected_sizes(plan: Plan, rates: Rates) -> dict[str, float]:
    """Return the sizes of files that the owed jobs will make and that do not exist."""
    return {
        path: size
        for job in plan.owed
        for path, size in zip(job.outputs, rates.of(job).output_sizes or (), strict=False)
        if _size(path) is None
    }


def estimate(
    plan: Plan, known: Mapping[int, float] | None = None, recorded: Path | None = None
) -> Estimate:
    """Return what the owed jobs of a plan cost.

    Args:
        plan: The plan.
        known: Seconds of jobs by position, of which more is known than of others.
        recorded: The working directory of another run whose times and results count; by default
            those of the plan's own.
    """
    rates = Rates(moved(job, recorded) if recorded else job for job in plan.jobs)
    sizes = _expected_sizes(plan, rates)
    seconds: dict[int, float | None] = {}
    by_rule: dict[str, list[tuple[PlannedJob, float | None, Rate]]] = defaultdict(list)
    for place, job in enumerate(plan.jobs):
        if job.reasons is not None:
            rate = rates.of(job)
            upstream = {path for other in job.needs for path in plan.jobs[other].outputs}
            seconds[place] = (known or {}).get(place, seconds_of(job, rate, sizes, upstream))
            by_rule[job.rule].append((job, seconds[place], rate))
    stages = tuple(_cost(rule, by_rule[rule]) for rule in plan.rules if rule in by_rule)
    return Estimate(stages, wall_seconds(plan, seconds), seconds)


def _cost(rule: str, jobs: Sequence[tuple[PlannedJob, float | None, Rate]]) -> StageCost:
    new = [r.output_bytes for job, _, r in jobs if job.reasons and job.reasons.missing]
    sizes = [size for size in new if size is not None]
    timed = [(job, s, rate) for job, s, rate in jobs if s is not None]
    return StageCost(
        rule,
        len(jobs),
        len(jobs) - len(timed),
        sum(not rate.is_same_kind for _, _, rate in timed),
        sum(s * job.threads for job, s, _ in timed),
        sum(s * job.gpus for job, s, _ in timed),
        sum(sizes) if len(sizes) == len(new) else None,
    )


def wall_seconds(plan: Plan, seconds: Mapping[int, float | None], gpus: int | None = None) -> float:
    """Return when the last job ends if each starts as soon as it may and a slot is free.

    Args:
        plan: The plan.
        seconds: Of each owed job, by position; None counts nothing.
        gpus: GPUs there are. Jobs that ask for some then run beside the slots: a slot is for a job
            that asks for none. None for GPUs without end, and slots for all jobs.
    """
    waits = {place: len(plan.jobs[place].needs) for place in seconds}
    followers: dict[int, list[int]] = defaultdict(list)
    for place in seconds:
        for other in plan.jobs[place].needs:
            followers[other].append(place)
    # A queue of ready jobs, and what is free for them: for jobs on slots, and for jobs on GPUs.
    ready: tuple[list[int], list[int]] = ([], [])
    free = [plan.slots, gpus or 0]
    running: list[tuple[float, int]] = []
    now = 0.0

    def queue_of(place: int) -> int:
        return int(gpus is not None and plan.jobs[place].gpus > 0)

    def width(place: int) -> int:
        job = plan.jobs[place]
        if queue_of(place):
            return min(job.gpus, gpus or 0)
        return min(job.threads, plan.slots) if plan.is_local else 1

    for place in seconds:
        if not waits[place]:
            heapq.heappush(ready[queue_of(place)], place)
    while any(ready) or running:
        for queue, jobs in enumerate(ready):
            while jobs and width(jobs[0]) <= free[queue]:
                place = heapq.heappop(jobs)
                free[queue] -= width(place)
                heapq.heappush(running, (now + (seconds[place] or 0.0), place))
        now, place = heapq.heappop(running)
        free[queue_of(place)] += width(place)
        for other in followers[place]:
            waits[other] -= 1
            if not waits[other]:
                heapq.heappush(ready[queue_of(other)], other)
    return now
