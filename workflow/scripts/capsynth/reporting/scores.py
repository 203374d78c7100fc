"""Scores: every metric of every run and evaluation set, with its interval, as one tidy table."""

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from capsynth import metrics, minima, statistics
from capsynth.errors import CapsynthError
from capsynth.names import check_name
from capsynth.predictions import Predictions, read_predictions
from capsynth.records import DECIMALS, read_records, write_records
from capsynth.seeding import derive_seed

CORRUPTED_KEY = re.compile(r"(?P<source>.+)\.(?P<corruption>[a-z0-9-]+)-(?P<severity>[1-5])")
# Metrics of a comparison that are p values.
TESTS = ("p_value", "p_images", "p_holm")
# The metric of one corruption at one severity.
CORRUPTED_LEVEL = re.compile(r"error/(?P<corruption>[a-z0-9-]+)-(?P<severity>[1-5])")


@dataclass(frozen=True)
class Score:
    """One row of scores.csv.

    Attributes:
        dataset: Name of the dataset.
        training_set: Name of the training set, or ``a - b`` for a difference of two.
        recipe: Name of the recipe.
        seed: Training seed; None in rows that summarise over seeds.
        eval_set: Name of the evaluation set.
        metric: Name of the metric; ``top1/bat`` is the metric of a part of the evaluation set.
        value: The metric; accuracies and errors as shares of one.
        ci_low: Lower bound of its 95 % interval; None for p values.
        ci_high: Upper bound of its 95 % interval; None for p values.
        n: Samples of the evaluation set, or of its part, that one run answered.
    """

    dataset: str
    training_set: str
    recipe: str
    seed: int | None
    eval_set: str
    metric: str
    value: float
    ci_low: float | None
    ci_high: float | None
    n: int


@dataclass(frozen=True, order=True)
class RunName:
    """Names of a run."""

    training_set: str
    recipe: str
    seed: int


@dataclass(frozen=True, eq=False)
class EvalSetSamples:
    """What all runs share that answered one evaluation set; arrays of shape (n,).

    Attributes:
        dataset: Name of the dataset.
        eval_set: Name of the evaluation set.
        class_ids: The classes.
        keys: Key of every sample, in ascending order.
        targets: Index of the true class of every sample.
    """

    dataset: str
    eval_set: str
    class_ids: tuple[str, ...]
    keys: npt.NDArray[np.str_]
    targets: npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Answers:
    """What all runs answered to one evaluation set.

    Attributes:
        samples: What they answered.
        runs: How well, sample by sample, in the order of the samples.
    """

    samples: EvalSetSamples
    runs: dict[RunName, metrics.SampleScores]


@dataclass(frozen=True, eq=False)
class Measure:
    """A metric of an evaluation set or a part of it.

    Attributes:
        name: As it stands in scores.csv.
        metric: How it is computed; of a part, one with ``values``.
        rows: The samples it is computed of.
        is_class: Whether it is the accuracy on a class.
    """

    name: str
    metric: metrics.Metric
    rows: npt.NDArray[np.int64]
    is_class: bool = False


@dataclass(frozen=True, eq=False)
class Replicated:
    """Metrics of runs that differ in their seed, and their bootstrap replicates.

    Attributes:
        values: Shape (seeds, metrics).
        replicates: Shape (seeds, draws, metrics).
    """

    values: npt.NDArray[np.floating]
    replicates: npt.NDArray[np.floating]

    def estimate(self, df_images: npt.NDArray[np.int64]) -> statistics.Estimate:
        """Return the means over seeds with their intervals."""
        return statistics.estimate(self.values, self.replicates, df_images)


