"""Who has converged, and who has learned by heart: learning curves and train-test gaps."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from capsynth import statistics
from capsynth.errors import CapsynthError
from capsynth.files import read_json
from capsynth.integrity import unreadable
from capsynth.learning_curves import quarter_step, unpack_answers
from capsynth.reporting.estimation import sources_over
from capsynth.reporting.scores import (
    Answers,
    Replicated,
    RunName,
    Score,
    design_of,
    in_order,
    over_seeds,
    read_answers,
    seeds_of,
    weights_of,
)
from capsynth.seeding import derive_seed

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
    def design(self) -> statistics.ImageDesign:
        """Which images are drawn together."""
        return statistics.image_design(list(map(str, self.classes)), list(map(str, self.sources)))

    @property
    def df(self) -> int:
        """Degrees of freedom of the images' variance."""
        return statistics.image_df(self.design, np.arange(len(self.classes)))

    def replicate(self, draws: int, seed: int) -> Replicated:
        """Return accuracies and their replicates, (1, times) and (1, draws, times)."""
        values = self.correct.mean(axis=1)[None]
        right = self.correct.T.astype(np.float64)
        blocks = [
            weights @ right / weights.sum(axis=1, keepdims=True)
            for weights in statistics.image_weights(self.design, draws, seed)
        ]
        return Replicated(values, np.concatenate(blocks)[None])


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
class Measured:
    """What is measured of all runs.

    Attributes:
        dataset: Name of the dataset.
        curve_set: Name of the set of held-out images.
        draws: Bootstrap replicates.
    """

    dataset: str
    curve_set: str
    draws: int


def measure_convergence(
    histories: dict[RunName, Path], predictions: Sequence[Path], measured: Measured
) -> tuple[list[CurvePoint], list[Score]]:
    """Return the learning curves of all runs, and what they and their train-test gaps come to.

    Scores are, of every run and of the mean over seeds:

    - ``held_out_top1``: accuracy on the held-out images after the last step,
    - ``last_quarter_gain``: that, less the accuracy after three quarters of the steps, paired by
      image and run,
    - ``train_top1``: accuracy on images of the run's own training set, not augmented,
    - ``top1``: accuracy in distribution, as in scores.csv,
    - ``train_test_gap``: ``train_top1`` less ``top1``. The two samples of images are independent,
      so are their draws; degrees of freedom are those of the smaller sample.

    Intervals are those of ``statistics.estimate``: images for a run, seeds as well for a mean.

    Args:
        histories: Of every run.
        predictions: Of the runs on the evaluation set in distribution; none for no gap.
        measured: Names, and the number of draws.

    Raises:
        CapsynthError: If runs were measured on different images, or have no predictions.
    """
    runs = {run: read_history(path) for run, path in sorted(histories.items())}
    points, rows = _curves(runs, measured)
    answers = read_answers(predictions)
    if len(answers) > 1:
        listed = ", ".join(eval_set for _, eval_set in answers)
        raise CapsynthError(f"predictions on several evaluation sets ({listed}); give those on one")
    rows += _gaps(runs, next(iter(answers.values()), None), measured)
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


def _curves(
    runs: dict[RunName, RunHistory], measured: Measured
) -> tuple[list[CurvePoint], list[Score]]:
    """Return the points of all learning curves, and accuracy at their end with its late gain."""
    seed = derive_seed("bootstrap", "images", measured.dataset, measured.curve_set)
    with_curve = {run: (h, h.curve) for run, h in runs.items() if h.curve is not None}
    points: list[CurvePoint] = []
    rows: list[Score] = []
    replicated: dict[RunName, Replicated] = {}
    for name, found in with_curve.items():
        _check_same(next(iter(with_curve.values())), found, "held-out images")
        replicated[name] = found[1].replicate(measured.draws, seed)
    for run, result, its_seeds in _with_summaries(replicated):
        history, curve = with_curve[RunName(run[0], run[1], its_seeds[0])]
        if any(runs[RunName(run[0], run[1], s)].steps != history.steps for s in its_seeds):
            raise CapsynthError(
                f"{history.path}: other seeds of {run[0]} have other steps; run train_classifier "
                "again"
            )
        df = np.full(len(history.steps), curve.df)
        estimate = result.estimate(df)
        n = len(curve.classes)
        chance = float(max(np.bincount(curve.classes)) / n)
        points += [
            CurvePoint(
                measured.dataset,
                *run,
                measured.curve_set,
                step,
                history.images_seen[place],
                history.images,
                float(estimate.value[place]),
                max(0.0, float(estimate.low[place])),
                min(1.0, float(estimate.high[place])),
                n,
                len(its_seeds),
                chance,
            )
            for place, step in enumerate(history.steps)
        ]
        late = _of_last_quarter(history, result)
        for metric, of, least in ((HELD_OUT, _column(result, -1), 0.0), (GAIN, late, -1.0)):
            rows.append(_score(measured, run, measured.curve_set, metric, of, curve.df, n, least))
    return points, rows


