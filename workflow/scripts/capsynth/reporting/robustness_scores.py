"""Effective robustness and corruption errors of every run, and the lines they are measured from."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from capsynth import metrics, robustness, statistics
from capsynth.errors import CapsynthError
from capsynth.names import check_name
from capsynth.reporting.estimation import bounds_of, score_accuracy, sources_over
from capsynth.reporting.scores import (
    Answers,
    Measure,
    Replicated,
    RunName,
    Score,
    design_of,
    in_order,
    over_seeds,
    read_answers,
    replicate,
    seeds_of,
    sources_of,
    weights_of,
)
from capsynth.seeding import derive_seed

Floats = npt.NDArray[np.floating]

CONTROLS = "controls"
PUBLISHED = "published"
# Accuracies in distribution at which lines are drawn: evenly on the logit axis.
GRID = np.linspace(robustness.logit(0.005, 1000), robustness.logit(0.995, 1000), 101)


@dataclass(frozen=True)
class RobustnessSettings:
    """What robustness is measured of.

    Attributes:
        in_distribution: The evaluation set that shifted ones are set against.
        clean: For some shifted sets, the set that takes its place, such as the clean images of
            the same classes.
        published: For some shifted sets, the name of the published line they belong to.
        controls: Training sets of real images only: a line is fitted to them.
        mce_obstacles: Of corruption sets, why they have no mCE; empty text where AlexNet's
            errors on the published ImageNet-C are the baseline (``corruption_baselines``).
    """

    in_distribution: str
    clean: dict[str, str]
    published: dict[str, str]
    controls: tuple[str, ...]
    mce_obstacles: dict[str, str]

    def inside(self, eval_set: str) -> str:
        """Return the set in distribution that belongs to a shifted one."""
        return self.clean.get(eval_set, self.in_distribution)

    def has_mce(self, eval_set: str) -> bool:
        """Return whether AlexNet's errors are the baseline of a corruption set."""
        return self.mce_obstacles.get(eval_set) == ""


@dataclass(frozen=True)
class LinePoint:
    """A point of the line that accuracy out of distribution is expected on.

    Attributes:
        dataset: Name of the dataset.
        eval_set: Name of the shifted evaluation set.
        fit: ``controls`` or ``published``.
        classifiers: How many the line is fitted to.
        slope: Of the line between logits.
        intercept: Of the line between logits.
        lowest: Least accuracy in distribution of the fitted classifiers.
        highest: Greatest.
        accuracy: Accuracy in distribution.
        expected: Accuracy out of distribution.
        ci_low: Lower bound of the 95 % band; None for published lines, which have none.
        ci_high: Upper bound.
    """

    dataset: str
    eval_set: str
    fit: str
    classifiers: int
    slope: float
    intercept: float
    lowest: float
    highest: float
    accuracy: float
    expected: float
    ci_low: float | None
    ci_high: float | None


def published_line(name: str) -> robustness.LogitLine:
    """Return a published line by the name of its shifted set in the ImageNet testbed."""
    lines = {outside: line for (_, outside), line in robustness.PUBLISHED_LINES.items()}
    return lines[check_name("published line", name, lines)]


def measure_robustness(
    paths: Sequence[Path], settings: RobustnessSettings, draws: int
) -> tuple[list[Score], list[LinePoint]]:
    """Return the rows of robustness.csv, and the lines.

    ``effective_robustness`` is accuracy above the line through the controls, each the mean of its
    runs; controls have none, for the line is theirs, and fewer than six give no line. Its interval
    holds images, seeds and the line. ``effective_robustness/published`` is accuracy above a
    published line, which is taken as given. Where accuracy is not clearly above chance on both
    sets, a control takes no part in the line and no training set has a number. Of corruption sets
    there are ``mean_error``; ``added_error``, what corruptions add to the error on the same images,
    where these are in the clean set; and, of the published ImageNet-C, ``mce`` and
    ``relative_mce`` with AlexNet as baseline.

    Args:
        paths: Predictions on the evaluation sets, in any order.
        settings: What is set against what.
        draws: Bootstrap replicates.

    Raises:
        CapsynthError: If no run answered the evaluation set in distribution.
    """
    answered = read_answers(paths)
    rows: list[Score] = []
    points: list[LinePoint] = []
    for dataset in sorted({dataset for dataset, _ in answered}):
        sets = {name: answers for (of, name), answers in answered.items() if of == dataset}
        if settings.in_distribution not in sets:
            raise CapsynthError(
                f"no run of {dataset} has predictions on {settings.in_distribution!r}; evaluate "
                "the runs on it or change report.in_distribution"
            )
        accuracies = {name: _accuracies(answers, draws) for name, answers in sets.items()}
        for name, answers in sets.items():
            if name != settings.in_distribution and name not in settings.clean.values():
                inside = settings.inside(name)
                pair = (sets[inside], answers)
                found = _above_lines(pair, (accuracies[inside], accuracies[name]), settings, points)
                rows += found
            rows += _corruption_rows(answers, sets.get(settings.inside(name)), settings, draws)
    return in_order(rows), points


