import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from torchmetrics.functional.classification import multiclass_calibration_error

from capsynth import calibration
from capsynth.errors import CapsynthError
from capsynth.predictions import Predictions, read_predictions
from capsynth.records import read_records
from capsynth.reporting import measured_figures
from capsynth.reporting.calibration_scores import ReliabilityBin
from capsynth.reporting.scores import Score, index_scores, read_scores
from make_calibration_table import main as make_calibration_table
from measure_calibration import main as measure_calibration
from plot_reliability import main as plot_reliability


@pytest.fixture(scope="session")
def calibrated(
    prediction_files: list[Path],
    calibration_files: list[Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The folder of calibration.csv and reliability.csv."""
    return measure(prediction_files, calibration_files, tmp_path_factory.mktemp("calibrated"))


def measure(files: list[Path], fitted: list[Path], folder: Path) -> Path:
    measure_calibration(
        ["--predictions", *map(str, files), "--calibration", *map(str, fitted), "--draws", "200",
         "--output", str(folder / "calibration.csv"),
         "--reliability", str(folder / "reliability.csv")]
    )  # fmt: skip
    return folder


def run_of(files: list[Path], training_set: str, seed: int, eval_set: str) -> Predictions:
    (path,) = (
        f for f in files if f.parts[-3:] == (training_set, f"seed{seed}", f"{eval_set}.parquet")
    )
    return read_predictions(path)


def row_of(rows: list[Score], metric: str, eval_set: str = "toy-r") -> Score:
    return next(
        r
        for r in index_scores(rows).runs["toy", "caption", "tiny", eval_set, metric]
        if r.seed == 1
    )


def test_metrics_agree_with_torchmetrics_and_scikit_learn_before_and_after_scaling(
    calibrated: Path, prediction_files: list[Path], calibration_files: list[Path]
) -> None:
    rows = read_scores(calibrated / "calibration.csv")
    fitted = run_of(calibration_files, "caption", 1, "toy-calibration")
    temperature = calibration.fit_temperature(fitted.probabilities, fitted.target)
    assert row_of(rows, "temperature", "toy-calibration").value == pytest.approx(
        temperature, abs=1e-6
    )
    run = run_of(prediction_files, "caption", 1, "toy-r")
    hotter = np.log(run.probabilities.astype(float)) / temperature
    scaled = np.exp(hotter) / np.exp(hotter).sum(axis=1, keepdims=True)
    for mark, probabilities in (("", run.probabilities), ("/scaled", scaled)):
        theirs = multiclass_calibration_error(
            torch.from_numpy(probabilities.astype(float)), torch.from_numpy(run.target),
            num_classes=3, n_bins=15,
        )  # fmt: skip
        assert row_of(rows, f"ece{mark}").value == pytest.approx(float(theirs), abs=1e-6)
        nll = log_loss(run.target, probabilities.astype(float), labels=[0, 1, 2])
        assert row_of(rows, f"nll{mark}").value == pytest.approx(nll, abs=1e-6)


def test_summaries_are_means_of_runs_inside_their_intervals(calibrated: Path) -> None:
    index = index_scores(read_scores(calibrated / "calibration.csv"))
    assert len(index.summaries) == 3 * (3 * 12 + 1)
    for name, row in index.summaries.items():
        runs = index.runs[name]
        assert len(runs) == 3
        assert row.value == pytest.approx(np.mean([run.value for run in runs]), abs=2e-6)
        assert row.ci_low is not None
        assert row.ci_high is not None
        assert row.ci_low <= row.value <= row.ci_high


def test_bins_pool_the_runs_of_a_training_set(
    calibrated: Path, prediction_files: list[Path]
) -> None:
    bins = read_records(calibrated / "reliability.csv", ReliabilityBin, "measure_calibration")
    found = [
        b for b in bins if (b.training_set, b.eval_set, b.scaled) == ("caption", "toy-val", False)
    ]
    runs = [run_of(prediction_files, "caption", seed, "toy-val") for seed in range(3)]
    confidence = np.concatenate([run.probabilities.max(axis=1) for run in runs])
    right = np.concatenate([run.prediction == run.target for run in runs])
    assert sum(b.share for b in found) == pytest.approx(1.0, abs=1e-5)
    for one in found:
        inside = (confidence > one.low) & (confidence <= one.high)
        assert one.share == pytest.approx(inside.mean(), abs=1e-5)
        assert one.accuracy == pytest.approx(right[inside].mean(), abs=1e-5)
        assert one.confidence == pytest.approx(confidence[inside].mean(), abs=1e-5)
        assert one.ci_low < one.ci_high


def test_without_a_calibration_set_nothing_is_scaled(
    prediction_files: list[Path], settings_json: str, tmp_path: Path
) -> None:
    measure(prediction_files, [], tmp_path)
    metrics = {row.metric for row in read_scores(tmp_path / "calibration.csv")}
    assert metrics == {
        "ece",
        "adaptive_ece",
        "adaptive_ece_shared",
        "classwise_ece",
        "nll",
        "brier",
    }
    make_calibration_table(["--calibration", str(tmp_path / "calibration.csv"), "--config-json",
                            settings_json, "--output-dir", str(tmp_path)])  # fmt: skip
    text = (tmp_path / "calibration.md").read_text()
    assert "No calibration set is configured" in text
    assert "| temperature" not in text


def test_a_run_without_predictions_on_the_calibration_set_is_refused(
    prediction_files: list[Path], calibration_files: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(CapsynthError, match="has no predictions on the calibration set"):
        measure(prediction_files, calibration_files[1:], tmp_path)


def test_a_run_that_is_given_twice_is_refused(
    prediction_files: list[Path], calibration_files: list[Path], tmp_path: Path
) -> None:
    with pytest.raises(CapsynthError, match="is given twice"):
        measure([*prediction_files, prediction_files[0]], calibration_files, tmp_path)
    with pytest.raises(CapsynthError, match="is given twice"):
        measure(prediction_files, [*calibration_files, calibration_files[0]], tmp_path)


def test_the_table_has_both_scalings_of_every_training_and_evaluation_set(
    calibrated: Path, settings_json: str, tmp_path: Path
) -> None:
    make_calibration_table(["--calibration", str(calibrated / "calibration.csv"), "--config-json",
                            settings_json, "--output-dir", str(tmp_path)])  # fmt: skip
    rows = list(csv.DictReader((tmp_path / "calibration.csv").open()))
    assert len(rows) == 3 * 3 * 2
    assert [row["temperature"] == "" for row in rows[:2]] == [True, False]
    assert "fitted on toy-calibration" in (tmp_path / "calibration.md").read_text()


def test_reliability_has_lines_where_an_even_guess_is(
    calibrated: Path, settings_json: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    monkeypatch.setattr(measured_figures, "save_figure", lambda figure, paths: drawn.append(figure))
    args = ["--reliability", str(calibrated / "reliability.csv"), "--config-json", settings_json]
    plot_reliability([*args, "--eval-set", "toy-val", "--output", "unused.svg"])
    (figure,) = drawn
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert panels
    for axes in panels:
        lines = [(list(line.get_xdata()), list(line.get_ydata())) for line in axes.get_lines()]
        # Three classes.
        assert ([0, 1], [1 / 3, 1 / 3]) in lines
        assert ([1 / 3, 1 / 3], [0, 1]) in lines


def test_reliability_is_drawn_and_an_unknown_set_refused(
    calibrated: Path, settings_json: str, tmp_path: Path
) -> None:
    args = ["--reliability", str(calibrated / "reliability.csv"), "--config-json", settings_json]
    svg = tmp_path / "r.svg"
    plot_reliability([*args, "--eval-set", "toy-c", "--output", str(svg)])
    assert "<svg" in svg.read_text()
    with pytest.raises(CapsynthError, match="no reliability on 'toy-x'"):
        plot_reliability([*args, "--eval-set", "toy-x", "--output", str(svg)])
