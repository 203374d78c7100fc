"""Tables of what each stage costs, and what accuracy costs."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from capsynth.errors import CapsynthError
from capsynth.reporting.chance import NOTE as CHANCE_NOTE
from capsynth.reporting.chance import chance_levels, faint
from capsynth.reporting.costs import CostRow, scaled, total
from capsynth.reporting.scores import Score, index_scores
from capsynth.reporting.stage_times import duration
from capsynth.reporting.tables import (
    MISSING,
    Cell,
    Column,
    Table,
    count,
    csv_number,
    interval_cell,
    interval_names,
    label,
    write_table,
)

TRAINING = "train_classifier"
ENERGY_NOTE = (
    "Energy: of the processors, shared out to the jobs by their CPU time, where the machine tells; "
    "memory, disks and GPUs are not in it."
)
NO_ENERGY_NOTE = "Energy: this machine does not tell."


@dataclass(frozen=True)
class CostSettings:
    """What the tables show.

    Attributes:
        eval_set: Evaluation set of the accuracy.
        training_sets: Training sets in the order of rows.
        stages: By training set the stages that its images rest on, each with what it was for.
    """

    eval_set: str
    training_sets: tuple[str, ...]
    stages: Mapping[str, Sequence[Sequence[str]]]


def cost_table(rows: Sequence[CostRow]) -> Table:
    """Return what every stage costs, and for what."""
    has_gpu, has_energy = (
        any(getattr(row, name) for row in rows) for name in ("gpu_hours", "energy_wh")
    )
    columns = (
        Column("Stage", ("stage",), numeric=False),
        Column("Of", ("name",), numeric=False),
        Column("Recipe", ("recipe",), numeric=False),
        Column("Jobs", ("jobs",)),
        Column("Wall time", ("wall_s",)),
        Column("Core hours", ("core_hours",)),
        *((Column("GPU hours", ("gpu_hours",)),) if has_gpu else ()),
        *((Column("Energy (Wh)", ("energy_wh",)),) if has_energy else ()),
        Column("Images", ("images",)),
        Column("Images/s", ("images_per_s",)),
        Column("Disk", ("disk_bytes",)),
    )
    cells = tuple(
        (
            label(row.stage),
            label(row.name),
            label(row.recipe),
            count(row.jobs),
            Cell(duration(row.wall_s), (csv_number(row.wall_s, scale=1.0),), row.wall_s),
            _number(row.core_hours),
            *((_number(row.gpu_hours),) if has_gpu else ()),
            *((_number(row.energy_wh),) if has_energy else ()),
            Cell(MISSING, ("",), None) if row.images is None else count(row.images),
            _number(row.images_per_s),
            Cell(size_in_words(row.disk_bytes), (str(row.disk_bytes),), float(row.disk_bytes)),
        )
        for row in rows
    )
    note = (
        "Sums over jobs, those that ran at the same time counted in full; times hold the start of "
        "each job and are of the attempt that finished it. Core hours: wall time, times the "
        "threads that the job was given. Images/s: of one job at a time; a training's images are "
        "those of all epochs. Disk: size of what the stage made. "
        + (
            "GPU hours: wall time, times the GPUs of jobs that used any. "
            if has_gpu
            else "No job used a GPU. "
        )
        + (ENERGY_NOTE if has_energy else NO_ENERGY_NOTE)
        + " Times differ from run to run and from machine to machine."
    )
    return Table("cost", "Cost of each stage", note, columns, cells)


def _number(value: float | None) -> Cell:
    """Return a cell of a number with three significant digits."""
    if value is None:
        return Cell(MISSING, ("",), None)
    text = f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return Cell(text, (repr(round(value, 8)),), value)


def size_in_words(size: float) -> str:
    """Return bytes in words that people read, in powers of 1,000."""
    units = ["B", "kB", "MB", "GB", "TB"]
    while size >= 999.5 and len(units) > 1:
        size /= 1000
        del units[0]
    return f"{size:.3g} {units[0]}"


def accuracy_cost_table(
    rows: Sequence[CostRow], scores: Sequence[Score], settings: CostSettings
) -> Table:
    """Return what each training set costs, from captions to one training, and what it brings."""
    index = index_scores(scores)
    levels = chance_levels(index)
    uses_gpu = any(row.gpu_hours for row in rows)
    unit, hours = ("GPU", "gpu_hours") if uses_gpu else ("core", "core_hours")
    columns = (
        Column("Training set", ("training_set",), numeric=False),
        Column("Recipe", ("recipe",), numeric=False),
        Column(f"Images ({unit} h)", (f"images_{hours}",)),
        Column(f"One training ({unit} h)", (f"training_{hours}",)),
        Column(f"Together ({unit} h)", (hours,)),
        Column(f"Top-1, {settings.eval_set} (%)", interval_names("top1")),
        Column(f"Points per {unit} hour", ("points_per_hour",)),
    )
    by_name: dict[tuple[str, str], list[CostRow]] = defaultdict(list)
    for row in rows:
        by_name[row.stage, row.name].append(row)
    cells = []
    for name in settings.training_sets:
        images = total(
            getattr(r, hours) for stage, of in settings.stages[name] for r in by_name[stage, of]
        )
        for row in by_name[TRAINING, name]:
            top1 = next(
                (
                    score
                    for (_, *found), score in index.summaries.items()
                    if found == [name, row.recipe, settings.eval_set, "top1"]
                ),
                None,
            )
            if top1 is None:
                raise CapsynthError(
                    f"{name}, {row.recipe}: no score on {settings.eval_set!r}; run collect_scores"
                )
            accuracy = interval_cell(top1.value, top1.ci_low, top1.ci_high)
            training = scaled(getattr(row, hours), 1 / row.jobs)
            together = total([images, training])
            cells.append(
                (
                    label(name),
                    label(row.recipe),
                    _number(images),
                    _number(training),
                    _number(together),
                    faint(accuracy) if levels.reached_by(top1) else accuracy,
                    _number(100 * top1.value / together if together else None),
                )
            )
    note = (
        f"What a training set takes in {unit} hours, from the captions of real images over prompts "
        "and drawn images to one training, and the accuracy that it brings, mean over training "
        "seeds with its 95 % interval. Shards are drawn whole, whatever share of them is trained "
        "on, and are counted in every training set that reads them. Real images are there already "
        "and cost nothing. Points per hour: accuracy in percent over all of these hours; a mean, "
        "not what one more hour would bring."
    )
    if any(cell.faint for row in cells for cell in row):
        note += f" {CHANCE_NOTE}"
    return Table("cost-of-accuracy", "Cost of accuracy", note, columns, tuple(cells))


def make_cost_tables(
    rows: Sequence[CostRow], scores: Sequence[Score], settings: CostSettings, folder: Path
) -> None:
    """Write ``cost`` and ``cost-of-accuracy`` into ``folder`` in every format.

    Raises:
        CapsynthError: If a training set has no score.
    """
    for table in (cost_table(rows), accuracy_cost_table(rows, scores, settings)):
        write_table(table, folder)
