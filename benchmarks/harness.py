"""Timing of ways to do the same work, in turns, so that a slow minute hits them all."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

# Starts a command and prints the peak memory of its largest process, in kB. A process of its own,
# for a child counts the memory of the process that started it as its own.
_MEASURING = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


@dataclass(frozen=True)
class Work:
    """Work that was done.

    Attributes:
        amount: How much, in units.
        peak_mb: Peak memory of the largest process, in MB; None if it was not measured.
    """

    amount: float
    peak_mb: float | None = None


def run_measured(command: Sequence[str | Path], amount: float, cwd: Path | None = None) -> Work:
    """Run a command; return the work it did and its peak memory. Its output is dropped.

    Raises:
        subprocess.CalledProcessError: If it fails.
    """
    tools = Path(sys.executable).parent
    done = subprocess.run(
        [sys.executable, "-c", _MEASURING, *map(str, command)],
        cwd=cwd,
        env={**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        print(done.stderr[-2000:], file=sys.stderr)
    done.check_returncode()
    return Work(amount, int(done.stdout) * 1024 / 1e6)


@dataclass(frozen=True)
class Benchmark:
    """Ways to do the same work.

    Attributes:
        name: What is done, as ``generation``.
        unit: What is counted, as ``images``.
        ways: By name what does the work once and returns how much was done, in units, with or
            without the memory it took. The first is capsynth's; the others are what it is compared
            with.
        bounds: By name of another way the least ratio of capsynth's rate to its rate.
        most_s: Most seconds that are aimed at for capsynth's way; None for no such aim.
        most_mb: Most peak memory that is aimed at for it, in MB.
        most_rounds: Of work of minutes: so many rounds at most, and none before them.
        prepare: Called before every single run, outside the time: empties folders, drops caches.
    """

    name: str
    unit: str
    ways: Mapping[str, Callable[[], float | Work]]
    bounds: Mapping[str, float] = field(default_factory=dict)
    most_s: float | None = None
    most_mb: float | None = None
    most_rounds: int | None = None
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
        peak_mb: Highest peak memory of a run, in MB; None if it was not measured.
        most_s: Most seconds that are aimed at; None where there is no such aim.
        most_mb: Most peak memory that is aimed at.
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
    peak_mb: float | None
    most_s: float | None
    most_mb: float | None


def measure(benchmark: Benchmark, rounds: int, warm_up: int = 1) -> list[Result]:
    """Run every way in turn, ``rounds`` times, after unmeasured rounds that fill caches.

    The order of the ways is reversed every second round.
    """
    if benchmark.most_rounds is not None:
        rounds, warm_up = min(rounds, benchmark.most_rounds), 0
    names = list(benchmark.ways)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    done: dict[str, list[Work]] = {name: [] for name in names}
    for number in range(-warm_up, rounds):
        for name in names if number % 2 == 0 else reversed(names):
            benchmark.prepare()
            began = time.perf_counter()
            work = benchmark.ways[name]()
            if number >= 0:
                seconds[name].append(time.perf_counter() - began)
                done[name].append(work if isinstance(work, Work) else Work(float(work)))
    return [_result(benchmark, name, seconds, done) for name in names]


def _result(
    benchmark: Benchmark,
    name: str,
    seconds: Mapping[str, Sequence[float]],
    done: Mapping[str, Sequence[Work]],
) -> Result:
    first = next(iter(benchmark.ways))
    amounts = {way: works[-1].amount for way, works in done.items()}
    peaks = [work.peak_mb for work in done[name] if work.peak_mb is not None]
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
        max(peaks, default=None),
        benchmark.most_s if name == first else None,
        benchmark.most_mb if name == first else None,
    )
