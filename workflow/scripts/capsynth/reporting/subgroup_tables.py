"""Tables of parts of evaluation sets: the worst class, precision, groups, unknown images."""

from collections.abc import Iterable, Iterator, Sequence

from capsynth import metrics, novelty
from capsynth.reporting import group_scores, unknown_scores
from capsynth.reporting.chance import NOTE as CHANCE_NOTE
from capsynth.reporting.chance import (
    NOTE_BETTER,
    ChanceLevels,
    chance_cell,
    chance_levels,
    faint,
    reaches,
)
from capsynth.reporting.row_labels import class_names_of, label_columns, labels
from capsynth.reporting.scores import Score, ScoreIndex, index_scores
from capsynth.reporting.settings import ReportSettings
from capsynth.reporting.tables import (
    Cell,
    Column,
    Table,
    count,
    interval_cell,
    interval_names,
    label,
)

_METRIC_TITLES = {
    novelty.AUROC: "AUROC",
    novelty.FPR95: "FPR95",
    novelty.AUPR_IN: "AUPR in",
    novelty.AUPR_OUT: "AUPR out",
}
_SCORE_TITLES = {novelty.MAX_SOFTMAX: "Max. softmax", novelty.ENERGY: "Energy"}
_INTERVALS = "mean over training seeds with its 95 % interval (images within class, and seeds)"
# Cells of a row of chance: which group and how many images, and a number with its interval.
_NOTHING = (Cell("", ("",), None), Cell("", ("",), None))
_EMPTY = Cell("", ("", "", ""), None)
_BELOW = "which is below an even guess since the least is taken"
_EXTREMES = (
    "The least of several estimates lies below the least of what they estimate; its interval is "
    "the least lower bound to the least upper bound, the upper ones corrected for their number, so "
    "it covers whichever is truly the worst and is wide with few images."
)


def _cell(row: Score | None, signed: bool = False) -> Cell:
    values = (row.value, row.ci_low, row.ci_high) if row else (None, None, None)
    return interval_cell(*values, signed=signed)


def _against(row: Score | None, chance: float | None, lower_is_better: bool = False) -> Cell:
    """Return the cell of a number, marked where it is not clearly better than chance."""
    cell = _cell(row)
    if row is None or chance is None:
        return cell
    reached = reaches(row.ci_low, row.ci_high, chance, lower_is_better)
    return faint(cell) if reached else cell


def _above(row: Score | None, levels: ChanceLevels) -> Cell:
    """Return the cell of a score, marked where it is not clearly above chance."""
    return faint(_cell(row)) if levels.reached_by(row) else _cell(row)


def _chance_row(
    index: ScoreIndex, name: tuple[str, str, str, str], cells: Sequence[Cell]
) -> tuple[Cell, ...]:
    """Return the row of what chance gives on an evaluation set."""
    return (label("chance"), *labels(index, name[0], ""), label(name[3]), *cells)


def _with_faint_note(note: str, rows: Iterable[Sequence[Cell]], told: str) -> str:
    return f"{note} {told}" if any(cell.faint for row in rows for cell in row) else note


def _places(
    index: ScoreIndex, settings: ReportSettings, eval_sets: Sequence[str], metric: str
) -> Iterator[tuple[tuple[str, str, str, str], tuple[Cell, ...]]]:
    """Yield the names of every training set on every set that has a metric, with their cells."""
    for dataset, recipe in index.experiments:
        for training_set in settings.training_sets:
            for eval_set in eval_sets:
                name = (dataset, training_set, recipe, eval_set)
                if (*name, metric) in index.summaries:
                    yield (
                        name,
                        (label(training_set), *labels(index, dataset, recipe), label(eval_set)),
                    )


def _name_columns(index: ScoreIndex) -> tuple[Column, ...]:
    return (
        Column("Training set", ("training_set",), numeric=False),
        *label_columns(index),
        Column("Evaluation set", ("eval_set",), numeric=False),
    )


