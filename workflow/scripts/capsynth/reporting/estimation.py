"""Estimates: the scores of all runs, their summaries over seeds, and tested differences."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from capsynth import intervals, metrics, minima, proportions, statistics
from capsynth.names import check_name
from capsynth.reporting.scores import (
    OF_IMAGES,
    OF_NOTHING,
    OF_SEEDS,
    PRECISION,
    Answers,
    EvalSetSamples,
    Measure,
    Replicated,
    RunName,
    Score,
    design_of,
    in_order,
    measures_of,
    read_answers,
    replicate,
    seeds_of,
    sources_of,
)

Floats = npt.NDArray[np.floating]


def collect_scores(
    paths: Iterable[Path],
    comparisons: Sequence[Sequence[str]],
    draws: int,
    ablations: Sequence[Sequence[str]] = (),
    outside_family: Collection[str] = (),
) -> list[Score]:
    """Return the scores of all runs, their summaries over seeds, and differences of training sets.

    Intervals are 95 % intervals. A run's holds the variance of images within class, a summary's
    that of training seeds as well; a comparison's is paired by image. Shares of right answers have
    score intervals (``proportions``), other metrics t intervals (``intervals``). Training sets of
    one recipe share what they show of the variance between seeds, so that the intervals of one
    depend a little on which others there are; its values do not.

    ``p_value`` is the test that belongs to the interval of a difference in top1, ``p_images`` the
    exact sign-flip test on images, which takes the trained models as given; ``p_holm`` corrects
    ``p_value`` over all evaluation sets of the family and all comparisons of the result. With one
    seed there is only ``p_images``: one run of each side says nothing of training sets.

    Args:
        paths: Files of predictions, in any order.
        comparisons: Pairs of training sets; the second is subtracted from the first.
        draws: Bootstrap replicates, for metrics that are no shares of right answers.
        ablations: More of such pairs, whose differences have intervals but no p values: they are
            no tests, and those of the comparisons are not corrected for them.
        outside_family: Evaluation sets whose images are in others as well: they ask no question of
            their own, so their ``p_value`` is not corrected and corrects no other.

    Raises:
        CapsynthError: If runs of one evaluation set answered different samples, a run
            occurs twice, a comparison names a training set that no run has, or no run answered an
            evaluation set outside of the family.
    """
    answered = read_answers(paths)
    known = sorted({run.training_set for answers in answered.values() for run in answers.runs})
    for name in (name for pair in [*comparisons, *ablations] for name in pair):
        check_name("training set in comparisons", name, known)
    for name in outside_family:
        check_name("evaluation set outside of the family", name, [key[1] for key in answered])
    tested = {tuple(pair): True for pair in comparisons}
    pairs = dict.fromkeys(map(tuple, ablations), False) | tested
    rows: list[Score] = []
    for answers in answered.values():
        rows += score_eval_set(answers, pairs, draws)
    return in_order(_with_holm(rows, outside_family))


@dataclass(frozen=True, eq=False)
class EvalSetScores:
    """What runs show on one evaluation set.

    Attributes:
        samples: The samples.
        runs: How well each run answered.
        design: Which samples are drawn together.
        shares: Measures that are shares of right or wrong answers.
        others: The other measures.
        replicated: The others, with bootstrap replicates.
    """

    samples: EvalSetSamples
    runs: dict[RunName, metrics.SampleScores]
    design: statistics.ImageDesign
    shares: list[Measure]
    others: list[Measure]
    replicated: dict[RunName, Replicated]
    layouts: dict[str, proportions.Layout] = field(init=False)
    distinct: dict[str, int] = field(init=False)
    df_others: npt.NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        """Lay out the units of each measure once."""
        layouts = {m.name: proportions.layout_of(self.design, m.rows) for m in self.shares}
        distinct = {name: layout.units for name, layout in layouts.items()}
        distinct |= {m.name: len(np.unique(self.design.unit[m.rows])) for m in self.others}
        df = [statistics.image_df(self.design, measure.rows) for measure in self.others]
        for name, value in (
            ("layouts", layouts),
            ("distinct", distinct),
            ("df_others", np.array(df, dtype=np.int64)),
        ):
            object.__setattr__(self, name, value)

    @property
    def measures(self) -> list[Measure]:
        """All measures, in the order of the spreads' metrics."""
        return [*self.shares, *self.others]

    def answers(self, measure: Measure, names: Sequence[RunName]) -> Floats:
        """Return what each run scored on each sample: shape (runs, 1, n), as laid out."""
        assert measure.metric.values is not None
        rows = self.layouts[measure.name].rows
        found = [measure.metric.values(self.runs[name])[rows] for name in names]
        return np.stack(found).astype(np.float64)[:, None]

    def spread(self, names: Sequence[RunName]) -> intervals.Spread:
        """Return what runs that differ in their seed show, of all measures."""
        parts = [
            proportions.spread_of_shares(self.layouts[m.name], self.answers(m, names))
            for m in self.shares
        ]
        if self.others:
            both = [self.replicated[name] for name in names]
            parts.append(
                intervals.spread_of(
                    np.concatenate([one.values for one in both]),
                    np.concatenate([one.replicates for one in both]),
                    self.df_others,
                )
            )
        return proportions.joined(parts)

    def difference(
        self, measures: Sequence[Measure], first: Sequence[RunName], second: Sequence[RunName]
    ) -> intervals.Spread:
        """Return what paired runs show of the difference of shares."""
        return proportions.joined(
            [
                proportions.spread_of_differences(
                    self.layouts[m.name], self.answers(m, first) - self.answers(m, second)
                )
                for m in measures
            ]
        )


