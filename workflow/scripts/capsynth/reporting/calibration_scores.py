"""Calibration of every run, before and after temperature scaling, as tables of numbers."""

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from capsynth import calibration, metrics, proportions, statistics
from capsynth.errors import CapsynthError
from capsynth.predictions import Predictions, read_predictions
from capsynth.reporting.estimation import bounds_of, sources_over
from capsynth.reporting.scores import (
    EvalSetSamples,
    Replicated,
    RunName,
    Score,
    check_same_samples,
    design_of,
    in_order,
    over_seeds,
    samples_of,
    seeds_of,
    weights_of,
)

Floats = npt.NDArray[np.floating]

# Marks a metric after temperature scaling: ``ece/scaled``.
SCALED = "/scaled"
TEMPERATURE = "temperature"


@dataclass(frozen=True, eq=False)
class Answered:
    """The samples of a run, in the order of their keys, with what metrics need of them."""

    probabilities: Floats
    target: npt.NDArray[np.int64]
    scores: metrics.SampleScores


# From what a run answered to a function from weights (draws, n) to values (draws,).
MetricOfAnswers = Callable[[Answered], Callable[[Floats], Floats]]


def _of_scores(name: str) -> MetricOfAnswers:
    return lambda answered: partial(metrics.METRICS[name].function, answered.scores)


# Their order is that of the table.
CALIBRATION_METRICS: dict[str, MetricOfAnswers] = {
    "ece": _of_scores("ece"),
    "adaptive_ece": _of_scores("adaptive_ece"),
    "adaptive_ece_shared": _of_scores("adaptive_ece_shared"),
    "classwise_ece": lambda answered: calibration.classwise_ece(
        answered.probabilities, answered.target
    ),
    "nll": _of_scores("nll"),
    "brier": _of_scores("brier"),
}


@dataclass(frozen=True)
class ReliabilityBin:
    """One bin of the reliability diagram of a training set: its runs pooled.

    Attributes:
        dataset: Name of the dataset.
        training_set: Name of the training set.
        recipe: Name of the recipe.
        eval_set: Name of the evaluation set.
        scaled: Whether temperatures were scaled.
        low: Least confidence in the bin, not included.
        high: Greatest confidence in the bin.
        share: Share of the samples.
        confidence: Their mean confidence.
        accuracy: Share of right answers among them.
        ci_low: Lower bound of the accuracy's 95 % interval over images, the runs as they are.
        ci_high: Upper bound.
        classes: Classes that could be answered: an even guess is right, and confident, with a
            probability of one over this.
    """

    dataset: str
    training_set: str
    recipe: str
    eval_set: str
    scaled: bool
    low: float
    high: float
    share: float
    confidence: float
    accuracy: float
    ci_low: float
    ci_high: float
    classes: int


def fit_temperatures(paths: Sequence[Path], draws: int) -> tuple[dict[RunName, float], list[Score]]:
    """Return the temperature of every run, and rows of them with intervals over images and seeds.

    An interval's draws of images fit 1 / T by one Newton step from the fit to all images.

    Args:
        paths: Predictions on the calibration set.
        draws: Bootstrap replicates.
    """
    temperatures: dict[RunName, float] = {}
    replicated: dict[RunName, Replicated] = {}
    first: EvalSetSamples | None = None
    for path in paths:
        predictions = read_predictions(path)
        samples, order = samples_of(predictions)
        first = first or samples
        check_same_samples(path, first, samples)
        run = _run_of(path, predictions, temperatures)
        probabilities, target = predictions.probabilities[order], samples.targets
        temperatures[run] = calibration.fit_temperature(probabilities, target)
        design = design_of(samples)
        drawn = calibration.refit_temperature(
            probabilities, target, temperatures[run], weights_of(samples, design, draws)
        )
        replicated[run] = Replicated(np.array([[temperatures[run]]]), drawn[None, :, None])
    if first is None:
        return {}, []
    df = _df(first)
    return temperatures, _rows_of(first, replicated, [TEMPERATURE], df)