def worst_class_table(index: ScoreIndex, settings: ReportSettings) -> Table:
    """Return balanced accuracy, precision and the worst class of every training set and set."""
    columns = (
        *_name_columns(index),
        Column("Accuracy", interval_names("top1")),
        Column("Balanced", interval_names("balanced_accuracy")),
        Column("Precision", interval_names("macro_precision")),
        Column("Worst class", interval_names(metrics.WORST_CLASS)),
        Column("Which", ("class_id",), numeric=False),
        Column("n", ("n",)),
    )
    class_ids = class_names_of(index, settings)
    levels = chance_levels(index)
    rows = []
    chances: dict[tuple[str, str, int], tuple[Cell, ...]] = {}
    for name, named in _places(index, settings, settings.eval_sets, metrics.WORST_CLASS):
        found = [(c, index.summaries.get((*name, f"top1/{c}"))) for c in class_ids]
        held = [(row.value, class_id, row.n) for class_id, row in found if row]
        _, which, n = min(held) if held else (0.0, "", 0)
        shown = ("top1", "balanced_accuracy", "macro_precision", metrics.WORST_CLASS)
        scores = [index.summaries.get((*name, metric)) for metric in shown]
        rows.append((*named, *(_above(row, levels) for row in scores), label(which), count(n)))
        seeds = index.summaries[(*name, metrics.WORST_CLASS)].seeds
        of = [chance_cell(levels.of(row) if row else None, 2) for row in scores]
        chances[name[0], name[3], seeds] = _chance_row(index, name, [*of, *_NOTHING])
    note = (
        f"In percent, {_INTERVALS}. Balanced: mean accuracy over classes. Precision: mean over "
        "classes of the share of the answers with that class that are right; a class that is never "
        f"answered counts 0. Worst class: the least mean accuracy, on n images. {_EXTREMES} "
        "chance: the largest class's share of the images; of means over classes an even guess; of "
        f"the worst class what even guesses of as many runs are expected to show, {_BELOW}."
    )
    told = _with_faint_note(note, rows, CHANCE_NOTE)
    return Table("worst-class", "Worst class", told, columns, (*rows, *chances.values()))


def precision_table(index: ScoreIndex, settings: ReportSettings) -> Table:
    """Return precision per class: a row a class and evaluation set."""
    columns = (
        Column("Class", ("class_id",), numeric=False),
        *label_columns(index),
        Column("Evaluation set", ("eval_set",), numeric=False),
        Column("Chance", ("chance",)),
        *(Column(name, interval_names(name)) for name in settings.training_sets),
    )
    levels = chance_levels(index)
    rows = []
    for dataset, recipe in index.experiments:
        for eval_set in settings.eval_sets:
            for class_id in class_names_of(index, settings):
                found = [
                    index.summaries.get((dataset, name, recipe, eval_set, f"precision/{class_id}"))
                    for name in settings.training_sets
                ]
                first = next((row for row in found if row), None)
                if first:
                    cells = [_above(row, levels) for row in found]
                    named = (label(class_id), *labels(index, dataset, recipe), label(eval_set))
                    rows.append((*named, chance_cell(levels.of(first), 0), *cells))
    note = (
        "Precision in percent: the share of the answers with a class that are right, "
        f"{_INTERVALS}; 0 for a class that is never answered. It depends on how many images each "
        "of the classes has. Chance: the class's share of the images, which guesses have. Accuracy "
        "by class, the recall, is in the table per-class."
    )
    told = _with_faint_note(note, rows, CHANCE_NOTE)
    return Table("precision", "Precision by class", told, columns, tuple(rows))


