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
    CAPTIONED,
    REAL,
    REFERENCE,
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
    "kernel_distance": "Kernel distance",
    "precision": "Precision",
    "recall": "Recall",
    "density": "Density",
    "coverage": "Coverage",
    VENDI: "Vendi score",
    AGREEMENT: "Prompt agreement",
    CAPTIONED: "Fréchet, captioned images",
}
# Less is better down to what real images have, and of the next ones more is better up to there. Of
# the others neither is: a wrong image adds to the Vendi score, and a copy is near to its source.
LOWER_IS_BETTER = ("frechet_distance", "kernel_distance")
HIGHER_IS_BETTER = ("precision", "recall", "density", "coverage")
PANELS = (("recall", "precision"), ("coverage", "density"))
RULE = (
    "Aim at the floor: past it no number is better. Bold: the lowest distance, and the highest "
    "precision, recall, density and coverage of the variants, where none is past the floor; it is "
    "no test. The Vendi score is never bold, as wrong and odd images raise it, nor is what does "
    "not judge: prompt agreement, and the Fréchet distance to the captioned images, which shows "
    "memorisation where it is well below that to the reference."
)
# A note names so many caveats of sets and leaves the others out.
MOST_CAVEATS = 4

Name = tuple[str, str]


@dataclass(frozen=True)
class Space:
    """A feature space.

    Attributes:
        extractor: Name of the feature extractor.
        model: Its model: the id of a hub, the name of a folder, or what weights were drawn for.
        captioners: Captioners of the variants that are this very model.
    """

    extractor: str
    model: str
    captioners: tuple[str, ...]

    @property
    def title(self) -> str:
        """Its name in tables and figures, marked where the space is the captioner's own."""
        return f"{self.extractor} (captioner's encoder)" if self.captioners else self.extractor

    @property
    def cell(self) -> Cell:
        """Its cell of a table; the mark has a column of its own in the CSV."""
        marked = "true" if self.captioners else "false"
        return Cell(self.title, (self.extractor, marked), self.title)

    @property
    def sentence(self) -> str:
        """What to know of the space."""
        said = f"{self.extractor} is {self.model}"
        if not self.captioners:
            return f"{said}."
        return (
            f"{said}, the encoder of the captioner {', '.join(self.captioners)}: circular, as it "
            "sees in images what captions say of them, and so favours variants made from captions."
        )


@dataclass(frozen=True)
class FidelitySettings:
    """What the tables and the figure show, and in which order.

    Attributes:
        spaces: Feature spaces.
        variants: Variants.
        neighbours: Neighbours in the ball of an image.
    """

    spaces: tuple[Space, ...]
    variants: tuple[str, ...]
    neighbours: int

    @property
    def extractors(self) -> tuple[str, ...]:
        """Names of the feature extractors."""
        return tuple(space.extractor for space in self.spaces)


def _sets_of(rows: Sequence[FidelityRow], settings: FidelitySettings) -> list[Name]:
    """Return kind and name of the sets in their order: variants, the floor, the reference."""
    known = {(row.kind, row.name) for row in rows}
    variants = [(VARIANT, name) for name in settings.variants if (VARIANT, name) in known]
    return [
        *variants,
        *(name for kind in (REAL, REFERENCE) for name in sorted(known) if name[0] == kind),
    ]


def _title_of(name: Name) -> str:
    return {
        VARIANT: name[1],
        REAL: f"real (floor): {name[1]}",
        REFERENCE: f"real (reference): {name[1]}",
    }[name[0]]


def digits_of(values: Sequence[float]) -> int:
    """Return the decimals that show three digits of the largest number."""
    largest = max((abs(value) for value in values), default=1.0)
    return max(0, 2 - math.floor(math.log10(largest))) if largest > 0 else 2


def _known_values(rows: Sequence[FidelityRow], extractor: str, metric: str) -> list[float]:
    return [
        row.value
        for row in rows
        if (row.extractor, row.metric) == (extractor, metric) and row.value is not None
    ]


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
    columns = (
        Column("Feature space", ("extractor", "circular"), numeric=False),
        *((Column("Class", ("class_id",), numeric=False),) if by_class else ()),
        Column("Images", ("images",), numeric=False),
        Column("n", ("n",)),
        *(Column(TITLES[m], (m, f"{m}_se")) for m in metrics),
    )
    cells = []
    for space in settings.spaces:
        extractor = space.extractor
        # Of each space its own: the scale of distances is that of its features.
        digits = {m: digits_of(_known_values(shown, extractor, m)) for m in metrics}
        for class_id in sorted({row.class_id for row in shown}):
            sets = [
                name
                for name in _sets_of(shown, settings)
                if (extractor, *name, class_id, VENDI) in index
            ]
            number = {name: index[(extractor, *name, class_id, VENDI)] for name in sets}
            kinds = [
                "" if number[name].images < number[name].compared_with else name[0] for name in sets
            ]
            by_column = [
                _best(
                    kinds,
                    [_cell(index.get((extractor, *name, class_id, m)), digits[m]) for name in sets],
                    m,
                    digits[m],
                )
                for m in metrics
            ]
            cells += [
                (
                    space.cell,
                    *((label(class_id),) if by_class else ()),
                    label(_title_of(name) if kinds[place] else f"{_title_of(name)} (fewer)"),
                    count(number[name].images),
                    *(column[place] for column in by_column),
                )
                for place, name in enumerate(sets)
            ]
    name, title = (
        ("fidelity-per-class", "Fidelity by class") if by_class else ("fidelity", "Fidelity")
    )
    return Table(name, title, _note(shown, settings), columns, tuple(cells))


