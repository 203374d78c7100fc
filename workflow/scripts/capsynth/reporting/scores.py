"""Scores: every metric of every run and evaluation set, with its interval, as one tidy table."""

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from capsynth import intervals, metrics, statistics
from capsynth.errors import CapsynthError
from capsynth.predictions import Predictions, read_predictions
from capsynth.records import DECIMALS, read_records, write_records
from capsynth.seeding import derive_seed

CORRUPTED_KEY = re.compile(r"(?P<source>.+)\.(?P<corruption>[a-z0-9-]+)-(?P<severity>[1-5])")
# Metrics of a comparison that are p values.
TESTS = ("p_value", "p_images", "p_holm")
# What chance an interval holds.
OF_IMAGES = "images"
OF_SEEDS = "images+training-seeds"
OF_NOTHING = "none"
# Of a class: the share of the answers with it that are right.
PRECISION = "precision/"
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
        seeds: Training seeds that the row summarises; 1 for a single run.
        sources: What chance the interval or the p value holds: ``images``, or
            ``images+training-seeds``; ``none`` where nothing was seen to vary, so that there is no
            interval.
        distinct: Different photographs among the samples: the corrupted versions of one are one,
            and so is one that lies in the set under several keys. None where it was not counted.
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
    seeds: int = 1
    sources: str = "images"
    distinct: int | None = None


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
        sources: What every sample shows: those of one class and source are one photograph.
    """

    dataset: str
    eval_set: str
    class_ids: tuple[str, ...]
    keys: npt.NDArray[np.str_]
    targets: npt.NDArray[np.int64]
    sources: npt.NDArray[np.str_]


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

    def estimate(self, df_images: npt.NDArray[np.int64]) -> intervals.Estimate:
        """Return the means over seeds with their intervals."""
        return statistics.estimate(self.values, self.replicates, df_images)


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
        sources_within(predictions)[order],
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


def sources_within(predictions: Predictions) -> npt.NDArray[np.str_]:
    """Return the source of every sample, in their order: shape (n,).

    That which evaluation found by the images' content, else the one that ``sources_of`` reads in
    the keys.
    """
    if predictions.sources is not None:
        return predictions.sources
    return np.array(sources_of(predictions.keys.tolist())[0], dtype=np.str_)


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
            found.append(Measure(f"{PRECISION}{class_id}", metrics.precision_of(index), everything))
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


def seeds_of(runs: Iterable[RunName]) -> dict[tuple[str, str], list[int]]:
    """Return the seeds of every training set and recipe."""
    seeds: dict[tuple[str, str], list[int]] = defaultdict(list)
    for run in sorted(runs):
        seeds[run.training_set, run.recipe].append(run.seed)
    return dict(seeds)


def design_of(samples: EvalSetSamples) -> statistics.ImageDesign:
    """Return which samples are drawn together: those of one source, within their class."""
    classes = [samples.class_ids[t] for t in samples.targets]
    return statistics.image_design(classes, samples.sources.tolist())


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