def score_eval_set(
    answers: Answers, pairs: Mapping[tuple[str, ...], bool], draws: int
) -> list[Score]:
    """Return the scores on one evaluation set; ``pairs`` say whether they are tested."""
    samples, runs = answers.samples, answers.runs
    corruptions = sources_of(samples.keys.tolist())[1]
    measures = measures_of(samples, corruptions)
    design = design_of(samples)
    example = next(iter(runs.values()))
    is_share = [_is_share(measure, example) for measure in measures]
    others = [measure for measure, share in zip(measures, is_share, strict=True) if not share]
    scores = EvalSetScores(
        samples,
        runs,
        design,
        [measure for measure, share in zip(measures, is_share, strict=True) if share],
        others,
        replicate(samples, runs, others, design, draws) if others else {},
    )
    rows = []
    for run in runs:
        found = intervals.estimate_of(scores.spread([run]))
        rows += _rows(scores, (run.training_set, run.recipe, run.seed), found, 1)
    groups = seeds_of(runs)
    for recipe in sorted({recipe for _, recipe in groups}):
        seeds = {name: found for (name, of), found in groups.items() if of == recipe}
        rows += _score_recipe(scores, recipe, seeds, pairs)
    return rows


def score_accuracy(answers: Answers) -> list[Score]:
    """Return the rows over seeds of top1 alone, the same as those of ``score_eval_set``."""
    samples = answers.samples
    everything = Measure("top1", metrics.METRICS["top1"], np.arange(len(samples.keys)))
    scores = EvalSetScores(samples, answers.runs, design_of(samples), [everything], [], {})
    groups = seeds_of(answers.runs)
    rows = []
    for recipe in sorted({recipe for _, recipe in groups}):
        seeds = {name: found for (name, of), found in groups.items() if of == recipe}
        rows += _score_recipe(scores, recipe, seeds, {})
    return rows


def _is_share(measure: Measure, example: metrics.SampleScores) -> bool:
    values = measure.metric.values
    return values is not None and values(example).dtype == np.bool_


def _score_recipe(
    scores: EvalSetScores,
    recipe: str,
    seeds: Mapping[str, Sequence[int]],
    pairs: Mapping[tuple[str, ...], bool],
) -> list[Score]:
    """Return the summaries and the differences of one recipe."""
    names = {name: [RunName(name, recipe, seed) for seed in seeds[name]] for name in seeds}
    spreads = {name: scores.spread(of) for name, of in names.items()}
    shared = dict(zip(spreads, intervals.moderated(list(spreads.values())), strict=True))
    rows = []
    for name, spread in spreads.items():
        found = intervals.estimate_of(spread, shared[name])
        rows += _rows(scores, (name, recipe, None), found, spread.runs)
    columns = [
        column
        for column, measure in enumerate(scores.shares)
        if measure.name.split("/")[0] == "top1"
    ]
    for (first, second), is_tested in pairs.items():
        both = sorted(set(seeds.get(first, ())) & set(seeds.get(second, ())))
        if both:
            sides = [[RunName(name, recipe, seed) for seed in both] for name in (first, second)]
            difference = scores.difference([scores.shares[c] for c in columns], *sides)
            found = intervals.difference_of(
                difference,
                (spreads[first].take(columns), spreads[second].take(columns)),
                (shared[first].take(columns), shared[second].take(columns)),
            )
            rows += _compared(scores, f"{first} - {second}", recipe, sides, found, is_tested)
    return rows


def _compared(
    scores: EvalSetScores,
    name: str,
    recipe: str,
    sides: Sequence[Sequence[RunName]],
    found: intervals.Estimate,
    is_tested: bool,
) -> list[Score]:
    """Return the rows of a difference: its measures and its p values."""
    measures = [m for m in scores.shares if m.name.split("/")[0] == "top1"]
    seeds = len(sides[0])
    rows = []
    for column, measure in enumerate(measures):
        value = float(found.value[column])
        bounds = bounds_of(found, column, -1.0, 1.0)
        rows.append(_row(scores, (name, recipe, None), measure, value, *bounds, seeds))
    if not is_tested:
        return rows
    right = np.zeros(len(scores.samples.keys), dtype=np.int64)
    for first, second in zip(*sides, strict=True):
        right += scores.runs[first].correct
        right -= scores.runs[second].correct
    of_units = np.zeros(int(scores.design.unit.max()) + 1, dtype=np.int64)
    np.add.at(of_units, scores.design.unit, right)
    place = [measure.name for measure in measures].index("top1")
    top1 = replace(rows[place], ci_low=None, ci_high=None)
    p_images = statistics.sign_flip_p_value(of_units)
    rows.append(replace(top1, metric="p_images", value=p_images, sources=OF_IMAGES))
    if seeds > 1:
        p_value = float(found.take([place]).p_value[0])
        rows.append(replace(top1, metric="p_value", value=p_value))
    return rows


