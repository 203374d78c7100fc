"""Time of each stage, from Snakemake's benchmark files."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from capsynth.errors import CapsynthError
from capsynth.files import write_text
from capsynth.reporting.style import (
    INK,
    PALETTE,
    WIDTH_INCHES,
    new_figure,
    paper_style,
    save_figure,
)

FOLDER = "benchmarks"


@dataclass(frozen=True)
class StageTime:
    """What all jobs of one rule took together.

    Attributes:
        stage: Name of the rule.
        jobs: Number of its jobs.
        total_s: Sum of their wall times, seconds.
        cpu_s: Sum of their CPU times, seconds; None where no job told.
        share: Share of ``total_s`` in that of all stages.
        peak_memory_mb: Largest resident memory of a job, MB; None where no job told.
    """

    stage: str
    jobs: int
    total_s: float
    cpu_s: float | None
    share: float
    peak_memory_mb: float | None


def stage_of(path: Path) -> str:
    """Return the rule that a benchmark file belongs to: ``.../benchmarks/{rule}/...tsv``.

    Raises:
        CapsynthError: If the file lies in no folder ``benchmarks``.
    """
    folders = [i for i, part in enumerate(path.parts[:-1]) if part == FOLDER]
    if not folders:
        raise CapsynthError(f"{path}: expected a path such as results/{FOLDER}/rule/name.tsv")
    return Path(path.parts[folders[-1] + 1]).stem


def _number(text: str | None) -> float | None:
    """Return a number; Snakemake writes ``-`` or ``NA`` for what it could not measure."""
    return None if text in (None, "", "-", "NA") else float(text or 0.0)


def read_benchmark(path: Path) -> list[dict[str, float | None]]:
    """Return the rows of a benchmark file: seconds ``s``, ``cpu_time``, ``max_rss`` in MB, ...

    Raises:
        CapsynthError: If it is no benchmark of Snakemake.
    """
    with path.open(encoding="utf-8", newline="") as file:
        found = list(csv.DictReader(file, delimiter="\t"))
    if not found or "s" not in found[0]:
        raise CapsynthError(f"{path}: no benchmark of Snakemake; delete it and run again")
    numbers = ("s", "cpu_time", "max_rss")
    return [{name: _number(row.get(name)) for name in numbers} for row in found]


def read_stage_times(paths: Iterable[Path]) -> list[StageTime]:
    """Return the times of every stage, the longest first.

    Raises:
        CapsynthError: If there is no file, or one is no benchmark of Snakemake.
    """
    rows: dict[str, list[dict[str, float | None]]] = defaultdict(list)
    for path in paths:
        rows[stage_of(path)] += read_benchmark(path)
    if not rows:
        raise CapsynthError("no benchmark files were given; run the workflow first")
    totals = {stage: sum(row["s"] or 0.0 for row in its) for stage, its in rows.items()}
    whole = sum(totals.values()) or 1.0
    times = []
    for stage, its_rows in rows.items():
        cpu = [v for row in its_rows if (v := row["cpu_time"]) is not None]
        memory = [v for row in its_rows if (v := row["max_rss"]) is not None]
        times.append(
            StageTime(
                stage,
                len(its_rows),
                totals[stage],
                sum(cpu) if cpu else None,
                totals[stage] / whole,
                max(memory) if memory else None,
            )
        )
    return sorted(times, key=lambda time: (-time.total_s, time.stage))


def write_stage_times(path: Path, times: Sequence[StageTime]) -> None:
    """Write the times as CSV, atomically."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["stage", "jobs", "total_s", "cpu_s", "share", "peak_memory_mb"])
    for time in times:
        writer.writerow(
            [
                time.stage,
                time.jobs,
                round(time.total_s, 3),
                "" if time.cpu_s is None else round(time.cpu_s, 3),
                round(time.share, 4),
                "" if time.peak_memory_mb is None else round(time.peak_memory_mb, 1),
            ]
        )
    write_text(path, out.getvalue())


def duration(seconds: float) -> str:
    """Return seconds in words that people read: 4.2 s, 3 min 05 s, 2 h 07 min."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min"


def plot_stage_times(times: Sequence[StageTime], paths: Sequence[Path]) -> None:
    """Draw the wall time of every stage, summed over its jobs, with its share."""
    with paper_style():
        save_figure(_figure(times), paths)


def _figure(times: Sequence[StageTime]) -> Figure:
    figure = new_figure(WIDTH_INCHES, 0.75 + 0.26 * len(times))
    axes = figure.subplots()
    places = range(len(times) - 1, -1, -1)
    axes.barh(list(places), [time.total_s for time in times], height=0.62, color=PALETTE[0])
    longest = max(time.total_s for time in times) or 1.0
    for place, time in zip(places, times, strict=True):
        jobs = f"{time.jobs} job{'' if time.jobs == 1 else 's'}"
        axes.annotate(
            f"{duration(time.total_s)}   {100 * time.share:.0f} %   {jobs}",
            (time.total_s, place), xytext=(5, 0), textcoords="offset points", va="center",
            color=INK, fontsize=7.5,
        )  # fmt: skip
    axes.set_yticks(list(places), [time.stage for time in times])
    axes.set_xlim(0, longest * 1.38)
    axes.grid(False)
    axes.tick_params(left=False)
    total = sum(time.total_s for time in times)
    axes.set_xlabel(f"wall time summed over jobs (s); all stages: {duration(total)}")
    return figure