def _run_of(path: Path, predictions: Predictions, seen: dict[RunName, float]) -> RunName:
    run = RunName(predictions.training_set, predictions.recipe, predictions.seed)
    if run in seen:
        raise CapsynthError(
            f"{path}: {run.training_set}, {run.recipe}, seed {run.seed} on "
            f"{predictions.eval_set} is given twice; give each run once"
        )
    return run


def _df(samples: EvalSetSamples) -> int:
    return statistics.image_df(design_of(samples), np.arange(len(samples.keys)))


def measure_calibration(
    paths: Sequence[Path], calibration_paths: Sequence[Path], draws: int
) -> tuple[list[Score], list[ReliabilityBin]]:
    """Return calibration metrics with intervals, and the bins of reliability diagrams.

    A metric is given as it is and, where there is a calibration set, after temperature scaling
    (``ece/scaled``); the temperature was fitted on the calibration set, one for each run. Rows of
    a run hold the variance of images, summaries that of seeds as well. The temperature is taken
    as given: the intervals hold what it varies between seeds, not what another calibration
    set would change. One file of predictions is in memory at a time.

    Args:
        paths: Predictions on the evaluation sets, in any order.
        calibration_paths: Predictions of the same runs on the calibration set; none for metrics
            before scaling only.
        draws: Bootstrap replicates.

    Raises:
        CapsynthError: If runs answered different samples, a run occurs twice, or one has no
            predictions on the calibration set.
    """
    temperatures, rows = fit_temperatures(calibration_paths, draws)
    groups: dict[tuple[str, str], EvalSetSamples] = {}
    replicated: dict[tuple[str, str], dict[RunName, Replicated]] = defaultdict(dict)
    diagrams: dict[tuple[str, str, str, str, bool], list[calibration.Reliability]] = defaultdict(
        list
    )
    # Draws of small sets, which cost more to make than to keep.
    kept: dict[tuple[str, str], list[Floats]] = {}
    names = [*CALIBRATION_METRICS]
    if calibration_paths:
        names += [f"{name}{SCALED}" for name in CALIBRATION_METRICS]
    for path in paths:
        predictions = read_predictions(path)
        samples, order = samples_of(predictions)
        group = (samples.dataset, samples.eval_set)
        check_same_samples(path, groups.setdefault(group, samples), samples)
        seen = {run: 0.0 for run in replicated[group]}
        run = _run_of(path, predictions, seen)
        if calibration_paths and run not in temperatures:
            raise CapsynthError(
                f"{path}: {run.training_set}, {run.recipe}, seed {run.seed} has no predictions on "
                "the calibration set; evaluate the run on it"
            )
        versions = list(_versions(predictions, order, temperatures.get(run)))
        if group not in kept and draws * len(order) <= statistics.WEIGHTS_PER_BLOCK:
            kept[group] = list(_weights(samples, draws))
        result, drawn = _replicate(samples, versions, kept.get(group) or _weights(samples, draws))
        replicated[group][run] = result
        for scaled, diagram in enumerate(drawn):
            key = (*group, run.training_set, run.recipe, bool(scaled))
            diagrams[key].append(diagram)
    for group, samples in groups.items():
        rows += _rows_of(samples, replicated[group], names, _df(samples))
    bins = [
        one for key, found in sorted(diagrams.items()) for one in _pool(key, found, groups[key[:2]])
    ]
    return in_order(rows), bins


def _versions(
    predictions: Predictions, order: npt.NDArray[np.integer], temperature: float | None
) -> Iterator[Answered]:
    """Yield the answers as they are and, with a temperature, scaled."""
    target = predictions.target[order]
    probabilities: Floats = predictions.probabilities[order]
    prediction = predictions.prediction[order]
    yield Answered(probabilities, target, metrics.score_samples(probabilities, prediction, target))
    if temperature is not None:
        scaled = calibration.scale(probabilities, temperature)
        yield Answered(scaled, target, metrics.score_samples(scaled, prediction, target))


def _weights(samples: EvalSetSamples, draws: int) -> Iterator[Floats]:
    design = design_of(samples)
    return weights_of(samples, design, draws)