def _accuracies(answers: Answers, draws: int) -> dict[RunName, Replicated]:
    """Return top-1 accuracy of every run and its replicates."""
    samples = answers.samples
    design = design_of(samples)
    everything = Measure("top1", metrics.METRICS["top1"], np.arange(len(samples.keys)))
    return replicate(samples, answers.runs, [everything], design, draws)


def _above_lines(
    pair: tuple[Answers, Answers],
    accuracies: tuple[dict[RunName, Replicated], dict[RunName, Replicated]],
    settings: RobustnessSettings,
    points: list[LinePoint],
) -> list[Score]:
    """Return what runs have above the lines of one shifted set; add the lines to ``points``."""
    samples = pair[1].samples
    n = (len(pair[0].samples.keys), len(samples.keys))
    df = _df(pair[1])
    clear = _above_chance(pair[0]) & _above_chance(pair[1])
    both = {
        key: seeds
        for key, seeds in seeds_of(set(accuracies[0]) & set(accuracies[1])).items()
        if key in clear
    }
    rows: list[Score] = []
    if name := settings.published.get(samples.eval_set):
        line = published_line(name)
        points += _points(samples.dataset, samples.eval_set, PUBLISHED, line, None)
        above = _effective(accuracies, n, line, line)
        rows += _rows(pair[1], both, above, ["effective_robustness/published"], df, (-1.0, 1.0))
    controls = {key: seeds for key, seeds in both.items() if key[0] in settings.controls}
    fitted = _control_line(samples.dataset, samples.eval_set, accuracies, controls, n)
    if fitted is not None:
        line, replicates = fitted
        points += _points(samples.dataset, samples.eval_set, CONTROLS, line, replicates)
        others = {key: seeds for key, seeds in both.items() if key[0] not in settings.controls}
        above = _effective(accuracies, n, line, replicates)
        df = min(df, line.classifiers - 2)
        rows += _rows(pair[1], others, above, ["effective_robustness"], df, (-1.0, 1.0))
    return rows


def _above_chance(answers: Answers) -> set[tuple[str, str]]:
    """Return the training sets and recipes whose accuracy is clearly above chance."""
    _, sizes = np.unique(answers.samples.targets, return_counts=True)
    chance = sizes.max() / sizes.sum()
    return {
        (row.training_set, row.recipe)
        for row in score_accuracy(answers)
        if row.ci_low is not None and row.ci_low > chance
    }


def _df(answers: Answers) -> int:
    samples = answers.samples
    design = design_of(samples)
    return statistics.image_df(design, np.arange(len(samples.keys)))


def _control_line(
    dataset: str,
    eval_set: str,
    accuracies: tuple[dict[RunName, Replicated], dict[RunName, Replicated]],
    controls: Mapping[tuple[str, str], Sequence[int]],
    n: tuple[int, int],
) -> tuple[robustness.LogitLine, robustness.LogitLine] | None:
    """Return the line through the controls and its replicates; None if they give none."""
    if len(controls) < robustness.LEAST_CONTROLS:
        return None
    means: list[Floats] = []
    drawn: list[Floats] = []
    for of_runs, size in zip(accuracies, n, strict=True):
        found = [over_seeds(of_runs, *key, seeds) for key, seeds in controls.items()]
        # A mean over seeds is a share of so many answers more.
        answers = [size * len(seeds) for seeds in controls.values()]
        pairs = list(zip(found, answers, strict=True))
        means.append(np.array([robustness.logit(f.values.mean(), m) for f, m in pairs]))
        drawn.append(
            np.stack([robustness.logit(f.replicates.mean(axis=0)[:, 0], m) for f, m in pairs], 1)
        )
    rng = np.random.default_rng(derive_seed("bootstrap", "line", dataset, eval_set))
    # All controls alike, in some draw of a few images: there is no line.
    if any((np.ptp(x, axis=-1) == 0.0).any() for x in (means[0], drawn[0])):
        return None
    line = robustness.fit_line(means[0], means[1])
    return line, robustness.replicate_line(means[0], means[1], drawn[0], drawn[1], rng)


def _effective(
    accuracies: tuple[dict[RunName, Replicated], dict[RunName, Replicated]],
    n: tuple[int, int],
    line: robustness.LogitLine,
    replicates: robustness.LogitLine,
) -> dict[RunName, Replicated]:
    """Return effective robustness of every run, with that of replicates above their lines."""

    def above(inside: Floats, outside: Floats, by: robustness.LogitLine) -> Floats:
        logits = robustness.logit(inside[..., 0], n[0])
        return robustness.effective_robustness(logits, outside[..., 0], by)[..., None]

    return {
        run: Replicated(
            above(accuracies[0][run].values, accuracies[1][run].values, line),
            above(accuracies[0][run].replicates, accuracies[1][run].replicates, replicates),
        )
        for run in accuracies[0].keys() & accuracies[1].keys()
    }


