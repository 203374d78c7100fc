"""A workflow's jobs on a cluster, on paper: python -m benchmarks.simulate writes tables.

Stages of so many jobs, whose times are drawn from distributions, run where and when there is room.
What the cluster and Snakemake add is drawn too: starting a job, and submitting it.
"""

import heapq
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Stage:
    """Jobs that are alike.

    Attributes:
        name: Its name.
        jobs: How many.
        seconds: Mean time of a job, without its start.
        spread: Standard deviation of the time, as a share of the mean.
        gpus: GPUs of a job.
        after: By stage what a job waits for: ``"same"`` for the job of the same number (modulo the
            jobs of that stage), ``"all"`` for all its jobs.
        per_submission: Jobs that share a submission, one after another.
    """

    name: str
    jobs: int
    seconds: float
    spread: float = 0.0
    gpus: int = 0
    after: Mapping[str, str] = field(default_factory=dict)
    per_submission: int = 1


@dataclass(frozen=True)
class Cluster:
    """Where jobs run.

    Attributes:
        gpus: GPUs for this run.
        slots: Submissions that may wait or run at once (Snakemake's ``jobs``).
        start_s: Seconds from the start of a submission until its first job's script runs; they hold
            its GPUs.
        between_s: The same of each further job in a submission.
        submissions_per_s: How fast Snakemake submits.
    """

    gpus: int
    slots: int
    start_s: float = 0.0
    between_s: float = 0.0
    submissions_per_s: float = np.inf


@dataclass(frozen=True)
class Outcome:
    """How a run went.

    Attributes:
        wall_s: Until its last job ended.
        gpu_s: GPU seconds of work.
        held_s: GPU seconds that submissions held.
        ends: When the last job of each stage ended.
        submissions: How many there were.
    """

    wall_s: float
    gpu_s: float
    held_s: float
    ends: Mapping[str, float]
    submissions: int

    def busy(self, gpus: int) -> float:
        """Return the share of the time of so many GPUs in which they worked."""
        return self.gpu_s / (gpus * self.wall_s)


def simulate(stages: Sequence[Stage], cluster: Cluster, seed: int = 0) -> Outcome:
    """Return how a run of stages goes: list scheduling, earlier stages first.

    A submission starts when all that its jobs wait for has ended, there is a slot and its GPUs are
    free, and Snakemake has come to it. Times are gamma distributed.
    """
    rng = np.random.default_rng(seed)
    by_name = {stage.name: stage for stage in stages}
    # Submissions: their stage and how many jobs are in them; by job, the submission it is in.
    owners: dict[str, np.ndarray] = {}
    work, held, gpus, names = [], [], [], []
    for stage in stages:
        times = _times(stage, rng)
        owner = np.arange(stage.jobs) // stage.per_submission
        owners[stage.name] = owner + len(work)
        for own in np.split(times, np.flatnonzero(np.diff(owner)) + 1):
            work.append(float(own.sum()))
            held.append(work[-1] + cluster.start_s + cluster.between_s * (len(own) - 1))
            gpus.append(stage.gpus)
            names.append(stage.name)
    waits = np.zeros(len(work), dtype=np.int64)
    followers: dict[int, list[int]] = defaultdict(list)
    # Stages waited for as a whole: one count instead of a line from each job to each.
    left = {stage.name: 0 for stage in stages}
    for name in names:
        left[name] += 1
    barriers: dict[str, list[int]] = defaultdict(list)
    for stage in stages:
        for before, how in stage.after.items():
            mine = owners[stage.name]
            if how == "all":
                for place in dict.fromkeys(mine.tolist()):
                    barriers[before].append(place)
                    waits[place] += 1
                continue
            theirs = owners[before][np.arange(stage.jobs) % by_name[before].jobs]
            for other, place in dict.fromkeys(zip(theirs.tolist(), mine.tolist(), strict=True)):
                followers[other].append(place)
                waits[place] += 1
    # Jobs without and with GPUs queue apart: the former go on while all GPUs are taken.
    ready: tuple[list[int], list[int]] = ([], [])
    for place in np.flatnonzero(waits == 0).tolist():
        heapq.heappush(ready[gpus[place] > 0], place)
    running: list[tuple[float, int]] = []
    free_gpus, free_slots, now, submitted = cluster.gpus, cluster.slots, 0.0, -np.inf
    ends: dict[str, float] = {}
    while any(ready) or running:
        for queue in reversed(ready):
            while queue and free_slots and (need := min(gpus[queue[0]], cluster.gpus)) <= free_gpus:
                place = heapq.heappop(queue)
                submitted = max(now, submitted + 1.0 / cluster.submissions_per_s)
                free_gpus -= need
                free_slots -= 1
                heapq.heappush(running, (submitted + held[place], place))
        now, place = heapq.heappop(running)
        free_gpus += min(gpus[place], cluster.gpus)
        free_slots += 1
        ends[names[place]] = now
        left[names[place]] -= 1
        last = [] if left[names[place]] else barriers[names[place]]
        for other in (*followers[place], *last):
            waits[other] -= 1
            if not waits[other]:
                heapq.heappush(ready[gpus[other] > 0], other)
    used = np.array(gpus)
    return Outcome(now, float(used @ work), float(used @ held), ends, len(work))


def _times(stage: Stage, rng: np.random.Generator) -> np.ndarray:
    if not stage.spread:
        return np.full(stage.jobs, stage.seconds)
    shape = stage.spread**-2
    return rng.gamma(shape, stage.seconds / shape, stage.jobs)
