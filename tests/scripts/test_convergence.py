"""Learning curves and train-test gaps: numbers by hand, in the table and in the figure."""

import csv
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from capsynth.errors import CapsynthError
from capsynth.learning_curves import pack_answers, unpack_answers
from capsynth.predictions import read_predictions
from capsynth.records import read_records
from capsynth.reporting.convergence import CurvePoint
from capsynth.reporting.scores import Score, index_scores, read_scores
from make_convergence_table import main as make_convergence_table
from measure_convergence import main as measure_convergence
from plot_learning_curves import main as plot_learning_curves

TRAINING_SETS = ("real", "class-name", "caption")
SEEDS = (0, 1, 2)
STEPS = (2, 4, 6, 8)
# Held-out images: 30 of a class; accuracy rises by step, and images differ in ease.
CLASSES = np.repeat([0, 1, 2], 30)
OWN_CLASSES = np.repeat([0, 1, 2], 8)


def history_of(rng: np.random.Generator, level: float) -> dict[str, Any]:
    ease = np.random.default_rng(5).normal(size=len(CLASSES))
    curve = []
    for place, step in enumerate(STEPS):
        correct = ease + rng.normal(size=len(CLASSES)) + level + 0.3 * place > 0.0
        point = {"step": step, "images_seen": 3 * step, **pack_answers(correct)}
        curve.append(point)
    own = pack_answers(rng.random(len(OWN_CLASSES)) < 0.9)
    own |= {"classes": OWN_CLASSES.tolist(), "sources": list(range(len(OWN_CLASSES)))}
    return {
        "images": 24,
        "curve": curve,
        "curve_classes": CLASSES.tolist(),
        "own_images": own,
    }


@pytest.fixture(scope="module")
def histories(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Path]:
    folder = tmp_path_factory.mktemp("histories")
    rng = np.random.default_rng(3)
    files = {}
    for (place, name), seed in itertools.product(enumerate(TRAINING_SETS), SEEDS):
        files[name, seed] = folder / f"{name}-{seed}.json"
        files[name, seed].write_text(json.dumps(history_of(rng, 0.3 * place - 0.6)))
    return files


def measure(
    folder: Path, files: dict[tuple[str, int], Path], predictions: list[Path]
) -> tuple[list[CurvePoint], list[Score]]:
    line = ["--dataset", "toy", "--curve-set", "toy-held-out"]
    for (name, seed), path in files.items():
        line += ["--run", name, "tiny", str(seed), str(path)]
    if predictions:
        line += ["--predictions", *map(str, predictions)]
    curves, output = folder / "learning-curves.csv", folder / "convergence.csv"
    measure_convergence([*line, "--curves", str(curves), "--output", str(output)])
    return read_records(curves, CurvePoint, "measure_convergence"), read_scores(output)


@pytest.fixture(scope="module")
def in_distribution(prediction_files: list[Path]) -> list[Path]:
    return [path for path in prediction_files if path.stem == "toy-val"]


@pytest.fixture(scope="module")
def measured(
    tmp_path_factory: pytest.TempPathFactory,
    histories: dict[tuple[str, int], Path],
    in_distribution: list[Path],
) -> tuple[Path, list[CurvePoint], list[Score]]:
    folder = tmp_path_factory.mktemp("convergence")
    return folder, *measure(folder, histories, in_distribution)


def answers_of(path: Path) -> np.ndarray:
    """Right answers by step, shape (steps, images)."""
    return np.array([unpack_answers(point) for point in json.loads(path.read_text())["curve"]])


def variance_of_sum(values: np.ndarray, classes: np.ndarray) -> float:
    """Variance of a sum over images that are drawn within their class, each on its own.

    Of the u images of a class it is u times the variance within the class, to whose u - 1 degrees
    of freedom one is added of the variance over all classes.
    """
    overall = ((values - values.mean()) ** 2).mean()
    squares = [((v - v.mean()) ** 2).sum() for v in (values[classes == c] for c in set(classes))]
    return float(sum(square + overall for square in squares))


