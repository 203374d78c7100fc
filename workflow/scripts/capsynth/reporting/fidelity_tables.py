"""Tables of fidelity, overall and by class, and the figure of the trade between both sides."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from capsynth import fidelity
from capsynth.errors import CapsynthError
from capsynth.reporting.fidelity_rows import (
    AGREEMENT,
    EVAL_SET,
    REAL,
    VARIANT,
    VENDI,
    FidelityRow,
)
from capsynth.reporting.style import (
    INK,
    MARKERS,
    PALETTE,
    WIDTH_INCHES,
    new_figure,
    paper_style,
    save_figure,
)
from capsynth.reporting.tables import (
    MISSING,
    PLUS_MINUS,
    Cell,
    Column,
    Table,
    count,
    csv_number,
    decimals,
    label,
    with_best,
    write_table,
)

TITLES = {
    "frechet_distance": "Fréchet distance",
    "precision": "Precision",
    "recall": "Recall",
    "density": "Density",
    "coverage": "Coverage",
    VENDI: "Vendi score",
    AGREEMENT: "Prompt agreement",
}
# More of a table's images is better, but for the distance.
LOWEST_IS_BEST = ("frechet_distance",)
PANELS = (("recall", "precision"), ("coverage", "density"))
# A note names so many caveats of sets and leaves the others out.
MOST_CAVEATS = 4

Name = tuple[str, str]


@dataclass(frozen=True)
class FidelitySettings:
    """What the tables and the figure show, and in which order.

    Attributes:
        extractors: Feature extractors.
        variants: Variants.
        neighbours: Neighbours in the ball of an image.
    """

    extractors: tuple[str, ...]
    variants: tuple[str, ...]
    neighbours: int


def _sets_of(rows: Sequence[FidelityRow], settings: FidelitySettings) -> list[Name]:
    """Return kind and name of the sets in their order: variants, then what real images get."""
    known = {(row.kind, row.name) for row in rows}
    variants = [(VARIANT, name) for name in settings.variants if (VARIANT, name) in known]
    return [
        *variants,
        *(name for kind in (EVAL_SET, REAL) for name in sorted(known) if name[0] == kind),
    ]


def _title_of(name: Name) -> str:
    suffix = {VARIANT: "", EVAL_SET: " (real)", REAL: " (real, compared with)"}
    return f"{name[1]}{suffix[name[0]]}"


def digits_of(values: Sequence[float]) -> int:
    """Return the decimals that show three digits of the largest number."""
    largest = max((abs(value) for value in values), default=1.0)
    return max(0, 2 - math.floor(math.log10(largest))) if largest > 0 else 2


def _cell(row: FidelityRow | None, digits: int) -> Cell:
    """Return a cell of a number and its standard error."""
    if row is None or row.value is None:
        return Cell(MISSING, ("", ""), None)
    text = decimals(row.value, digits)
    if row.standard_error is not None:
        text = f"{text} {PLUS_MINUS} {decimals(row.standard_error, digits)}"
    values = (csv_number(row.value, scale=1.0), csv_number(row.standard_error, scale=1.0))
    return Cell(text, values, row.value)


def fidelity_table(
    rows: Sequence[FidelityRow], settings: FidelitySettings, by_class: bool = False
) -> Table:
    """Return the numbers of every feature space and set, of all classes together or of each."""
    shown = [row for row in rows if bool(row.class_id) == by_class]
    index = {(r.extractor, r.kind, r.name, r.class_id, r.metric): r for r in shown}
    metrics = [m for m in TITLES if any(row.metric == m for row in shown)]
    digits = {
        m: digits_of([r.value for r in shown if r.metric == m and r.value is not None])
        for m in metrics
    }
    columns = (
        Column("Feature space", ("extractor",), numeric=False),
        *((Column("Class", ("class_id",), numeric=False),) if by_class else ()),
        Column("Images", ("images",), numeric=False),
        Column("n", ("n",)),
        *(Column(TITLES[m], (m, f"{m}_se")) for m in metrics),
    )
    cells = []
    for extractor in settings.extractors:
        for class_id in sorted({row.class_id for row in shown}):
            sets = [
                name
                for name in _sets_of(shown, settings)
                if (extractor, *name, class_id, VENDI) in index
            ]
            by_column = [
                _best(
                    sets,
                    [_cell(index.get((extractor, *name, class_id, m)), digits[m]) for name in sets],
                    m,
                    digits[m],
                )
                for m in metrics
            ]
            cells += [
                (
                    label(extractor),
                    *((label(class_id),) if by_class else ()),
                    label(_title_of(name)),
                    count(index[(extractor, *name, class_id, VENDI)].images),
                    *(column[place] for column in by_column),
                )
                for place, name in enumerate(sets)
            ]
    name, title = (
        ("fidelity-per-class", "Fidelity by class") if by_class else ("fidelity", "Fidelity")
    )
    return Table(name, title, _note(shown, settings), columns, tuple(cells))


def _best(sets: Sequence[Name], cells: Sequence[Cell], metric: str, digits: int) -> list[Cell]:
    """Return the cells with the best of the variants in bold; real images do not compete."""
    variants = [cell for name, cell in zip(sets, cells, strict=True) if name[0] == VARIANT]
    best = with_best(variants, lowest=metric in LOWEST_IS_BEST, digits=digits)
    return [*best, *cells[len(variants) :]]


def _note(rows: Sequence[FidelityRow], settings: FidelitySettings) -> str:
    compared = [row for row in rows if row.kind != REAL]
    # Of classes: what is true of the smallest.
    sizes = sorted(
        {(row.class_id, row.real, row.images, row.dimensions) for row in compared},
        key=lambda size: (min(size[1:3]), size),
    )
    if sizes and sizes[0][0]:
        sizes = sizes[:1]
    said = [
        c
        for _, *size in sizes
        for c in fidelity.caveats(size[0], size[1], size[2], settings.neighbours)
    ]
    caveats = list(dict.fromkeys(said))
    more = " Further sets have caveats of their own." if len(caveats) > MOST_CAVEATS else ""
    return (
        f"Synthetic images against the real ones of the training data: value {PLUS_MINUS} "
        "standard error over random halves of the images; no interval, as small sets are biased by "
        f"more than they vary. {settings.neighbours} neighbours. Rows named real are no synthetic "
        "images: those of an evaluation set are what new real images get. Numbers of two feature "
        "spaces are not comparable. Bold: the best variant. "
        + " ".join(caveats[:MOST_CAVEATS])
        + more
    ).strip()


def make_fidelity_tables(
    rows: Sequence[FidelityRow], settings: FidelitySettings, folder: Path
) -> None:
    """Write ``fidelity`` and ``fidelity-per-class`` into ``folder`` in every format."""
    _require(rows, settings)
    for by_class in (False, True):
        write_table(fidelity_table(rows, settings, by_class), folder)


def _require(rows: Sequence[FidelityRow], settings: FidelitySettings) -> None:
    if not any(row.extractor in settings.extractors for row in rows):
        raise CapsynthError(
            f"no numbers in the feature spaces {', '.join(settings.extractors)}; "
            "run measure_fidelity for them"
        )


def plot_fidelity(
    rows: Sequence[FidelityRow], settings: FidelitySettings, paths: Sequence[Path]
) -> None:
    """Draw precision against recall, and density against coverage, of every variant.

    One row of panels a feature space; bars are standard errors; a star is what new real images get.

    Args:
        rows: Rows of fidelity.csv.
        settings: Names and their order.
        paths: Files to write, .png or .svg.

    Raises:
        CapsynthError: If there are no numbers of these feature spaces.
    """
    _require(rows, settings)
    index = {(r.extractor, (r.kind, r.name), r.metric): r for r in rows if not r.class_id}
    sets = [name for name in _sets_of(rows, settings) if name[0] != REAL]
    with paper_style():
        figure = new_figure(WIDTH_INCHES, 0.45 + 2.6 * len(settings.extractors))
        grid = figure.subplots(len(settings.extractors), len(PANELS), squeeze=False)
        for line, extractor in zip(grid, settings.extractors, strict=True):
            for axes, (x, y) in zip(line, PANELS, strict=True):
                pairs = {
                    n: (index.get((extractor, n, x)), index.get((extractor, n, y))) for n in sets
                }
                _panel(axes, pairs)
                axes.set_title(extractor)
                axes.set_xlabel(TITLES[x].lower())
                axes.set_ylabel(TITLES[y].lower())
        _legend(figure, grid[0][0])
        save_figure(figure, paths)


def _panel(axes: Axes, pairs: Mapping[Name, tuple[FidelityRow | None, FidelityRow | None]]) -> None:
    for place, (name, (x, y)) in enumerate(pairs.items()):
        if x is None or y is None or x.value is None or y.value is None:
            continue
        is_real = name[0] == EVAL_SET
        axes.errorbar(
            [x.value],
            [y.value],
            xerr=[x.standard_error or 0.0],
            yerr=[y.standard_error or 0.0],
            fmt="*" if is_real else MARKERS[place % len(MARKERS)],
            color=INK if is_real else PALETTE[place % len(PALETTE)],
            ms=9 if is_real else 5.5,
            mew=0.0,
            elinewidth=1.0,
            label=_title_of(name),
        )


def _legend(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=min(4, len(handles)))