def _of_last_quarter(history: RunHistory, result: Replicated) -> Replicated:
    """Return the accuracy at the end less that after three quarters of the steps."""
    begins = quarter_step(history.steps[-1])
    if begins not in history.steps:
        raise CapsynthError(
            f"{history.path}: the learning curve has no point after step {begins} of "
            f"{history.steps[-1]}; make learning_curves.points a multiple of 4"
        )
    last, before = _column(result, -1), _column(result, history.steps.index(begins))
    return Replicated(last.values - before.values, last.replicates - before.replicates)


def _column(result: Replicated, place: int) -> Replicated:
    values = result.values[:, [place]]
    return Replicated(values, result.replicates[:, :, [place]])


Run = tuple[str, str, int | None]


def _with_summaries(
    replicated: dict[RunName, Replicated],
) -> Iterator[tuple[Run, Replicated, list[int]]]:
    """Yield every mean over seeds and every run: training set, recipe and seed, values, seeds."""
    for (training_set, recipe), seeds in seeds_of(replicated).items():
        result = over_seeds(replicated, training_set, recipe, seeds)
        yield (training_set, recipe, None), result, seeds
        for seed in seeds:
            run = RunName(training_set, recipe, seed)
            yield (training_set, recipe, seed), replicated[run], [seed]


def _gaps(
    runs: dict[RunName, RunHistory], answers: Answers | None, measured: Measured
) -> list[Score]:
    """Return accuracies on own images and in distribution, and their gaps."""
    own = {run: (history, history.own) for run, history in runs.items() if history.own is not None}
    first: dict[tuple[str, str], tuple[RunHistory, AnsweredImages]] = {}
    by_metric: dict[str, dict[RunName, Replicated]] = defaultdict(dict)
    test: dict[RunName, Replicated] = {}
    if answers is not None:
        test = _test_accuracies(answers, measured.draws)
    for run, found in own.items():
        of = (run.training_set, run.recipe)
        _check_same(first.setdefault(of, found), found, "images of its training set")
        seed = derive_seed("bootstrap", "own-images", measured.dataset, run.training_set)
        train = by_metric[TRAIN][run] = found[1].replicate(measured.draws, seed)
        if answers is not None:
            if run not in test:
                raise CapsynthError(
                    f"{run.training_set}, {run.recipe}, seed {run.seed} has no predictions on "
                    f"{answers.samples.eval_set}; evaluate the run on it"
                )
            by_metric[TEST][run] = test[run]
            by_metric[GAP][run] = Replicated(
                train.values - test[run].values, train.replicates - test[run].replicates
            )
    rows = []
    for metric, replicated in by_metric.items():
        for name, result, _ in _with_summaries(replicated):
            images = first[name[0], name[1]][1]
            eval_set, n, df = OWN_IMAGES, len(images.classes), images.df
            if answers is not None and metric != TRAIN:
                samples = answers.samples
                eval_set, n = samples.eval_set, len(samples.keys)
                of_test = statistics.image_df(design_of(samples), np.arange(n))
                df = of_test if metric == TEST else min(df, of_test)
            least = -1.0 if metric == GAP else 0.0
            rows.append(_score(measured, name, eval_set, metric, result, df, n, least))
    return rows


def _test_accuracies(answers: Answers, draws: int) -> dict[RunName, Replicated]:
    """Return the accuracy of every run, in the draws of images that scores.csv has."""
    samples = answers.samples
    design = design_of(samples)
    names = list(answers.runs)
    correct = np.stack([answers.runs[run].correct for run in names]).astype(np.float64)
    drawn = np.concatenate(
        [
            weights @ correct.T / weights.sum(axis=1, keepdims=True)
            for weights in weights_of(samples, design, draws)
        ]
    )
    return {
        run: Replicated(correct[[i]].mean(axis=1, keepdims=True), drawn[None, :, [i]])
        for i, run in enumerate(names)
    }


def _score(
    measured: Measured,
    run: Run,
    eval_set: str,
    metric: str,
    result: Replicated,
    df: int,
    n: int,
    least: float,
) -> Score:
    found = result.estimate(np.array([df]))
    return Score(
        dataset=measured.dataset,
        training_set=run[0],
        recipe=run[1],
        seed=run[2],
        eval_set=eval_set,
        metric=metric,
        value=float(found.value[0]),
        ci_low=max(least, float(found.low[0])),
        ci_high=min(1.0, float(found.high[0])),
        n=n,
        seeds=len(result.values),
        sources=sources_over(len(result.values), float(found.low[0])),
    )
