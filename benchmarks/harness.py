"""Timing of ways to do the same work, in turns, so that a slow minute hits them all."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Benchmark:
    """Ways to do the same work.

    Attributes:
        name: What is done, as ``generation``.
        unit: What is counted, as ``images``.
        ways: By name what does the work once and returns how much was done, in units. The first
            is capsynth's; the others are what it is compared with.
        bounds: By name of another way the least ratio of capsynth's rate to its rate.
        prepare: Called before every single run, outside the time: empties folders, drops caches.
    """

    name: str
    unit: str
    ways: Mapping[str, Callable[[], float]]
    bounds: Mapping[str, float] = field(default_factory=dict)
    prepare: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Result:
    """One way of a benchmark, measured in several rounds.

    Attributes:
        benchmark: Name of the benchmark.
        way: Name of the way.
        unit: What is counted.
        rounds: Number of rounds.
        amount: Units that one run did.
        median_s: Median seconds of a run.
        low_s: Shortest.
        high_s: Longest.
        rate: Units a second, at the median.
        ratio: Median over rounds of capsynth's rate over this way's in the same round.
        ratio_low: Lowest of them.
        ratio_high: Highest.
        bound: Least ratio that is aimed at; None where there is none.
    """

    benchmark: str
    way: str
    unit: str
    rounds: int
    amount: float
    median_s: float
    low_s: float
    high_s: float
    rate: float
    ratio: float
    ratio_low: float
    ratio_high: float
    bound: float | None


def measure(benchmark: Benchmark, rounds: int, warm_up: int = 1) -> list[Result]:
    """Run every way in turn, ``rounds`` times, after unmeasured rounds that fill caches.

    The order of the ways is reversed every second round.
    """
    names = list(benchmark.ways)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    amounts: dict[str, float] = {}
    for number in range(-warm_up, rounds):
        for name in names if number % 2 == 0 else reversed(names):
            benchmark.prepare()
            began = time.perf_counter()
            amounts[name] = float(benchmark.ways[name]())
            if number >= 0:
                seconds[name].append(time.perf_counter() - began)
    return [_result(benchmark, name, seconds, amounts) for name in names]


def _result(
    benchmark: Benchmark,
    name: str,
    seconds: Mapping[str, Sequence[float]],
    amounts: Mapping[str, float],
) -> Result:
    first = next(iter(benchmark.ways))
    ratios = [
        (amounts[first] / own) / (amounts[name] / other)
        for own, other in zip(seconds[first], seconds[name], strict=True)
    ]
    median = statistics.median(seconds[name])
    return Result(
        benchmark.name,
        name,
        benchmark.unit,
        len(ratios),
        amounts[name],
        median,
        min(seconds[name]),
        max(seconds[name]),
        amounts[name] / median,
        statistics.median(ratios),
        min(ratios),
        max(ratios),
        benchmark.bounds.get(name),
    )
