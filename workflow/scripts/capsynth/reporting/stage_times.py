"""Figure of the time of each stage."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from capsynth.errors import CapsynthError
from capsynth.reporting.costs import CostRow
from capsynth.reporting.style import (
    INK,
    PALETTE,
    WIDTH_INCHES,
    new_figure,
    paper_style,
    save_figure,
)


@dataclass(frozen=True)
class StageTime:
    """What all jobs of one rule took together.

    Attributes:
        stage: Name of the rule.
        jobs: Number of its jobs.
        total_s: Sum of their wall times, seconds.
    """

    stage: str
    jobs: int
    total_s: float


def stage_times(costs: Iterable[CostRow]) -> list[StageTime]:
    """Return the times of every stage, the longest first."""
    jobs: dict[str, int] = defaultdict(int)
    seconds: dict[str, float] = defaultdict(float)
    for row in costs:
        jobs[row.stage] += row.jobs
        seconds[row.stage] += row.wall_s
    times = [StageTime(stage, jobs[stage], seconds[stage]) for stage in jobs]
    return sorted(times, key=lambda time: (-time.total_s, time.stage))


def duration(seconds: float) -> str:
    """Return seconds in words that people read: 4.2 s, 3 min 05 s, 2 h 07 min."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"


def plot_stage_times(costs: Sequence[CostRow], paths: Sequence[Path]) -> None:
    """Draw the wall time of every stage, summed over its jobs, with its share of all of them.

    Raises:
        CapsynthError: If there are no jobs.
    """
    if not costs:
        raise CapsynthError("there are no costs to draw; run measure_costs again")
    with paper_style():
        save_figure(_figure(stage_times(costs)), paths)


def _figure(times: Sequence[StageTime]) -> Figure:
    figure = new_figure(WIDTH_INCHES, 0.75 + 0.26 * len(times))
    axes = figure.subplots()
    places = range(len(times) - 1, -1, -1)
    axes.barh(list(places), [time.total_s for time in times], height=0.62, color=PALETTE[0])
    longest = max(time.total_s for time in times) or 1.0
    total = sum(time.total_s for time in times)
    for place, time in zip(places, times, strict=True):
        jobs = f"{time.jobs} job{'' if time.jobs == 1 else 's'}"
        share = time.total_s / (total or 1.0)
        axes.annotate(
            f"{duration(time.total_s)}   {100 * share:.0f} %   {jobs}",
            (time.total_s, place), xytext=(5, 0), textcoords="offset points", va="center",
            color=INK, fontsize=7.5,
        )  # fmt: skip
    axes.set_yticks(list(places), [time.stage for time in times])
    axes.set_xlim(0, longest * 1.38)
    axes.grid(False)
    axes.tick_params(left=False)
    axes.set_xlabel(f"wall time summed over jobs (s); all stages: {duration(total)}")
    return figure