def _rows(
    scores: EvalSetScores,
    name: tuple[str, str, int | None],
    found: intervals.Estimate,
    seeds: int,
) -> list[Score]:
    """Return one row a measure: of a run, or of a summary over ``seeds``."""
    shares = found.take(range(len(scores.shares)))
    sizes = np.array([len(measure.rows) for measure in scores.shares])
    low, high = proportions.score_interval(shares, sizes)
    rows = []
    for column, measure in enumerate(scores.measures):
        if measure.name == metrics.WORST_CLASS:
            worst = _worst_class(scores, shares, sizes)
            rows.append(_row(scores, name, measure, worst.value, worst.low, worst.high, seeds))
            continue
        if column < len(low):
            bounds: tuple[float | None, float | None] = float(low[column]), float(high[column])
        else:
            bounds = bounds_of(found, column, 0.0, measure.metric.most)
            if bounds[0] is None and measure.metric.of_sums is not None:
                bounds = _exact_bounds(scores, name, measure, float(found.value[column]))
        rows.append(_row(scores, name, measure, float(found.value[column]), *bounds, seeds))
    return rows


def _exact_bounds(
    scores: EvalSetScores, name: tuple[str, str, int | None], measure: Measure, value: float
) -> tuple[float, float]:
    """Return Clopper and Pearson's bounds of a share that was not seen to vary.

    Of as many images as there are, for the precision of a class of as many as it was answered for:
    if it never was, all from 0 to 1 is possible.
    """
    images = scores.distinct[measure.name]
    if measure.name.startswith(PRECISION):
        index = scores.samples.class_ids.index(measure.name.removeprefix(PRECISION))
        runs = [run for run in scores.runs if (run.training_set, run.recipe) == name[:2]]
        answered = [
            np.count_nonzero(scores.runs[run].prediction == index)
            for run in runs
            if name[2] in (None, run.seed)
        ]
        images = int(np.mean(answered))
    share = np.array([value])
    tail = (1.0 - intervals.LEVEL) / 2.0
    low, high = minima.not_narrower(share, share, share, np.array([images]), tail)
    return float(low[0]), float(high[0])


def _worst_class(
    scores: EvalSetScores, shares: intervals.Estimate, sizes: npt.NDArray[np.int64]
) -> minima.Extreme:
    """Return the least accuracy of a class."""
    columns = [column for column, measure in enumerate(scores.shares) if measure.is_class]
    classes = shares.take(columns)
    images = np.array([scores.distinct[scores.shares[column].name] for column in columns])

    def bounds(tail: float) -> tuple[Floats, Floats]:
        at_level = replace(classes, level=1.0 - 2.0 * tail)
        found = proportions.score_interval(at_level, sizes[columns])
        return minima.not_narrower(*found, classes.value, images, tail)

    return minima.worst(classes.value, bounds)


def bounds_of(
    found: intervals.Estimate, column: int, least: float, most: float
) -> tuple[float | None, float | None]:
    """Return the bounds of a t interval within those of its metric; None if it has no width."""
    if not found.half[column] > intervals.NO_WIDTH:
        return None, None
    return max(least, float(found.low[column])), min(most, float(found.high[column]))


def _row(
    scores: EvalSetScores,
    name: tuple[str, str, int | None],
    measure: Measure,
    value: float,
    low: float | None,
    high: float | None,
    seeds: int,
) -> Score:
    training_set, recipe, seed = name
    return Score(
        scores.samples.dataset,
        training_set,
        recipe,
        seed,
        scores.samples.eval_set,
        measure.name,
        value,
        low,
        high,
        len(measure.rows),
        seeds,
        sources_over(seeds, low),
        scores.distinct[measure.name],
    )


def sources_over(seeds: int, low: float | None) -> str:
    """Return what chance an interval over so many seeds holds; ``low`` is its lower bound."""
    if low is None:
        return OF_NOTHING
    return OF_IMAGES if seeds == 1 else OF_SEEDS


def _with_holm(rows: list[Score], outside_family: Collection[str]) -> list[Score]:
    """Return the rows with one ``p_holm`` for every ``p_value`` of the family."""
    tests = [row for row in rows if row.metric == "p_value" and row.eval_set not in outside_family]
    corrected = statistics.holm([row.value for row in tests])
    return rows + [
        replace(row, metric="p_holm", value=float(value))
        for row, value in zip(tests, corrected, strict=True)
    ]