def collect_scores(
    paths: Iterable[Path],
    comparisons: Sequence[Sequence[str]],
    draws: int,
    ablations: Sequence[Sequence[str]] = (),
) -> list[Score]:
    """Return the scores of all runs, their summaries over seeds, and differences of training sets.

    Intervals are 95 % intervals. A run's holds the variance of images within class, a summary's
    that of training seeds as well; a comparison's is paired: the same draws of images for both
    sides, and the differences of runs with the same seed (``statistics`` gives design and
    sources). ``p_value`` is the t test that belongs to the interval of top1, ``p_images`` the
    exact sign-flip test on images, which takes the trained models as given; ``p_holm`` corrects
    ``p_value`` over all evaluation sets and comparisons of the result.

    Args:
        paths: Files of predictions, in any order.
        comparisons: Pairs of training sets; the second is subtracted from the first.
        draws: Bootstrap replicates.
        ablations: More of such pairs, whose differences have intervals but no p values: they are
            no tests, and those of the comparisons are not corrected for them.

    Raises:
        CapsynthError: If runs of one evaluation set answered different samples, a run
            occurs twice, or a comparison names a training set that no run has.
    """
    answered = read_answers(paths)
    known = sorted({run.training_set for answers in answered.values() for run in answers.runs})
    for name in (name for pair in [*comparisons, *ablations] for name in pair):
        check_name("training set in comparisons", name, known)
    tested = {tuple(pair): True for pair in comparisons}
    pairs = dict.fromkeys(map(tuple, ablations), False) | tested
    rows: list[Score] = []
    for answers in answered.values():
        rows += _score_eval_set(answers.samples, answers.runs, pairs, draws)
    return in_order(_with_holm(rows))


def read_answers(paths: Iterable[Path]) -> dict[tuple[str, str], Answers]:
    """Return the scores of all runs by dataset and evaluation set, in the order of these names.

    Args:
        paths: Files of predictions, in any order.

    Raises:
        CapsynthError: If runs of one evaluation set answered different samples, or a run occurs
            twice.
    """
    groups: dict[tuple[str, str], Answers] = {}
    for path in paths:
        predictions = read_predictions(path)
        samples, order = samples_of(predictions)
        group = groups.setdefault((samples.dataset, samples.eval_set), Answers(samples, {}))
        check_same_samples(path, group.samples, samples)
        _add_run(path, group.runs, predictions, order)
    return dict(sorted(groups.items()))


def samples_of(predictions: Predictions) -> tuple[EvalSetSamples, npt.NDArray[np.integer]]:
    """Return the samples that were answered, by key, and the order that sorts them so."""
    order = np.argsort(predictions.keys, kind="stable")
    samples = EvalSetSamples(
        predictions.dataset,
        predictions.eval_set,
        predictions.class_ids,
        predictions.keys[order],
        predictions.target[order],
    )
    return samples, order


def _add_run(
    path: Path,
    runs: dict[RunName, metrics.SampleScores],
    predictions: Predictions,
    order: npt.NDArray[np.integer],
) -> None:
    run = RunName(predictions.training_set, predictions.recipe, predictions.seed)
    if run in runs:
        raise CapsynthError(
            f"{path}: {run.training_set}, {run.recipe}, seed {run.seed} on "
            f"{predictions.eval_set} is given twice; give each run once"
        )
    scores = metrics.score_samples(
        predictions.probabilities, predictions.prediction, predictions.target
    )
    runs[run] = scores.take(order)


def check_same_samples(path: Path, first: EvalSetSamples, other: EvalSetSamples) -> None:
    """Raise CapsynthError if a file of predictions answers other samples than those before."""
    same = (
        first.class_ids == other.class_ids
        and np.array_equal(first.keys, other.keys)
        and np.array_equal(first.targets, other.targets)
    )
    if not same:
        raise CapsynthError(
            f"{path}: answers other samples than the other runs on {first.eval_set!r}; "
            "evaluate all runs on the same packed evaluation set"
        )


def sources_of(keys: Sequence[str]) -> tuple[list[str], list[tuple[str, str]] | None]:
    """Return the source of every key and, in corruption sets, its corruption and severity.

    A set is a corruption set if all its keys are ``{source}.{corruption}-{severity}``. Elsewhere
    every sample is its own source.
    """
    found = [CORRUPTED_KEY.fullmatch(key) for key in keys]
    matches = [match for match in found if match is not None]
    if len(matches) < len(keys):
        return list(keys), None
    return (
        [match["source"] for match in matches],
        [(match["corruption"], match["severity"]) for match in matches],
    )


