"""Tables of how many labels of synthetic images are wrong, overall and by class."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from capsynth.errors import CapsynthError
from capsynth.reporting.chance import MARK, chance_cell, faint, reaches
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

NOTE = (
    f"{MARK} not clearly below chance, the 95 % interval reaches it: the labels are as good as "
    "random, or the classifiers know nothing of these images; the rows named real tell which."
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
        Column("Chance (%)", ("chance",)),
        Column("n", ("n",)),
        Column("Seeds", ("seeds",)),
    )
    known = {(row.kind, row.name) for row in shown}
    sets = [(VARIANT, name) for name in settings.variants if (VARIANT, name) in known]
    sets += sorted(name for name in known if name[0] == EVAL_SET)
    levels = _chances(rows)
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
                        *(_share(row, levels) for row in found),
                        chance_cell(levels.get(_place(first)), 0),
                        count(first.n),
                        count(first.seeds),
                    )
                )
    name, title = (
        ("label-quality-per-class", "Label quality by class")
        if by_class
        else ("label-quality", "Label quality")
    )
    note = _note(settings)
    shares = slice(3, 3 + len(TITLES)) if by_class else slice(2, 2 + len(TITLES))
    if any(cell.faint for line in cells for cell in line[shares]):
        note = f"{note} {NOTE}"
    return Table(name, title, note, columns, tuple(cells))


def _place(row: LabelRow) -> tuple[str, str, str, str]:
    return row.kind, row.name, row.recipe, row.class_id


def _chances(rows: Sequence[LabelRow]) -> dict[tuple[str, str, str, str], float]:
    """Return what answers that ignore the image are wrong about, by ``_place``.

    Of one class an even guess among the classes, 1 - 1/K; of all the best fixed answer, which is
    right on the images of the largest class.
    """
    sizes: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for row in rows:
        if row.class_id and row.metric == DISAGREEMENT:
            sizes[_place(row)[:3]].append(row.n)
    found = {}
    for row in rows:
        of = sizes.get(_place(row)[:3])
        if of:
            right = 1.0 / len(of) if row.class_id else max(of) / sum(of)
            found[_place(row)] = 1.0 - right
    return found


def _share(row: LabelRow | None, levels: Mapping[tuple[str, str, str, str], float]) -> Cell:
    """Return the cell of a share, marked where it is not clearly below chance."""
    if row is None:
        return interval_cell(None, None, None)
    cell = interval_cell(row.value, row.ci_low, row.ci_high)
    chance = levels.get(_place(row))
    if row.metric == UNSURE or row.value is None or chance is None:
        return cell
    reached = reaches(row.ci_low, row.ci_high, chance, lower_is_better=True)
    return faint(cell) if reached else cell


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
        "classifiers, and the least that can be told apart. Chance: what answers that ignore the "
        "image give in the first three columns, 1 - 1/K of a class among K, of all the images that "
        "are not of the largest class."
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