def variance_of_share(correct: np.ndarray, classes: np.ndarray) -> float:
    """Variance of a share: one image's worth is added."""
    return (variance_of_sum(correct * 1.0, classes) + 1.0) / len(correct) ** 2


def wilson(share: float, half: float, n: int) -> list[float]:
    """Wilson's interval, Probable Inference, 1927: the roots of (share - p)² = h p (1 - p)."""
    h = half**2 / (share * (1 - share) + 1 / n)
    return sorted(np.roots([1 + h, -(2 * share + h), share**2]).real.tolist())


def half_width(row: Score) -> float:
    assert row.ci_low is not None
    assert row.ci_high is not None
    return (row.ci_high - row.ci_low) / 2


def test_points_of_a_run_have_the_intervals_of_a_stratified_sample(
    measured: tuple[Path, list[CurvePoint], list[Score]], histories: dict[tuple[str, int], Path]
) -> None:
    points = [p for p in measured[1] if (p.training_set, p.seed) == ("caption", 1)]
    assert [(p.step, p.images_seen, p.images, p.n, p.seeds) for p in points] == [
        (step, 3 * step, 24, 90, 1) for step in STEPS
    ]
    for point, correct in zip(points, answers_of(histories["caption", 1]), strict=True):
        assert point.accuracy == pytest.approx(correct.mean(), abs=1e-6)
        assert point.chance == pytest.approx(1 / 3, abs=1e-6)
        half = stats.norm.ppf(0.975) * variance_of_share(correct, CLASSES) ** 0.5
        bounds = [point.ci_low, point.ci_high]
        assert bounds == pytest.approx(wilson(correct.mean(), half, 90), abs=2e-6)


def test_the_gain_of_the_last_quarter_is_paired_by_image(
    measured: tuple[Path, list[CurvePoint], list[Score]], histories: dict[tuple[str, int], Path]
) -> None:
    index = index_scores(measured[2])
    gains = []
    for row in index.runs["toy", "caption", "tiny", "toy-held-out", "last_quarter_gain"]:
        answers = answers_of(histories["caption", row.seed or 0]) * 1.0
        difference = answers[3] - answers[2]  # after steps 8 and 6
        gains.append(difference.mean())
        assert row.value == pytest.approx(difference.mean(), abs=1e-6)
        assert row.n == 90
        expected = stats.t.ppf(0.975, 90 - 3) * variance_of_sum(difference, CLASSES) ** 0.5 / 90
        assert half_width(row) == pytest.approx(expected, abs=2e-6)
        assert (row.seeds, row.sources, row.distinct) == (1, "images", 90)
    summary = index.summaries["toy", "caption", "tiny", "toy-held-out", "last_quarter_gain"]
    assert summary.value == pytest.approx(np.mean(gains), abs=1e-6)
    assert (summary.seeds, summary.sources) == (3, "images+training-seeds")
    end = index.summaries["toy", "caption", "tiny", "toy-held-out", "held_out_top1"]
    last = [answers_of(histories["caption", seed])[3].mean() for seed in SEEDS]
    assert end.value == pytest.approx(np.mean(last), abs=1e-6)
    (point,) = (
        p for p in measured[1] if p.seed is None and p.training_set == "caption" and p.step == 8
    )
    assert (point.accuracy, point.ci_low, point.ci_high) == (end.value, end.ci_low, end.ci_high)
    assert point.seeds == 3


def test_accuracy_in_distribution_is_that_of_scores_csv(
    tmp_path: Path,
    histories: dict[tuple[str, int], Path],
    in_distribution: list[Path],
    scores_csv: Path,
) -> None:
    _, rows = measure(tmp_path, histories, in_distribution)
    known = {
        (r.training_set, r.seed): r
        for r in read_scores(scores_csv)
        if r.metric == "top1" and r.eval_set == "toy-val" and " - " not in r.training_set
    }
    found = {(r.training_set, r.seed): r for r in rows if r.metric == "top1"}
    assert found == known
    assert len(found) == len(TRAINING_SETS) * (len(SEEDS) + 1)