def measures_of(
    samples: EvalSetSamples, corruptions: Sequence[tuple[str, str]] | None
) -> list[Measure]:
    """Return what is measured on an evaluation set: the set, its classes, its corruptions.

    Raises:
        CapsynthError: If a class has the name of a corruption, so that two rows would share one.
    """
    everything = np.arange(len(samples.keys))
    found = [
        Measure(name, metric, everything)
        for name, metric in metrics.METRICS.items()
        if len(samples.class_ids) > metric.classes_above
    ]
    for index, class_id in enumerate(samples.class_ids):
        rows = np.flatnonzero(samples.targets == index)
        if len(rows):
            found.append(Measure(f"top1/{class_id}", metrics.TOP1, rows, is_class=True))
            found.append(Measure(f"precision/{class_id}", metrics.precision_of(index), everything))
    if corruptions is not None:
        kinds = np.array([kind for kind, _ in corruptions])
        levels = np.array([f"{kind}-{severity}" for kind, severity in corruptions])
        for kind in np.unique(kinds):
            found.append(Measure(f"top1/{kind}", metrics.TOP1, np.flatnonzero(kinds == kind)))
        for level in np.unique(levels):
            found.append(Measure(f"error/{level}", metrics.ERROR, np.flatnonzero(levels == level)))
    for name, count in Counter(measure.name for measure in found).items():
        if count > 1:
            raise CapsynthError(
                f"{samples.eval_set}: {name!r} is both a class and a corruption; rename the class"
            )
    return found


def _score_eval_set(
    samples: EvalSetSamples,
    runs: dict[RunName, metrics.SampleScores],
    pairs: Mapping[tuple[str, ...], bool],
    draws: int,
) -> list[Score]:
    """Return the scores on one evaluation set; ``pairs`` say whether they are tested."""
    sources, corruptions = sources_of(samples.keys.tolist())
    measures = measures_of(samples, corruptions)
    design = design_of(samples, sources)
    replicated = replicate(samples, runs, measures, design, draws)
    df = np.array([statistics.image_df(design, measure.rows) for measure in measures])
    rows = [
        row
        for run, result in replicated.items()
        for row in _rows(
            samples,
            run.training_set,
            run.recipe,
            run.seed,
            measures,
            _estimate(result, measures, df),
        )
    ]
    seeds = seeds_of(runs)
    for (training_set, recipe), its_seeds in seeds.items():
        summary = over_seeds(replicated, training_set, recipe, its_seeds)
        means = _estimate(summary, measures, df)
        rows += _rows(samples, training_set, recipe, None, measures, means)
    for (first, second), is_tested in pairs.items():
        for recipe in sorted({recipe for _, recipe in seeds}):
            both = sorted(
                set(seeds.get((first, recipe), [])) & set(seeds.get((second, recipe), []))
            )
            if both:
                found = _compare(
                    samples, runs, replicated, measures, df, design, (first, second), recipe, both
                )
                rows += [row for row in found if is_tested or row.metric not in TESTS]
    return rows


def _estimate(
    result: Replicated, measures: Sequence[Measure], df: npt.NDArray[np.int64]
) -> statistics.Estimate:
    """Return the means over seeds with their intervals; of the worst class those of ``minima``."""
    found = result.estimate(df)
    names = [measure.name for measure in measures]
    classes = [place for place, measure in enumerate(measures) if measure.is_class]
    if metrics.WORST_CLASS not in names or not classes:
        return found
    least = minima.worst(result.values[:, classes], result.replicates[..., classes], df[classes])
    value, low, high = (np.array(x) for x in (found.value, found.low, found.high))
    column = names.index(metrics.WORST_CLASS)
    value[column], low[column], high[column] = least.value, least.low, least.high
    return replace(found, value=value, low=low, high=high)


def seeds_of(runs: Iterable[RunName]) -> dict[tuple[str, str], list[int]]:
    """Return the seeds of every training set and recipe."""
    seeds: dict[tuple[str, str], list[int]] = defaultdict(list)
    for run in sorted(runs):
        seeds[run.training_set, run.recipe].append(run.seed)
    return dict(seeds)


