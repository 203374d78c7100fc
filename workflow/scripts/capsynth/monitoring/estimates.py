"""What owed jobs cost, from the recorded times and the results of jobs of the same kind."""

import csv
import functools
import heapq
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from capsynth.monitoring.plan import Plan, PlannedJob

# Jobs of a kind that are looked at: their mean needs no more.
SAMPLE = 50
# Wildcards in which jobs of a kind may differ.
ALIKE = ("shard", "class_id", "seed", "download", "repository")


@dataclass(frozen=True)
class Rate:
    """What jobs of a kind took on average.

    Attributes:
        seconds: Of one job.
        seconds_per_byte: Of one byte of the JSON Lines that a job reads, a record a sample; None
            if such jobs read none.
        output_bytes: Size of what one job makes.
        is_same_kind: Whether they are of the same variant, captioner, training set, ...; other
            jobs of the rule else.
    """

    seconds: float | None
    seconds_per_byte: float | None
    output_bytes: float | None
    is_same_kind: bool


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


def read_bytes_of(job: PlannedJob) -> int | None:
    """Return the bytes of JSON Lines that a job reads; None if it reads none, or lacks some."""
    sizes = [_size(path) for path in job.inputs if path.endswith(".jsonl")]
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
        times.append(seconds)
        if size := read_bytes_of(job):
            scaled = [scaled[0] + seconds, scaled[1] + size]
    made = [job for job in jobs if all(_size(path) is not None for path in job.outputs)]
    sizes = [_made_bytes(job) for job in made[:: -(-len(made) // SAMPLE) or 1]]
    return Rate(
        sum(times) / len(times) if times else None,
        scaled[0] / scaled[1] if scaled[1] else None,
        sum(sizes) / len(sizes) if sizes else None,
        is_same_kind,
    )


def _made_bytes(job: PlannedJob) -> int:
    # A folder's own size says nothing; what is drawn into it is packed by the next stage.
    return sum(_size(path) or 0 for path in job.outputs if Path(path).is_file())


def kind_of(job: PlannedJob) -> tuple[str, ...]:
    """Return what jobs that take alike have in common: rule, variant, training set, recipe."""
    return (job.rule, *(v for name, v in job.wildcards.items() if name not in ALIKE))


class Rates:
    """What jobs of each kind of a plan took, looked up when asked for."""

    def __init__(self, plan: Plan) -> None:
        self._kinds: dict[tuple[str, ...], list[PlannedJob]] = defaultdict(list)
        self._rules: dict[str, list[PlannedJob]] = defaultdict(list)
        for job in plan.jobs:
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


def seconds_of(job: PlannedJob, rate: Rate) -> float | None:
    """Return how long a job will take; by the size of what it reads where that is there."""
    size = read_bytes_of(job)
    if size is not None and rate.seconds_per_byte is not None:
        return size * rate.seconds_per_byte
    return rate.seconds


def estimate(plan: Plan, known: Mapping[int, float] | None = None) -> Estimate:
    """Return what the owed jobs of a plan cost.

    Args:
        plan: The plan.
        known: Seconds of jobs by position, of which more is known than of others.
    """
    rates = Rates(plan)
    seconds: dict[int, float | None] = {}
    by_rule: dict[str, list[tuple[PlannedJob, float | None, Rate]]] = defaultdict(list)
    for place, job in enumerate(plan.jobs):
        if job.reasons is not None:
            rate = rates.of(job)
            seconds[place] = (known or {}).get(place, seconds_of(job, rate))
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


def wall_seconds(plan: Plan, seconds: Mapping[int, float | None]) -> float:
    """Return when the last job ends if each starts as soon as it may and a slot is free."""
    waits = {place: len(plan.jobs[place].needs) for place in seconds}
    followers: dict[int, list[int]] = defaultdict(list)
    for place in seconds:
        for other in plan.jobs[place].needs:
            followers[other].append(place)
    ready = [place for place in seconds if not waits[place]]
    heapq.heapify(ready)
    running: list[tuple[float, int]] = []
    free, now = plan.slots, 0.0

    def width(place: int) -> int:
        return min(plan.jobs[place].threads, plan.slots) if plan.is_local else 1

    while ready or running:
        while ready and width(ready[0]) <= free:
            place = heapq.heappop(ready)
            free -= width(place)
            heapq.heappush(running, (now + (seconds[place] or 0.0), place))
        now, place = heapq.heappop(running)
        free += width(place)
        for other in followers[place]:
            waits[other] -= 1
            if not waits[other]:
                heapq.heappush(ready, other)
    return now