def test_the_gap_holds_the_chance_of_both_samples(
    measured: tuple[Path, list[CurvePoint], list[Score]],
    histories: dict[tuple[str, int], Path],
    in_distribution: list[Path],
) -> None:
    index = index_scores(measured[2])
    for row in index.runs["toy", "real", "tiny", "toy-val", "train_test_gap"]:
        own = json.loads(histories["real", row.seed or 0].read_text())["own_images"]
        train = unpack_answers(own) * 1.0
        (path,) = (p for p in in_distribution if p.parts[-3:-1] == ("real", f"seed{row.seed}"))
        predictions = read_predictions(path)
        test = (predictions.prediction == predictions.target) * 1.0
        assert row.value == pytest.approx(train.mean() - test.mean(), abs=1e-6)
        variance = variance_of_share(train, OWN_CLASSES)
        variance += variance_of_share(test, predictions.target)
        assert half_width(row) == pytest.approx(stats.norm.ppf(0.975) * variance**0.5, abs=2e-6)
        assert row.n == len(test)
    own_row = index.runs["toy", "real", "tiny", "training-set", "train_top1"][0]
    assert own_row.n == len(OWN_CLASSES)


def test_images_of_one_source_are_drawn_together(
    tmp_path: Path, histories: dict[tuple[str, int], Path]
) -> None:
    alone = {("real", 0): histories["real", 0]}
    value = json.loads(alone["real", 0].read_text())
    # Twins of one answer: 24 images say as much as 12, whose sum counts twice.
    once = np.arange(12) % 3 > 0
    twice = {**pack_answers(np.repeat(once, 2)), "sources": (np.arange(24) // 2).tolist()}
    value["own_images"] |= twice
    twins = tmp_path / "twins.json"
    twins.write_text(json.dumps(value))
    _, rows = measure(tmp_path, {("real", 0): twins}, [])
    (row,) = (r for r in rows if r.metric == "train_top1" and r.seed == 0)
    variance = (variance_of_sum(2.0 * once, OWN_CLASSES[::2]) + 24 / 12) / 24**2
    half = stats.t.ppf(0.975, 12 - 3) * variance**0.5
    assert [row.ci_low, row.ci_high] == pytest.approx(wilson(once.mean(), half, 24), abs=2e-6)
    assert (row.n, row.distinct) == (24, 12)
    assert {r.metric for r in rows} == {"held_out_top1", "last_quarter_gain", "train_top1"}


def other(value: dict[str, Any], kind: str) -> None:
    if kind == "images":
        value["curve_classes"] = CLASSES[::-1].tolist()
    elif kind == "own":
        value["own_images"]["sources"][0] = 99
    elif kind == "steps":
        for point in value["curve"]:
            point["step"] += 1
    elif kind == "points":
        value["curve"] = value["curve"][::2]  # after steps 2 and 6: the quarter begins after 5
    else:
        value["curve"][0]["n"] = 12


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("images", "measured on other held-out images"),
        ("own", "measured on other images of its training set"),
        ("steps", "other seeds of real have other steps"),
        ("damage", "bits are not those of 12 answers"),
    ],
)
def test_histories_that_do_not_belong_together_are_refused(
    tmp_path: Path, histories: dict[tuple[str, int], Path], kind: str, message: str
) -> None:
    value = json.loads(histories["real", 1].read_text())
    other(value, kind)
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(value))
    with pytest.raises(CapsynthError, match=message):
        measure(tmp_path, {("real", 0): histories["real", 0], ("real", 1): changed}, [])