def design_of(samples: EvalSetSamples, sources: Sequence[str]) -> statistics.ImageDesign:
    """Return which samples are drawn together: those of one source, within their class."""
    return statistics.image_design([samples.class_ids[t] for t in samples.targets], sources)


def weights_of(
    samples: EvalSetSamples, design: statistics.ImageDesign, draws: int
) -> Iterator[npt.NDArray[np.floating]]:
    """Yield the draws of images that all runs of an evaluation set share, in blocks."""
    seed = derive_seed("bootstrap", "images", samples.dataset, samples.eval_set)
    return statistics.image_weights(design, draws, seed)


def replicate(
    samples: EvalSetSamples,
    runs: dict[RunName, metrics.SampleScores],
    measures: Sequence[Measure],
    design: statistics.ImageDesign,
    draws: int,
) -> dict[RunName, Replicated]:
    """Return the metrics of every run and their replicates under one draw of images for all."""
    n = len(samples.keys)
    is_part = np.array([len(measure.rows) < n for measure in measures])
    of_sums = {column: measure.metric.of_sums for column, measure in enumerate(measures)}
    by_sums = {column: function for column, function in of_sums.items() if function is not None}
    parts = [measure for measure in measures if len(measure.rows) < n]
    rows = np.concatenate([np.arange(0), *(part.rows for part in parts)])
    starts = np.cumsum([0, *(len(part.rows) for part in parts[:-1])])
    values = {run: _values_of(parts, scores) for run, scores in runs.items()}
    blocks: dict[RunName, list[npt.NDArray[np.floating]]] = defaultdict(list)
    for weights in itertools.chain([np.ones((1, n))], weights_of(samples, design, draws)):
        of_parts = np.take(weights, rows, axis=1)
        for run, scores in runs.items():
            found = np.empty((len(weights), len(measures)))
            for column in np.flatnonzero(~is_part).tolist():
                if column not in by_sums:
                    found[:, column] = measures[column].metric.function(scores, weights)
            if by_sums:
                sums = metrics.class_sums(scores, weights)
                for column, function in by_sums.items():
                    found[:, column] = function(sums)
            if parts:
                found[:, is_part] = metrics.means_of_parts(values[run], of_parts, starts)
            blocks[run].append(found)
    return {
        run: Replicated(found[0], np.concatenate(found[1:])[None]) for run, found in blocks.items()
    }


def _values_of(parts: Sequence[Measure], scores: metrics.SampleScores) -> metrics.Floats:
    """Return the values of the samples of all parts, one part after another."""
    values = [np.empty(0)]
    for part in parts:
        assert part.metric.values is not None, f"{part.name} is no mean over samples"
        values.append(part.metric.values(scores)[part.rows].astype(np.float64))
    return np.concatenate(values)


def over_seeds(
    replicated: dict[RunName, Replicated], training_set: str, recipe: str, seeds: Sequence[int]
) -> Replicated:
    """Return the runs of one training set and recipe together."""
    its_runs = [replicated[RunName(training_set, recipe, seed)] for seed in seeds]
    return Replicated(
        np.concatenate([run.values for run in its_runs]),
        np.concatenate([run.replicates for run in its_runs]),
    )


def _compare(
    samples: EvalSetSamples,
    runs: dict[RunName, metrics.SampleScores],
    replicated: dict[RunName, Replicated],
    measures: Sequence[Measure],
    df: npt.NDArray[np.int64],
    design: statistics.ImageDesign,
    pair: tuple[str, str],
    recipe: str,
    seeds: Sequence[int],
) -> list[Score]:
    first, second = (over_seeds(replicated, name, recipe, seeds) for name in pair)
    difference = Replicated(first.values - second.values, first.replicates - second.replicates)
    found = difference.estimate(df)
    name = f"{pair[0]} - {pair[1]}"
    rows = [
        row
        for row in _rows(samples, name, recipe, None, measures, found, signed=True)
        if row.metric.split("/")[0] == "top1"
    ]
    right = np.zeros(len(samples.keys), dtype=np.int64)
    for seed in seeds:
        right += runs[RunName(pair[0], recipe, seed)].correct
        right -= runs[RunName(pair[1], recipe, seed)].correct
    of_units = np.zeros(int(design.unit.max()) + 1, dtype=np.int64)
    np.add.at(of_units, design.unit, right)
    p_images = statistics.sign_flip_p_value(of_units)
    p_value = float(found.p_value[[measure.name for measure in measures].index("top1")])
    # Where all images differ alike there is no t test; the sign-flip test needs no variance.
    p_value = p_images if np.isnan(p_value) else p_value
    n = len(samples.keys)
    return [
        *rows,
        _without_interval(rows[0], "p_value", p_value, n),
        _without_interval(rows[0], "p_images", p_images, n),
    ]