def _replicate(
    samples: EvalSetSamples, versions: Sequence[Answered], drawn: Iterable[Floats]
) -> tuple[Replicated, list[calibration.Reliability]]:
    """Return the metrics of all versions of a run, and reliability diagrams.

    Row 0 of a diagram is that of all samples, the others are of draws.
    """
    ones = np.ones((1, len(samples.keys)))
    metric_blocks: list[Floats] = []
    diagrams: list[list[calibration.Reliability]] = [[] for _ in versions]
    functions = [of(version) for version in versions for of in CALIBRATION_METRICS.values()]
    for weights in itertools.chain([ones], drawn):
        metric_blocks.append(np.stack([function(weights) for function in functions], axis=1))
        for version, found in zip(versions, diagrams, strict=True):
            found.append(calibration.reliability(version.scores, weights))
    joined = [
        calibration.Reliability(
            found[0].edges,
            *(
                np.concatenate([getattr(one, name) for one in found])
                for name in ("share", "accuracy", "confidence")
            ),
        )
        for found in diagrams
    ]
    return Replicated(metric_blocks[0], np.concatenate(metric_blocks[1:])[None]), joined


def _rows_of(
    samples: EvalSetSamples, replicated: dict[RunName, Replicated], names: Sequence[str], df: int
) -> list[Score]:
    """Return one row a run and metric, and one a summary over seeds and metric."""
    named = [
        (run.training_set, run.recipe, run.seed, result)
        for run, result in sorted(replicated.items(), key=lambda pair: pair[0])
    ]
    summaries = [
        (training_set, recipe, None, over_seeds(replicated, training_set, recipe, seeds))
        for (training_set, recipe), seeds in seeds_of(replicated).items()
    ]
    distinct = len(design_of(samples).stratum)
    rows = []
    for training_set, recipe, seed, result in (*summaries, *named):
        found = result.estimate(np.full(len(names), df))
        for column, name in enumerate(names):
            bare = name.removesuffix(SCALED)
            most = metrics.METRICS[bare].most if bare in metrics.METRICS else np.inf
            bounds = bounds_of(found, column, 0.0, most)
            rows.append(
                Score(
                    samples.dataset,
                    training_set,
                    recipe,
                    seed,
                    samples.eval_set,
                    name,
                    float(found.value[column]),
                    *bounds,
                    len(samples.keys),
                    len(result.values),
                    sources_over(len(result.values), bounds[0]),
                    distinct,
                )
            )
    return rows


def _pool(
    key: tuple[str, str, str, str, bool],
    diagrams: Sequence[calibration.Reliability],
    samples: EvalSetSamples,
) -> list[ReliabilityBin]:
    """Return the filled bins of all seeds together.

    Where all answers in a bin are alike draws of images do not vary it: its interval is Wilson's.
    """
    dataset, eval_set, training_set, recipe, scaled = key
    share = np.mean([one.share for one in diagrams], axis=0)
    mass = np.where(share > 0.0, share, np.nan)

    def pooled(name: str) -> Floats:
        parts = [np.nan_to_num(getattr(one, name)) * one.share for one in diagrams]
        pooled: Floats = np.mean(parts, axis=0) / mass
        return pooled

    accuracy, confidence = pooled("accuracy"), pooled("confidence")
    edges = diagrams[0].edges
    bins = []
    for place in np.flatnonzero(share[0] > 0.0):
        # Draws without a sample in the bin say nothing of it; the first row has all samples.
        drawn = accuracy[:, place][~np.isnan(accuracy[:, place])]
        low, high = statistics.interval(drawn[:, None])
        if not low[0] < high[0]:
            share_right = accuracy[:1, place]
            in_bin = len(samples.keys) * share[:1, place]
            low, high = proportions.wilson(share_right, in_bin)
        bins.append(
            ReliabilityBin(
                dataset,
                training_set,
                recipe,
                eval_set,
                scaled,
                low=float(edges[place]),
                high=float(edges[place + 1]),
                share=float(share[0, place]),
                confidence=float(confidence[0, place]),
                accuracy=float(accuracy[0, place]),
                ci_low=float(low[0]),
                ci_high=float(high[0]),
                classes=len(samples.class_ids),
            )
        )
    return bins