def test_a_curve_without_a_point_at_three_quarters_is_refused(
    tmp_path: Path, histories: dict[tuple[str, int], Path]
) -> None:
    value = json.loads(histories["real", 1].read_text())
    other(value, "points")
    changed = tmp_path / "changed.json"
    changed.write_text(json.dumps(value))
    with pytest.raises(CapsynthError, match=r"no point after step 5 of 6; make .* multiple of 4"):
        measure(tmp_path, {("real", 1): changed}, [])


def test_a_run_without_predictions_has_no_gap_and_is_told(
    tmp_path: Path, histories: dict[tuple[str, int], Path], in_distribution: list[Path]
) -> None:
    few = [path for path in in_distribution if path.parts[-2] != "seed2"]
    with pytest.raises(CapsynthError, match="caption, tiny, seed 2 has no predictions on toy-val"):
        measure(tmp_path, histories, few)


def test_the_table_says_who_still_rises_with_images_chance_and_seeds(
    measured: tuple[Path, list[CurvePoint], list[Score]], settings_json: str, tmp_path: Path
) -> None:
    folder, _, rows = measured
    line = ["--curves", str(folder / "learning-curves.csv")]
    line += ["--convergence", str(folder / "convergence.csv"), "--config-json", settings_json]
    make_convergence_table([*line, "--output-dir", str(tmp_path)])
    with (tmp_path / "convergence.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["training_set"] for row in table] == list(TRAINING_SETS)
    index = index_scores(rows)
    for row in table:
        gain = index.summaries[
            "toy", row["training_set"], "tiny", "toy-held-out", "last_quarter_gain"
        ]
        assert float(row["last_quarter_gain"]) == pytest.approx(100 * gain.value, abs=1e-3)
        assert gain.ci_low is not None
        rising = row["at_the_end"] == "rising"
        assert rising == (gain.ci_low > 0)
        assert (row["images"], row["steps"], row["images_seen"]) == ("24", "8", "24")
    note = (tmp_path / "convergence.md").read_text()
    assert "90 real images of toy-held-out" in note
    assert "right on 33.3 % of them; 3 seeds" in note
    assert "Own images: 24" in note
    assert "toy-val" in note


def test_the_figure_has_a_line_and_the_budget_of_each_training_set(
    measured: tuple[Path, list[CurvePoint], list[Score]], settings_json: str, tmp_path: Path
) -> None:
    from matplotlib.figure import Figure

    drawn: list[Figure] = []
    line = ["--curves", str(measured[0] / "learning-curves.csv"), "--config-json", settings_json]
    with pytest.MonkeyPatch.context() as patch:
        saved = Figure.savefig
        patch.setattr(
            Figure,
            "savefig",
            lambda figure, *a, **k: (drawn.append(figure), saved(figure, *a, **k)),
        )
        plot_learning_curves([*line, "--output", str(tmp_path / "c.svg"), str(tmp_path / "c.png")])
    (axes,) = drawn[0].axes
    lines = {str(one.get_label()): one for one in axes.lines}
    means = {
        name: [p.accuracy for p in measured[1] if p.training_set == name and p.seed is None]
        for name in TRAINING_SETS
    }
    for name in TRAINING_SETS:
        drawn_line = lines[f"{name} (24 images, 8 steps)"]
        assert list(drawn_line.get_xdata()) == list(STEPS)
        assert list(drawn_line.get_ydata()) == pytest.approx(means[name])
    chance = [one for one in axes.lines if list(one.get_xdata()) == [0, 1]]
    assert chance[0].get_ydata()[0] == pytest.approx(1 / 3, abs=1e-6)
    assert (tmp_path / "c.png").stat().st_size > 0


def test_without_a_curve_there_is_no_figure(tmp_path: Path, settings_json: str) -> None:
    path = tmp_path / "learning-curves.csv"
    path.write_text(",".join(CurvePoint.__dataclass_fields__) + "\n")
    line = ["--curves", str(path), "--config-json", settings_json]
    with pytest.raises(CapsynthError, match=r"no learning curve; set learning_curves\.eval_set"):
        plot_learning_curves([*line, "--output", str(tmp_path / "c.svg")])