def _without_interval(row: Score, metric: str, value: float, n: int) -> Score:
    return replace(row, metric=metric, value=value, ci_low=None, ci_high=None, n=n)


def _rows(
    samples: EvalSetSamples,
    training_set: str,
    recipe: str,
    seed: int | None,
    measures: Sequence[Measure],
    found: statistics.Estimate,
    signed: bool = False,
) -> list[Score]:
    """Return one row a measure; ``signed`` are differences, which may be below 0."""
    most = np.array([measure.metric.most for measure in measures])
    low = np.maximum(found.low, -most if signed else 0.0)
    high = np.minimum(found.high, most)
    return [
        Score(
            samples.dataset,
            training_set,
            recipe,
            seed,
            samples.eval_set,
            measure.name,
            float(found.value[column]),
            float(low[column]),
            float(high[column]),
            len(measure.rows),
        )
        for column, measure in enumerate(measures)
    ]


def _with_holm(rows: list[Score]) -> list[Score]:
    """Return the rows with one ``p_holm`` for every ``p_value``."""
    tests = [row for row in rows if row.metric == "p_value"]
    corrected = statistics.holm([row.value for row in tests])
    return rows + [
        _without_interval(row, "p_holm", float(value), row.n)
        for row, value in zip(tests, corrected, strict=True)
    ]


def in_order(rows: Iterable[Score]) -> list[Score]:
    """Return the rows in the order of scores.csv: by their names, summaries before runs."""
    return sorted(rows, key=_place)


def _place(row: Score) -> tuple[str, str, str, int, str, str]:
    seed = -1 if row.seed is None else row.seed
    return (row.dataset, row.training_set, row.recipe, seed, row.eval_set, row.metric)


def write_scores(path: Path, rows: Iterable[Score]) -> None:
    """Write scores as CSV, atomically; p values below the last decimal are rounded up to it."""
    write_records(path, Score, map(_with_visible_p_value, rows))


def _with_visible_p_value(row: Score) -> Score:
    return replace(row, value=max(row.value, 10.0**-DECIMALS)) if row.metric in TESTS else row


def read_scores(path: Path) -> list[Score]:
    """Read scores.csv.

    Raises:
        CapsynthError: If the file does not exist, has other columns or a value is no number.
    """
    return read_records(path, Score, "collect_scores")


@dataclass(frozen=True, eq=False)
class ScoreIndex:
    """Scores by name, for tables and figures.

    Attributes:
        summaries: Rows over seeds by (dataset, training_set, recipe, eval_set, metric).
        runs: Rows of single runs by the same names, seeds ascending.
    """

    summaries: dict[tuple[str, str, str, str, str], Score]
    runs: dict[tuple[str, str, str, str, str], list[Score]]

    @property
    def experiments(self) -> list[tuple[str, str]]:
        """The pairs of dataset and recipe, sorted."""
        return sorted({(name[0], name[2]) for name in self.runs})


def index_scores(rows: Iterable[Score]) -> ScoreIndex:
    """Return the scores by name."""
    summaries: dict[tuple[str, str, str, str, str], Score] = {}
    runs: dict[tuple[str, str, str, str, str], list[Score]] = defaultdict(list)
    for row in rows:
        name = (row.dataset, row.training_set, row.recipe, row.eval_set, row.metric)
        if row.seed is None:
            summaries[name] = row
        else:
            runs[name].append(row)
    for found in runs.values():
        found.sort(key=lambda row: row.seed or 0)
    return ScoreIndex(summaries, dict(runs))
