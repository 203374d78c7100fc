"""Who has converged, and who has learned by heart: learning curves and train-test gaps."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from capsynth import intervals, proportions, statistics
from capsynth.errors import CapsynthError
from capsynth.files import read_json
from capsynth.integrity import unreadable
from capsynth.learning_curves import quarter_step, unpack_answers
from capsynth.reporting.estimation import bounds_of, sources_over
from capsynth.reporting.scores import (
    Answers,
    RunName,
    Score,
    design_of,
    in_order,
    read_answers,
    seeds_of,
)

Floats = npt.NDArray[np.floating]
Booleans = npt.NDArray[np.bool_]

# Where the images of ``train_top1`` come from, in the place of an evaluation set's name.
OWN_IMAGES = "training-set"
HELD_OUT, GAIN, TRAIN, TEST, GAP = (
    "held_out_top1",
    "last_quarter_gain",
    "train_top1",
    "top1",
    "train_test_gap",
)


@dataclass(frozen=True)
class CurvePoint:
    """One row of learning-curves.csv.

    Attributes:
        dataset: Name of the dataset.
        training_set: Name of the training set.
        recipe: Name of the recipe.
        seed: Training seed; None for the mean over seeds.
        eval_set: Name of the set of held-out images.
        step: Optimisation steps made.
        images_seen: Images that these steps showed, repeated ones counted again.
        images: Images of the training set.
        accuracy: Top-1 accuracy on the held-out images.
        ci_low: Lower bound of its 95 % interval: over images, and seeds where they are averaged.
        ci_high: Upper bound.
        n: Held-out images.
        seeds: Training seeds behind the row.
        chance: Share of the largest class among the held-out images.
    """

    dataset: str
    training_set: str
    recipe: str
    seed: int | None
    eval_set: str
    step: int
    images_seen: int
    images: int
    accuracy: float
    ci_low: float
    ci_high: float
    n: int
    seeds: int
    chance: float


@dataclass(frozen=True)
class AnsweredImages:
    """Images, and which of them a run recognised, once or at several steps.

    Attributes:
        classes: Class index of every image, n of them.
        sources: Images of one number descend from one real image.
        correct: Shape (times, n).
    """

    classes: tuple[int, ...]
    sources: tuple[int, ...]
    correct: Booleans

    @cached_property
    def layout(self) -> proportions.Layout:
        """Which images are drawn together, within their class."""
        strata, sources = list(map(str, self.classes)), list(map(str, self.sources))
        design = statistics.image_design(strata, sources)
        return proportions.layout_of(design, np.arange(len(strata)))


@dataclass(frozen=True)
class RunHistory:
    """What the history of a training says of accuracy.

    Attributes:
        path: The history.
        images: Images of the training set.
        steps: The points of the learning curve, in steps; none without one.
        images_seen: Images shown by then.
        curve: The held-out images; None without a learning curve.
        own: Images of the training set; None if accuracy on them was not measured.
    """

    path: Path
    images: int
    steps: tuple[int, ...]
    images_seen: tuple[int, ...]
    curve: AnsweredImages | None
    own: AnsweredImages | None


def read_history(path: Path) -> RunHistory:
    """Read what a history says of accuracy.

    Raises:
        CapsynthError: If it is no history of train_classifier.
    """
    value = read_json(path)
    try:
        points: list[dict[str, Any]] = value.get("curve", [])
        curve = own = None
        if points:
            classes = tuple(value["curve_classes"])
            correct = np.stack([unpack_answers(point) for point in points])
            curve = _answered(classes, range(len(classes)), correct)
        if "own_images" in value:
            images = value["own_images"]
            own = _answered(images["classes"], images["sources"], unpack_answers(images)[None])
        return RunHistory(
            path,
            int(value["images"]),
            tuple(point["step"] for point in points),
            tuple(point["images_seen"] for point in points),
            curve,
            own,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise unreadable(path, error) from error


def _answered(classes: Iterable[int], sources: Iterable[int], correct: Booleans) -> AnsweredImages:
    found = AnsweredImages(tuple(classes), tuple(sources), correct)
    if not len(found.classes) == len(found.sources) == correct.shape[1]:
        raise ValueError("classes, sources and answers are of different numbers of images")
    return found


@dataclass(frozen=True)
class Names:
    """Names that all rows carry.

    Attributes:
        dataset: Name of the dataset.
        curve_set: Name of the set of held-out images.
    """

    dataset: str
    curve_set: str


# Training set, recipe and seed; no seed for the mean over seeds.
Run = tuple[str, str, int | None]


@dataclass(frozen=True, eq=False)
class Found:
    """What runs that differ in their seed come to.

    Attributes:
        run: Their name.
        runs: The runs.
        estimate: Of every metric.
    """

    run: Run
    runs: tuple[RunName, ...]
    estimate: intervals.Estimate


def measure_convergence(
    histories: Mapping[RunName, Path], predictions: Sequence[Path], names: Names
) -> tuple[list[CurvePoint], list[Score]]:
    """Return the learning curves of all runs, and what they and their train-test gaps come to.

    Scores are, of every run and of the mean over seeds:

    - ``held_out_top1``: accuracy on the held-out images after the last step,
    - ``last_quarter_gain``: that, less the accuracy after three quarters of the steps, paired by
      image and run,
    - ``train_top1``: accuracy on images of the run's own training set, not augmented,
    - ``top1``: accuracy in distribution, as in scores.csv,
    - ``train_test_gap``: ``train_top1`` less ``top1``. The two samples of images are independent,
      so their variances add up; degrees of freedom are those of the smaller one.

    Shares have score intervals and differences t intervals, as in scores.csv: of images for a run,
    of images and training seeds for a mean, where training sets of a recipe share what they show
    of the variance between seeds.

    Args:
        histories: Of every run.
        predictions: Of the runs on the evaluation set in distribution; none for no gap.
        names: Names that rows carry.

    Raises:
        CapsynthError: If runs were measured on different images, or have no predictions.
    """
    runs = {run: read_history(path) for run, path in sorted(histories.items())}
    points, rows = _curves(runs, names)
    answers = read_answers(predictions)
    if len(answers) > 1:
        listed = ", ".join(eval_set for _, eval_set in answers)
        raise CapsynthError(f"predictions on several evaluation sets ({listed}); give those on one")
    rows += _gaps(runs, next(iter(answers.values()), None), names)
    return points, in_order(rows)


def _check_same(
    first: tuple[RunHistory, AnsweredImages], other: tuple[RunHistory, AnsweredImages], what: str
) -> None:
    one, two = first[1], other[1]
    if (one.classes, one.sources) != (two.classes, two.sources):
        raise CapsynthError(
            f"{other[0].path}: accuracy was measured on other {what} than in {first[0].path}; "
            "run train_classifier again"
        )


def estimated_runs(
    runs: Iterable[RunName], spread: Callable[[Sequence[RunName]], intervals.Spread]
) -> Iterator[Found]:
    """Yield every mean over seeds and every run.

    Args:
        runs: The runs.
        spread: From runs that differ in their seed to what they show.
    """
    groups = seeds_of(runs)
    spreads: dict[tuple[str, int], dict[str, intervals.Spread]] = defaultdict(dict)
    for (training_set, recipe), seeds in groups.items():
        found = spread([RunName(training_set, recipe, seed) for seed in seeds])
        # Learning curves of few steps have fewer points.
        spreads[recipe, len(found.value)][training_set] = found
    for (recipe, _), of in spreads.items():
        shared = intervals.moderated(list(of.values()))
        for (training_set, found), seeds_vary in zip(of.items(), shared, strict=True):
            names = tuple(RunName(training_set, recipe, s) for s in groups[training_set, recipe])
            mean = intervals.estimate_of(found, seeds_vary)
            yield Found((training_set, recipe, None), names, mean)
            for run in names:
                alone = intervals.estimate_of(spread([run]))
                yield Found((training_set, recipe, run.seed), (run,), alone)


def _curves(
    runs: Mapping[RunName, RunHistory], names: Names
) -> tuple[list[CurvePoint], list[Score]]:
    """Return the points of all learning curves, and accuracy at their end with its late gain."""
    curves = {run: (h, h.curve) for run, h in runs.items() if h.curve is not None}
    if not curves:
        return [], []
    first_history, first = next(iter(curves.values()))
    steps: dict[tuple[str, str], tuple[int, ...]] = {}
    for run, (history, curve) in curves.items():
        _check_same((first_history, first), (history, curve), "held-out images")
        of = (run.training_set, run.recipe)
        if history.steps != steps.setdefault(of, history.steps):
            raise CapsynthError(
                f"{history.path}: other seeds of {run.training_set} have other steps; run "
                "train_classifier again"
            )
    layout, n = first.layout, len(first.classes)

    def accuracies(of: Sequence[RunName]) -> intervals.Spread:
        correct = np.stack([curves[run][1].correct[:, layout.rows] for run in of])
        return proportions.spread_of_shares(layout, correct.astype(np.float64))

    def gains(of: Sequence[RunName]) -> intervals.Spread:
        late = np.stack([_late_gains(*curves[run])[layout.rows] for run in of])
        return proportions.spread_of_differences(layout, late[:, None])

    chance = float(max(np.bincount(first.classes)) / n)
    points, rows = [], []
    for found in estimated_runs(curves, accuracies):
        history = curves[found.runs[0]][0]
        low, high = proportions.score_interval(found.estimate, np.full(len(history.steps), n))
        points += [
            CurvePoint(
                names.dataset,
                *found.run,
                names.curve_set,
                step,
                history.images_seen[place],
                history.images,
                float(found.estimate.value[place]),
                float(low[place]),
                float(high[place]),
                n,
                len(found.runs),
                chance,
            )
            for place, step in enumerate(history.steps)
        ]
        end = (float(low[-1]), float(high[-1]))
        value = float(found.estimate.value[-1])
        rows.append(_score(names, found, names.curve_set, HELD_OUT, value, end, layout))
    for found in estimated_runs(curves, gains):
        bounds = bounds_of(found.estimate, 0, -1.0, 1.0)
        value = float(found.estimate.value[0])
        rows.append(_score(names, found, names.curve_set, GAIN, value, bounds, layout))
    return points, rows


def _late_gains(history: RunHistory, curve: AnsweredImages) -> Floats:
    """Return the answers at the end less those after three quarters of the steps, shape (n,)."""
    begins = quarter_step(history.steps[-1])
    if begins not in history.steps:
        raise CapsynthError(
            f"{history.path}: the learning curve has no point after step {begins} of "
            f"{history.steps[-1]}; make learning_curves.points a multiple of 4"
        )
    answers = curve.correct.astype(np.float64)
    gains: Floats = answers[-1] - answers[history.steps.index(begins)]
    return gains


def _gaps(runs: Mapping[RunName, RunHistory], answers: Answers | None, names: Names) -> list[Score]:
    """Return accuracies on own images and in distribution, and their gaps."""
    own = {run: (history, history.own) for run, history in runs.items() if history.own is not None}
    first: dict[tuple[str, str], tuple[RunHistory, AnsweredImages]] = {}
    for run, images in own.items():
        of = (run.training_set, run.recipe)
        _check_same(first.setdefault(of, images), images, "images of its training set")

    def train(of: Sequence[RunName]) -> intervals.Spread:
        layout = own[of[0]][1].layout
        correct = np.stack([own[run][1].correct[:, layout.rows] for run in of])
        return proportions.spread_of_shares(layout, correct.astype(np.float64))

    rows = []
    for found in estimated_runs(own, train):
        layout = own[found.runs[0]][1].layout
        value, bounds = share_of(found.estimate, layout.n)
        rows.append(_score(names, found, OWN_IMAGES, TRAIN, value, bounds, layout))
    if answers is None:
        return rows
    samples, n = answers.samples, len(answers.samples.keys)
    lacking = [run for run in own if run not in answers.runs]
    if lacking:
        run = lacking[0]
        raise CapsynthError(
            f"{run.training_set}, {run.recipe}, seed {run.seed} has no predictions on "
            f"{samples.eval_set}; evaluate the run on it"
        )
    test_layout = proportions.layout_of(design_of(samples), np.arange(n))

    def test(of: Sequence[RunName]) -> intervals.Spread:
        correct = np.stack([answers.runs[run].correct[test_layout.rows] for run in of])
        return proportions.spread_of_shares(test_layout, correct.astype(np.float64)[:, None])

    def gap(of: Sequence[RunName]) -> intervals.Spread:
        of_runs = [train([run]).value - test([run]).value for run in of]
        return _of_independent(train(of), test(of), np.stack(of_runs))

    for found in estimated_runs(own, test):
        value, bounds = share_of(found.estimate, n)
        rows.append(_score(names, found, samples.eval_set, TEST, value, bounds, test_layout))
    for found in estimated_runs(own, gap):
        limits = bounds_of(found.estimate, 0, -1.0, 1.0)
        value = float(found.estimate.value[0])
        rows.append(_score(names, found, samples.eval_set, GAP, value, limits, test_layout))
    return rows


def _of_independent(
    first: intervals.Spread, second: intervals.Spread, differences: Floats
) -> intervals.Spread:
    """Return the spread of a difference of shares of two independent samples of images.

    Args:
        first: Of the same runs on one sample.
        second: On the other.
        differences: Of every run, shape (runs, 1).
    """
    between = np.zeros_like(first.between)
    if first.runs > 1:
        between = differences.var(axis=0, ddof=1)
    return intervals.Spread(
        value=first.value - second.value,
        runs=first.runs,
        images=first.images + second.images,
        own=first.own + second.own,
        single=first.single + second.single,
        between=between,
        df_images=np.minimum(first.df_images, second.df_images),
    )


def share_of(found: intervals.Estimate, n: int) -> tuple[float, tuple[float, float]]:
    """Return a share and the bounds of its interval."""
    low, high = proportions.score_interval(found, np.array([n]))
    return float(found.value[0]), (float(low[0]), float(high[0]))


def _score(
    names: Names,
    found: Found,
    eval_set: str,
    metric: str,
    value: float,
    bounds: tuple[float | None, float | None],
    layout: proportions.Layout,
) -> Score:
    training_set, recipe, seed = found.run
    return Score(
        dataset=names.dataset,
        training_set=training_set,
        recipe=recipe,
        seed=seed,
        eval_set=eval_set,
        metric=metric,
        value=value,
        ci_low=bounds[0],
        ci_high=bounds[1],
        n=layout.n,
        seeds=len(found.runs),
        sources=sources_over(len(found.runs), bounds[0]),
        distinct=layout.units,
    )
