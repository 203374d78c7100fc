"""Tables of how many labels of synthetic images are wrong, overall and by class."""

from collections.abc import Sequence
from pathlib import Path

from capsynth.errors import CapsynthError
from capsynth.reporting.label_rows import (
    DISAGREEMENT,
    EVAL_SET,
    UNSURE,
    VARIANT,
    WRONG,
    WRONG_BY_REAL,
    LabelRow,
)
from capsynth.reporting.prompt_tables import PromptTableSettings
from capsynth.reporting.tables import (
    Cell,
    Column,
    Table,
    count,
    interval_cell,
    interval_names,
    label,
    write_table,
)

TITLES = {
    WRONG: "Wrong labels (%)",
    WRONG_BY_REAL: "By real thresholds (%)",
    DISAGREEMENT: "Disagreement (%)",
    UNSURE: "Unsure (%)",
}


def label_table(
    rows: Sequence[LabelRow], settings: PromptTableSettings, by_class: bool = False
) -> Table:
    """Return how many labels of every variant are wrong, of all classes together or of each."""
    shown = [row for row in rows if bool(row.class_id) == by_class]
    index = {(r.kind, r.name, r.recipe, r.class_id, r.metric): r for r in shown}
    columns = (
        *((Column("Class", ("class_id",), numeric=False),) if by_class else ()),
        Column("Images", ("images",), numeric=False),
        Column("Recipe", ("recipe",), numeric=False),
        *(Column(title, interval_names(metric)) for metric, title in TITLES.items()),
        Column("n", ("n",)),
        Column("Seeds", ("seeds",)),
    )
    known = {(row.kind, row.name) for row in shown}
    sets = [(VARIANT, name) for name in settings.variants if (VARIANT, name) in known]
    sets += sorted(name for name in known if name[0] == EVAL_SET)
    cells: list[tuple[Cell, ...]] = []
    for class_id in sorted({row.class_id for row in shown}):
        for kind, name in sets:
            for recipe in sorted({row.recipe for row in shown}):
                found = [index.get((kind, name, recipe, class_id, metric)) for metric in TITLES]
                first = found[0]
                if first is None:
                    continue
                cells.append(
                    (
                        *((label(class_id),) if by_class else ()),
                        label(name if kind == VARIANT else f"{name} (real)"),
                        label(recipe),
                        *map(_share, found),
                        count(first.n),
                        count(first.seeds),
                    )
                )
    name, title = (
        ("label-quality-per-class", "Label quality by class")
        if by_class
        else ("label-quality", "Label quality")
    )
    return Table(name, title, _note(settings), columns, tuple(cells))


def _share(row: LabelRow | None) -> Cell:
    if row is None:
        return interval_cell(None, None, None)
    return interval_cell(row.value, row.ci_low, row.ci_high)


def _note(settings: PromptTableSettings) -> str:
    return (
        "Share of the n images that are not what they were drawn for, as classifiers trained on "
        f"{settings.judge!r} see it, who were trained on none of them; mean over training seeds "
        "with its 95 % interval (images within class, and training seeds). Wrong labels: confident "
        "learning (Northcutt et al. 2021), thresholds of the images themselves; too low for a "
        "class that is mostly wrong. By real thresholds: the same with the thresholds of the rows "
        "named real; too high where the classifiers know synthetic images less well. Disagreement: "
        "another class is the most probable one. Unsure: no class reaches its threshold, so the "
        "image counts in neither estimate; a dash: no image of the class does. Rows named real are "
        "images whose labels are taken for right: what stands there is the error of the "
        "classifiers, and the least that can be told apart. A classifier that guesses among K "
        "classes disagrees with a share of 1 - 1/K."
    )


def make_label_tables(
    rows: Sequence[LabelRow], settings: PromptTableSettings, folder: Path
) -> None:
    """Write ``label-quality`` and ``label-quality-per-class`` into ``folder`` in every format.

    Raises:
        CapsynthError: If there is no row of any of the variants.
    """
    tables = [label_table(rows, settings, by_class) for by_class in (False, True)]
    if not any(row.kind == VARIANT and row.name in settings.variants for row in rows):
        raise CapsynthError(
            f"no labels of the variants {', '.join(settings.variants)}; run measure_label_quality"
        )
    for table in tables:
        write_table(table, folder)