def _points(
    dataset: str,
    eval_set: str,
    fit: str,
    line: robustness.LogitLine,
    replicates: robustness.LogitLine | None,
) -> list[LinePoint]:
    expected = line.expected(GRID)
    low, high = (None, None) if replicates is None else robustness.band(line, replicates, GRID)
    return [
        LinePoint(
            dataset,
            eval_set,
            fit,
            line.classifiers,
            float(line.slope),
            float(line.intercept),
            line.lowest,
            line.highest,
            float(1.0 / (1.0 + np.exp(-x))),
            float(expected[i]),
            None if low is None else float(low[i]),
            None if high is None else float(high[i]),
        )
        for i, x in enumerate(GRID)
    ]


def _rows(
    answers: Answers,
    seeds: Mapping[tuple[str, str], Sequence[int]],
    replicated: dict[RunName, Replicated],
    names: Sequence[str],
    df: int,
    limits: tuple[float, float],
) -> list[Score]:
    """Return one row a run and metric, and one a summary over seeds and metric."""
    samples = answers.samples
    distinct = len(design_of(samples).stratum)
    rows = []
    for (training_set, recipe), its_seeds in seeds.items():
        of_runs = [(seed, replicated[RunName(training_set, recipe, seed)]) for seed in its_seeds]
        summary = over_seeds(replicated, training_set, recipe, its_seeds)
        for seed, result in ((None, summary), *of_runs):
            found = result.estimate(np.full(len(names), df))
            for column, name in enumerate(names):
                bounds = bounds_of(found, column, *limits)
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


def _corruption_rows(
    answers: Answers, clean: Answers | None, settings: RobustnessSettings, draws: int
) -> list[Score]:
    """Return the mean errors of a corruption set; none of any other set."""
    samples = answers.samples
    sources, levels = sources_of(samples.keys.tolist())
    if levels is None:
        return []
    kinds, severities = (sorted(set(names)) for names in zip(*levels, strict=True))
    member = np.zeros((len(levels), len(kinds), len(severities)))
    for i, (kind, severity) in enumerate(levels):
        member[i, kinds.index(kind), severities.index(severity)] = 1.0
    clean_rows = _rows_of_sources(sources, clean)
    of_alexnet = settings.has_mce(samples.eval_set)
    names = ["mean_error"]
    names += ["added_error"] if clean_rows is not None else []
    names += ["mce"] if of_alexnet else []
    names += ["relative_mce"] if of_alexnet and clean_rows is not None else []
    first_of_source = {source: i for i, source in reversed(list(enumerate(sources)))}
    once = np.array(list(first_of_source.values()))

    def measure(weights: Floats, run: RunName) -> Floats:
        wrong = 1.0 - answers.runs[run].correct.astype(np.float64)
        mass = np.tensordot(weights, member, axes=1)
        errors = np.tensordot(weights * wrong, member, axes=1) / mass
        mean = errors.mean(axis=(1, 2))
        columns = {"mean_error": mean}
        if of_alexnet:
            columns["mce"] = robustness.mean_corruption_error(errors, kinds)
        if clean is not None and clean_rows is not None:
            # The same draw of photographs, uncorrupted.
            right = clean.runs[run].correct[[clean_rows[source] for source in first_of_source]]
            base = 1.0 - metrics.weighted_mean(right, weights[:, once])
            columns["added_error"] = mean - base
            if of_alexnet:
                columns["relative_mce"] = robustness.relative_corruption_error(errors, base, kinds)
        return np.stack([columns[name] for name in names], axis=1)

    design = design_of(samples)
    runs = [run for run in answers.runs if clean_rows is None or run in _runs(clean)]
    blocks: dict[RunName, list[Floats]] = defaultdict(list)
    for weights in weights_of(samples, design, draws):
        for run in runs:
            blocks[run].append(measure(weights, run))
    ones = np.ones((1, len(levels)))
    replicated = {
        run: Replicated(measure(ones, run), np.concatenate(blocks[run])[None]) for run in runs
    }
    return _rows(answers, seeds_of(runs), replicated, names, _df(answers), (-np.inf, np.inf))


def _runs(answers: Answers | None) -> Mapping[RunName, metrics.SampleScores]:
    return {} if answers is None else answers.runs


def _rows_of_sources(sources: Sequence[str], clean: Answers | None) -> dict[str, int] | None:
    """Return where the clean set has the photographs; None if it has not all of them."""
    if clean is None:
        return None
    rows = {key: i for i, key in enumerate(clean.samples.keys.tolist())}
    wanted = set(sources)
    return {key: rows[key] for key in wanted} if wanted <= rows.keys() else None