def group_table(
    rows: Sequence[Score], settings: ReportSettings, eval_sets: Sequence[str], least_images: int
) -> Table:
    """Return the worst group and the gaps: a row a training set and evaluation set."""
    index = index_scores(rows)
    columns = (
        *_name_columns(index),
        Column("Worst group", interval_names(group_scores.WORST)),
        Column("Which", ("group",), numeric=False),
        Column("n", ("n",)),
        Column("Best less worst", interval_names(group_scores.GAP)),
        Column("Aligned", interval_names(group_scores.ALIGNED)),
        Column("Conflicting", interval_names(group_scores.CONFLICTING)),
        Column("Aligned less conflicting", interval_names(group_scores.ALIGNMENT_GAP)),
    )
    found = []
    chances: dict[tuple[str, str, int], tuple[Cell, ...]] = {}
    for name, named in _places(index, settings, eval_sets, group_scores.UNGROUPED):
        worst = index.summaries.get((*name, group_scores.WORST))
        groups = _groups_of(index, name)
        large = [
            (row.value, group, row.n) for group, row in groups.items() if _is_large(row, worst)
        ]
        _, which, n = min(large) if worst and large else (0.0, "", 0)
        level = _group_levels(index, name)
        sides = {
            side: _against(index.summaries.get((*name, side)), level.get(side))
            for side in (group_scores.ALIGNED, group_scores.CONFLICTING)
        }
        gap = _cell(index.summaries.get((*name, group_scores.GAP)))
        apart = _cell(index.summaries.get((*name, group_scores.ALIGNMENT_GAP)), signed=True)
        if all(reaches(row.ci_low, row.ci_high, level["group"]) for row in groups.values()):
            gap = faint(gap)
        if all(cell.faint for cell in sides.values()):
            apart = faint(apart)
        of_worst = _against(worst, level.get(group_scores.WORST))
        found.append((*named, of_worst, label(which), count(n), gap, *sides.values(), apart))
        seeds = index.summaries[(*name, group_scores.UNGROUPED)].seeds
        by_chance = [chance_cell(level.get(group_scores.WORST), 2), *_NOTHING, _EMPTY]
        by_chance += [chance_cell(level.get(side), 2) for side in sides]
        chances[name[0], name[3], seeds] = _chance_row(index, name, [*by_chance, _EMPTY])
    note = (
        "Accuracy in percent and gaps in points on groups, which are a class and an attribute, "
        "mean over training seeds with a 95 % interval (images within group, and seeds). Worst "
        f"group and best less worst: over groups of at least {least_images} images. {_EXTREMES} "
        "Aligned: the attribute goes with the class as in training; means over classes that have "
        f"both, every class alike. {_left_out(index, eval_sets, least_images)} chance: of the "
        f"worst group what even guesses of as many runs are expected to show, {_BELOW}; of aligned "
        "and conflicting ones always the same of these classes."
    )
    told = _with_faint_note(
        note, found, f"{CHANCE_NOTE} Of a gap: that of all groups, of both sides."
    )
    return Table("groups", "Groups", told, columns, (*found, *chances.values()))


def _group_levels(index: ScoreIndex, name: tuple[str, str, str, str]) -> dict[str, float]:
    """Return what guesses show of a training set's groups, by ``group`` and metric."""
    start = group_scores.CHANCE
    return {
        metric.removeprefix(start): row.value
        for (*of, metric), row in index.summaries.items()
        if tuple(of) == name and metric.startswith(start)
    }


def _is_large(row: Score, worst: Score | None) -> bool:
    """Return whether a group can be the worst: those with less accuracy than it are too small."""
    return worst is not None and abs(row.value - worst.value) < 1e-9 and row.n == worst.n


def _groups_of(index: ScoreIndex, name: tuple[str, str, str, str]) -> dict[str, Score]:
    start = group_scores.GROUP
    return {
        metric.removeprefix(start): row
        for (*of, metric), row in index.summaries.items()
        if tuple(of) == name and metric.startswith(start)
    }


def _left_out(index: ScoreIndex, eval_sets: Sequence[str], least_images: int) -> str:
    """Return in words how many groups are too small, and how many images are in no group."""
    told = []
    for eval_set in eval_sets:
        names = [name for name in index.summaries if name[3] == eval_set]
        if not names:
            continue
        name = names[0][:4]
        sizes = [row.n for row in _groups_of(index, name).values()]
        small = [n for n in sizes if n < least_images]
        ungrouped = index.summaries.get((*name, group_scores.UNGROUPED))
        none = f", and {ungrouped.n} images are in no group" if ungrouped and ungrouped.n else ""
        told.append(
            f"{eval_set}: {len(sizes)} groups, of which {len(small)} with {sum(small)} images in "
            f"all are smaller{none}."
        )
    return " ".join(told)