def _best(kinds: Sequence[str], cells: Sequence[Cell], metric: str, digits: int) -> list[Cell]:
    """Return the cells with the best of the variants in bold, where one is better than another.

    One is as long as none of them is past the floor, what real images have: past it nothing is
    better, and without a floor nobody knows.

    Args:
        kinds: Kind of the images of each cell, empty for too few of them to compete.
        cells: The numbers of one metric.
        metric: Its name.
        digits: Decimals that are shown.
    """
    by_kind = {
        kind: [cell for one, cell in zip(kinds, cells, strict=True) if one == kind]
        for kind in (VARIANT, REAL)
    }
    floor = [cell.sort for cell in by_kind[REAL] if isinstance(cell.sort, float)]
    values = [cell.sort for cell in by_kind[VARIANT] if isinstance(cell.sort, float)]
    if not floor or not values:
        return list(cells)
    if metric in LOWER_IS_BETTER:
        has_best = min(values) >= floor[0]
    else:
        has_best = metric in HIGHER_IS_BETTER and max(values) <= floor[0]
    if not has_best:
        return list(cells)
    best = iter(with_best(by_kind[VARIANT], lowest=metric in LOWER_IS_BETTER, digits=digits))
    return [next(best) if kind == VARIANT else c for kind, c in zip(kinds, cells, strict=True)]


def _note(rows: Sequence[FidelityRow], settings: FidelitySettings) -> str:
    compared = [row for row in rows if row.kind != REFERENCE]
    # Of classes: what is true of the smallest.
    sizes = sorted(
        {(row.class_id, row.compared_with, row.images, row.dimensions) for row in compared},
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
    spaces = " ".join(space.sentence for space in settings.spaces)
    return (
        f"{_how(rows)} {RULE} {settings.neighbours} neighbours. Feature spaces: {spaces} Numbers "
        f"of two spaces are not comparable. {' '.join(caveats[:MOST_CAVEATS])}{more}"
    ).strip()


def _how(rows: Sequence[FidelityRow]) -> str:
    """Return what a table is of: the reference, the size of the sets, the errors, the floor."""
    references = ", ".join(sorted({row.name for row in rows if row.kind == REFERENCE}))
    sizes = "All rows have the same number of images, n"
    if any(row.class_id for row in rows):
        sizes += ", within a class"
    if any(row.images < row.compared_with for row in rows):
        sizes += ", but those that are marked, which have fewer and are not comparable"
    return (
        f"Against held-out real images that no variant was made from: {references}. {sizes}. Value "
        f"{PLUS_MINUS} standard error, images of both sides being drawn anew; it is no interval, "
        "as all numbers but the kernel distance are biased by the number of images. Real (floor): "
        "the real images that variants are made from, against the same reference: what two samples "
        "of one distribution have at this n. The Fréchet distance of such samples is not 0; the "
        "kernel distance is unbiased, 0 but for chance, and may be negative."
    )


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

    One row of panels a feature space; bars are standard errors; a star and lines are the floor:
    what the real images that variants are made from get.

    Args:
        rows: Rows of fidelity.csv.
        settings: Names and their order.
        paths: Files to write, .png or .svg.

    Raises:
        CapsynthError: If there are no numbers of these feature spaces.
    """
    _require(rows, settings)
    index = {(r.extractor, (r.kind, r.name), r.metric): r for r in rows if not r.class_id}
    sets = [name for name in _sets_of(rows, settings) if name[0] != REFERENCE]
    with paper_style():
        figure = new_figure(WIDTH_INCHES, 0.45 + 2.6 * len(settings.extractors))
        grid = figure.subplots(len(settings.extractors), len(PANELS), squeeze=False)
        for line, space in zip(grid, settings.spaces, strict=True):
            for axes, (x, y) in zip(line, PANELS, strict=True):
                pairs = {
                    n: (index.get((space.extractor, n, x)), index.get((space.extractor, n, y)))
                    for n in sets
                }
                _panel(axes, pairs)
                axes.set_title(space.title)
                axes.set_xlabel(TITLES[x].lower())
                axes.set_ylabel(TITLES[y].lower())
        _legend(figure, grid[0][0])
        save_figure(figure, paths)


def _panel(axes: Axes, pairs: Mapping[Name, tuple[FidelityRow | None, FidelityRow | None]]) -> None:
    for place, (name, (x, y)) in enumerate(pairs.items()):
        if x is None or y is None or x.value is None or y.value is None:
            continue
        is_real = name[0] == REAL
        if is_real:
            axes.axvline(x.value, color=INK, lw=0.6, ls=":")
            axes.axhline(y.value, color=INK, lw=0.6, ls=":")
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
