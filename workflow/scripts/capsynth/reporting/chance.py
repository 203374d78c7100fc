"""Chance level: the accuracy of the best answer that ignores the image.

A classifier that has learned nothing can still always name the class with the most images, and is
right on that class's share of an evaluation set. An accuracy whose interval reaches down to that
share is no evidence of learning, and a difference of two such accuracies none of anything.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from capsynth import metrics, minima
from capsynth.reporting.scores import CORRUPTED_LEVEL, PRECISION, Score, ScoreIndex
from capsynth.reporting.tables import Cell, label, percent

# Means over classes, each counted alike.
_OVER_CLASSES = ("balanced_accuracy", "macro_precision")
MARK = "\N{DEGREE SIGN}"
NOTE = f"{MARK} not clearly above chance: the 95 % interval reaches it."
NOTE_BETTER = f"{MARK} not clearly better than chance: the 95 % interval reaches it."
NOTE_DIFFERENCE = f"{MARK} both sides are not clearly above chance: no evidence."


@dataclass(frozen=True)
class ChanceLevels:
    """Images of each class of every evaluation set.

    Attributes:
        sizes: Images by class, by dataset and evaluation set.
    """

    sizes: Mapping[tuple[str, str], Mapping[str, int]]

    def top(self, dataset: str, eval_set: str, answers: int = 1) -> float | None:
        """Return the share of images that the best fixed answers get right.

        Args:
            dataset: Name of the dataset.
            eval_set: Name of the evaluation set.
            answers: Classes that an answer may name: 1 for top1, 5 for top5.

        Returns:
            The share of the images that the largest classes hold, so many of them; with classes of
            one size, ``answers`` over their number. None where the classes are not known.
        """
        sizes = sorted(self.sizes.get((dataset, eval_set), {}).values(), reverse=True)
        return sum(sizes[:answers]) / sum(sizes) if sizes else None

    def of(self, score: Score) -> float | None:
        """Return the chance level of an accuracy, a precision or an error.

        Of a class it is that of an even guess among the classes: always naming one class would be
        right on all of its images. So it is of means over classes, and of the worst class what
        even guesses are expected to show. The precision of guesses is the class's share of the
        images. None for other metrics.
        """
        kind, _, part = score.metric.partition("/")
        sizes = self.sizes.get((score.dataset, score.eval_set), {})
        if part in sizes:
            is_precision = kind == PRECISION.rstrip("/")
            return sizes[part] / sum(sizes.values()) if is_precision else 1.0 / len(sizes)
        if kind in _OVER_CLASSES and sizes:
            return 1.0 / len(sizes)
        if kind == metrics.WORST_CLASS and sizes:
            return minima.least_by_chance([*sizes.values()], 1.0 / len(sizes), score.seeds)
        level = self.top(score.dataset, score.eval_set, 5 if kind == "top5" else 1)
        if level is None or kind not in ("top1", "top5", "error", "mean_error"):
            return None
        return level if kind.startswith("top") else 1.0 - level

    def reached_by(self, score: Score | None) -> bool:
        """Return whether an accuracy or precision is not clearly above chance, an error not below.

        So it is where the interval holds chance, or there is no interval; False where the chance
        level is not known.
        """
        chance = None if score is None else self.of(score)
        if score is None or chance is None:
            return False
        is_error = score.metric.partition("/")[0] in ("error", "mean_error")
        return reaches(score.ci_low, score.ci_high, chance, lower_is_better=is_error)


def reaches(
    low: float | None, high: float | None, chance: float, lower_is_better: bool = False
) -> bool:
    """Return whether an interval reaches chance from its better side, or there is none."""
    bound = high if lower_is_better else low
    return bound is None or (bound >= chance if lower_is_better else bound <= chance)


def chance_levels(index: ScoreIndex) -> ChanceLevels:
    """Return the chance levels of all evaluation sets."""
    first = {name: found[0] for name, found in index.runs.items()} | index.summaries
    return levels_of((row.dataset, row.eval_set, row.metric, row.n) for row in first.values())


def levels_of(sizes: Iterable[tuple[str, str, str, int]]) -> ChanceLevels:
    """Return the chance levels that follow from the sizes of classes.

    Args:
        sizes: Dataset, evaluation set, metric and n of rows of scores.csv: ``top1/{class}`` rows
            have the sizes, those of corruptions tell which of them is no class.
    """
    kinds: dict[tuple[str, str], set[str]] = defaultdict(set)
    parts: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for dataset, eval_set, metric, n in sizes:
        if metric.startswith("top1/"):
            parts[dataset, eval_set][metric.removeprefix("top1/")] = n
        elif match := CORRUPTED_LEVEL.fullmatch(metric):
            kinds[dataset, eval_set].add(match["corruption"])
    # A class has no name of a corruption: collect_scores refuses it.
    return ChanceLevels(
        {
            name: {part: n for part, n in found.items() if part not in kinds[name]}
            for name, found in parts.items()
        }
    )


def score_over_seeds(index: ScoreIndex, name: tuple[str, str, str, str, str]) -> Score | None:
    """Return the row over seeds of a name, or of a single run where there is no other."""
    runs = index.runs.get(name, [])
    return index.summaries.get(name) or (runs[0] if len(runs) == 1 else None)


def both_at_chance(
    index: ScoreIndex,
    levels: ChanceLevels,
    pair: tuple[str, str],
    place: tuple[str, str, str, str],
) -> bool:
    """Return whether neither of two training sets is clearly above chance.

    Args:
        index: The scores.
        levels: Their chance levels.
        pair: The training sets.
        place: Dataset, recipe, evaluation set and metric.
    """
    dataset, *rest = place
    return all(
        levels.reached_by(score_over_seeds(index, (dataset, side, rest[0], rest[1], rest[2])))
        for side in pair
    )


def faint(cell: Cell) -> Cell:
    """Return a cell that is marked as not clearly above chance, and never bold."""
    return replace(cell, text=f"{cell.text}{MARK}", bold=False, faint=True)


def chance_cell(level: float | None, more_values: int) -> Cell:
    """Return the cell of a chance level; ``more_values`` columns of its CSV stay empty."""
    if level is None:
        return replace(label(""), csv_values=("",) * (1 + more_values), sort=None)
    values = (repr(round(100 * level, 4)), *("",) * more_values)
    return Cell(percent(level), values, 100 * level, faint=True)