def group_accuracy_table(
    rows: Sequence[Score], settings: ReportSettings, eval_sets: Sequence[str]
) -> Table:
    """Return accuracy by group: a row a group and evaluation set."""
    index = index_scores(rows)
    columns = (
        Column("Group", ("group",), numeric=False),
        *label_columns(index),
        Column("Evaluation set", ("eval_set",), numeric=False),
        Column("n", ("n",)),
        Column("Chance", ("chance",)),
        *(Column(name, interval_names(name)) for name in settings.training_sets),
    )
    start = group_scores.GROUP
    groups = sorted({name[4] for name in index.summaries if name[4].startswith(start)})
    found = []
    for dataset, recipe in index.experiments:
        for eval_set in eval_sets:
            for group in groups:
                of = [
                    index.summaries.get((dataset, name, recipe, eval_set, group))
                    for name in settings.training_sets
                ]
                sizes = [row.n for row in of if row]
                if sizes:
                    named = (label(group.removeprefix(start)), *labels(index, dataset, recipe))
                    place = next(row for row in of if row)
                    level = _group_levels(
                        index, (dataset, place.training_set, recipe, eval_set)
                    ).get("group")
                    cells = [chance_cell(level, 0), *(_against(row, level) for row in of)]
                    found.append((*named, label(eval_set), count(sizes[0]), *cells))
    note = (
        "Accuracy in percent on the n images of a class and attribute, mean over training seeds "
        "with a 95 % interval (images within group, and seeds; never narrower than Clopper and "
        "Pearson's for so many images). Chance: an even guess among the classes."
    )
    told = _with_faint_note(note, found, CHANCE_NOTE)
    return Table("group-accuracy", "Accuracy by group", told, columns, tuple(found))


def unknown_table(
    rows: Sequence[Score], settings: ReportSettings, eval_sets: Sequence[str]
) -> Table:
    """Return how unknown images are told: a row a training set and a set of unknown images.

    The last rows are chance, one for each set.
    """
    index = index_scores(rows)
    shown = [(score, metric) for score in novelty.SCORES for metric in novelty.METRICS]
    columns = (
        Column("Training set", ("training_set",), numeric=False),
        *label_columns(index),
        Column("Unknown images", ("eval_set",), numeric=False),
        Column("n", ("n",)),
        *(
            Column(_METRIC_TITLES[metric], interval_names(f"{metric}_{score}"), of)
            for score, metric in shown
            for of in (_SCORE_TITLES[score],)
        ),
    )
    found, chances = [], {}
    first = f"{novelty.AUROC}/{novelty.SCORES[0]}"
    for name, named in _places(index, settings, eval_sets, first):
        n = count(index.summaries[(*name, first)].n)
        levels = {
            metric: row.value
            for metric in novelty.METRICS
            if (row := index.summaries.get((*name, f"{unknown_scores.CHANCE}{metric}")))
        }
        cells = [
            _against(
                index.summaries.get((*name, f"{metric}/{score}")),
                levels.get(metric),
                lower_is_better=metric == novelty.FPR95,
            )
            for score, metric in shown
        ]
        found.append((*named, n, *cells))
        of_set = (chance_cell(levels.get(metric), 2) for _, metric in shown)
        chances[name[0], name[3]] = _chance_row(index, name, [n, *of_set])
    note = (
        f"How well classifiers tell the images of {settings.in_distribution} from n images of no "
        f"class, in percent, {_INTERVALS.replace('images within class', 'images of both sets')}. "
        "AUROC: the chance that an image of a class has the higher score than an unknown one; "
        "higher is better. FPR95: unknown images that are accepted where 95 % of the others are; "
        "lower is better. AUPR: average precision, in with the images of classes as the positives, "
        "out with the unknown ones; higher is better, by chance the share of the positives, so it "
        "compares on one set alone. Max. softmax: the probability of the answer; energy: log of "
        "the sum of exponentials of the logits."
    )
    told = _with_faint_note(note, found, NOTE_BETTER)
    return Table("unknown", "Unknown images", told, columns, (*found, *chances.values()))
