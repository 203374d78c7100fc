import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import special

from capsynth.corruptions import IMAGENET_C
from capsynth.errors import CapsynthError
from capsynth.files import write_json
from capsynth.predictions import Predictions, read_predictions, write_predictions
from capsynth.records import read_records
from capsynth.reporting.estimation import score_accuracy
from capsynth.reporting.robustness_scores import LinePoint, published_line
from capsynth.reporting.scores import index_scores, read_answers, read_scores
from capsynth.reporting.variance_scores import Variance
from capsynth.robustness import ALEXNET_CLEAN_ERROR, ALEXNET_ERROR
from capsynth.statistics import variance_components
from collect_scores import main as collect_scores
from make_robustness_tables import main as make_robustness_tables
from make_variance_table import main as make_variance_table
from measure_robustness import main as measure_robustness
from measure_variance import main as measure_variance
from plot_corruptions import main as plot_corruptions
from plot_curves import main as plot_curves

CONTROLS = ("real", "real-80", "real-65", "real-half", "real-35", "real-quarter")


def runs_on(files: list[Path], training_set: str, eval_set: str) -> list[Predictions]:
    return [
        read_predictions(f)
        for f in sorted(files)
        if f.stem == eval_set and f.parts[-3] == training_set
    ]


def accuracies(files: list[Path], training_set: str, eval_set: str) -> np.ndarray:
    return np.array(
        [np.mean(r.prediction == r.target) for r in runs_on(files, training_set, eval_set)]
    )


def test_the_line_and_what_lies_above_it_agree_with_statsmodels(
    measured: Any, prediction_files: list[Path], control_files: list[Path]
) -> None:
    files = [*prediction_files, *control_files]

    def logits(eval_set: str, n: int) -> np.ndarray:
        means = np.array([accuracies(files, name, eval_set).mean() for name in CONTROLS])
        return special.logit(np.clip(means, 0.5 / (3 * n), 1 - 0.5 / (3 * n)))

    fit = sm.OLS(logits("toy-r", 24), sm.add_constant(logits("toy-val", 24))).fit().params
    points = read_records(measured.lines, LinePoint, "measure_robustness")
    line = next(p for p in points if (p.eval_set, p.fit) == ("toy-r", "controls"))
    assert (line.intercept, line.slope) == pytest.approx(tuple(fit), abs=2e-6)
    assert line.classifiers == 6
    index = index_scores(read_scores(measured.scores))
    inside, outside = (accuracies(files, "caption", name) for name in ("toy-val", "toy-r"))
    clipped = np.clip(inside, 0.5 / 24, 1 - 0.5 / 24)
    expected = outside - special.expit(fit[0] + fit[1] * special.logit(clipped))
    name = ("toy", "caption", "tiny", "toy-r", "effective_robustness")
    assert [row.value for row in index.runs[name]] == pytest.approx(expected.tolist(), abs=2e-6)
    assert index.summaries[name].value == pytest.approx(expected.mean(), abs=2e-6)
    assert not any(key[1] in CONTROLS and key[4] == name[4] for key in index.summaries)


def test_published_lines_are_beside_it_for_the_sets_that_are_named(
    measured: Any, prediction_files: list[Path]
) -> None:
    index = index_scores(read_scores(measured.scores))
    line = published_line("imagenet-r")
    name = ("toy", "real", "tiny", "toy-r", "effective_robustness/published")
    inside = np.clip(accuracies(prediction_files, "real", "toy-val"), 0.5 / 24, 1 - 0.5 / 24)
    expected = accuracies(prediction_files, "real", "toy-r") - line.expected(special.logit(inside))
    assert index.summaries[name].value == pytest.approx(expected.mean(), abs=2e-6)
    assert {key[3] for key in index.summaries if key[4] == name[4]} == {"toy-r"}
    with pytest.raises(CapsynthError, match="did you mean 'imagenet-r'"):
        published_line("imagenet-rr")


def robustness_of(
    files: list[Path], controls: list[str], training_sets: list[str], folder: Path
) -> tuple[list[LinePoint], dict[tuple[str, str], dict[str, str]]]:
    """Return the lines through controls, and the rows of the table by names."""
    names = {"in_distribution": "toy-val", "clean": {}, "published": {}}
    settings = json.dumps({**names, "controls": controls, "mce_obstacles": {}})
    shown = {"in_distribution": "toy-val", "training_sets": training_sets, "comparisons": [],
             "eval_sets": ["toy-val", "toy-r", "toy-c"]}  # fmt: skip
    scores, rows, lines = (folder / f"{name}.csv" for name in ("scores", "rows", "lines"))
    made = ["--predictions", *map(str, files), "--draws", "200"]
    collect_scores([*made, "--output", str(scores)])
    measure_robustness([*made, "--settings", settings, "--output", str(rows),
                        "--lines", str(lines)])  # fmt: skip
    make_robustness_tables(
        ["--scores", str(scores), "--robustness", str(rows), "--lines", str(lines),
         "--config-json", json.dumps(shown), "--settings", settings, "--output-dir", str(folder)]
    )  # fmt: skip
    found = list(csv.DictReader((folder / "robustness.csv").open()))
    by_name = {(row["training_set"], row["eval_set"]): row for row in found}
    return read_records(lines, LinePoint, "measure_robustness"), by_name


def test_five_controls_give_no_line_and_every_cell_says_why(
    prediction_files: list[Path], control_files: list[Path], tmp_path: Path
) -> None:
    files = [*prediction_files, *control_files]
    lines, rows = robustness_of(files, list(CONTROLS[:5]), ["real", "caption"], tmp_path)
    assert lines == []
    for eval_set in ("toy-r", "toy-c"):
        assert rows["caption", eval_set]["effective_robustness"] == ""
        assert rows["caption", eval_set]["effective_robustness_missing"] == "5 of 6 controls"
        assert rows["real", eval_set]["effective_robustness_missing"] == "control"
    for suffix in ("md", "html", "tex"):
        text = (tmp_path / f"robustness.{suffix}").read_text()
        assert "No line is fitted: that needs 6 controls" in text
        assert "5 of 6 controls" in text


def test_what_is_above_chance_is_decided_by_the_intervals_of_the_scores(
    prediction_files: list[Path], scores_csv: Path
) -> None:
    index = index_scores(read_scores(scores_csv))
    compared = 0
    for (dataset, eval_set), answers in read_answers(prediction_files).items():
        for row in score_accuracy(answers):
            theirs = index.summaries[dataset, row.training_set, row.recipe, eval_set, "top1"]
            assert (row.value, row.ci_low, row.ci_high) == pytest.approx(
                (theirs.value, theirs.ci_low, theirs.ci_high), abs=1e-6
            )
            compared += 1
    assert compared == 9


def test_what_is_at_chance_is_no_part_of_the_line_and_gets_no_value(
    prediction_files: list[Path], control_files: list[Path], tmp_path: Path
) -> None:
    # class-name is at chance: as a seventh control it leaves the line as it was, and as a training
    # set that is measured it gets no value.
    files = [*prediction_files, *control_files]
    shown = ["class-name", "caption", "real"]
    for folder in ("six", "seven"):
        (tmp_path / folder).mkdir()
    six, rows = robustness_of(files, list(CONTROLS), shown, tmp_path / "six")
    seven, _ = robustness_of(files, [*CONTROLS, "class-name"], shown, tmp_path / "seven")
    assert {line.classifiers for line in six} == {6}
    assert six == seven
    assert rows["class-name", "toy-r"]["effective_robustness"] == ""
    assert rows["class-name", "toy-r"]["effective_robustness_missing"] == "at chance"
    text = (tmp_path / "six/robustness.md").read_text()
    assert "° not clearly above chance" in text
    assert '<td class="number faint"' in (tmp_path / "six/robustness.html").read_text()


def test_a_shifted_set_is_set_against_its_own_clean_set(
    prediction_files: list[Path], control_files: list[Path], tmp_path: Path
) -> None:
    settings = json.dumps({"in_distribution": "toy-val", "clean": {"toy-r": "toy-c"},
                           "published": {"toy-r": "imagenet-r"}, "controls": [],
                           "mce_obstacles": {}})  # fmt: skip
    rows = tmp_path / "robustness.csv"
    measure_robustness(["--predictions", *map(str, prediction_files), "--settings", settings,
                        "--draws", "100", "--output", str(rows), "--lines",
                        str(tmp_path / "lines.csv")])  # fmt: skip
    found = index_scores(read_scores(rows)).summaries
    inside = accuracies(prediction_files, "caption", "toy-c")
    expected = published_line("imagenet-r").expected(special.logit(inside))
    above = accuracies(prediction_files, "caption", "toy-r") - expected
    name = ("toy", "caption", "tiny", "toy-r", "effective_robustness/published")
    assert found[name].value == pytest.approx(above.mean(), abs=2e-6)


def test_corruption_errors_agree_with_a_naive_loop(
    measured: Any, prediction_files: list[Path]
) -> None:
    found = index_scores(read_scores(measured.scores)).summaries
    errors, clean = [], []
    for run in runs_on(prediction_files, "caption", "toy-c"):
        by_level: dict[str, list[bool]] = {}
        for key, wrong in zip(run.keys, run.prediction != run.target, strict=True):
            by_level.setdefault(key.rsplit(".", 1)[1], []).append(wrong)
        errors.append(np.mean([np.mean(wrong) for wrong in by_level.values()]))
    for run in runs_on(prediction_files, "caption", "toy-val"):
        clean.append(np.mean(run.prediction != run.target))
    name = ("toy", "caption", "tiny", "toy-c")
    assert found[(*name, "mean_error")].value == pytest.approx(np.mean(errors), abs=2e-6)
    added = np.mean(errors) - np.mean(clean)
    assert found[(*name, "added_error")].value == pytest.approx(added, abs=2e-6)
    assert not any(key[4] == "mce" for key in found)


def imagenet_c(
    folder: Path, rng: np.random.Generator
) -> tuple[list[Path], float, dict[str, float]]:
    """Write the answers of one run to 20 images and their 75 corruptions; return its errors."""
    sources = [f"i{i:02d}" for i in range(20)]
    wrong = {
        f"{s}.{c}-{v}": rng.random() < 0.4 for s in sources for c in IMAGENET_C for v in range(1, 6)
    }
    clean = {s: rng.random() < 0.2 for s in [*sources, "other"]}
    paths = []
    for eval_set, answers in (("val", clean), ("c", wrong)):
        flags = np.array(list(answers.values()))
        path = folder / f"{eval_set}.parquet"
        write_predictions(
            path, keys=list(answers), targets=np.zeros(len(flags), dtype=int),
            probabilities=np.where(flags[:, None], [0.3, 0.7], [0.7, 0.3]).astype(np.float32),
            class_ids=["a", "b"], dataset="toy", training_set="real", recipe="tiny", seed=0,
            eval_set=eval_set, fingerprint="f",
        )  # fmt: skip
        paths.append(path)
    by_kind = {
        c: float(np.mean([w for k, w in wrong.items() if f".{c}-" in k])) for c in IMAGENET_C
    }
    return paths, float(np.mean([clean[s] for s in sources])), by_kind


def test_mce_and_relative_mce_agree_with_their_definition(tmp_path: Path) -> None:
    paths, clean, by_kind = imagenet_c(tmp_path, np.random.default_rng(3))
    settings = json.dumps({"in_distribution": "val", "clean": {}, "published": {},
                           "controls": [], "mce_obstacles": {"c": ""}})  # fmt: skip
    rows = tmp_path / "robustness.csv"
    measure_robustness(["--predictions", *map(str, paths), "--settings", settings, "--draws", "100",
                        "--output", str(rows), "--lines", str(tmp_path / "lines.csv")])  # fmt: skip
    found = {row.metric: row for row in read_scores(rows) if row.seed == 0}
    mce = np.mean([by_kind[c] / ALEXNET_ERROR[c] for c in IMAGENET_C])
    relative = np.mean(
        [(by_kind[c] - clean) / (ALEXNET_ERROR[c] - ALEXNET_CLEAN_ERROR) for c in IMAGENET_C]
    )
    assert found["mce"].value == pytest.approx(mce, abs=2e-6)
    assert found["relative_mce"].value == pytest.approx(relative, abs=2e-6)
    low, high = found["relative_mce"].ci_low, found["relative_mce"].ci_high
    assert low is not None
    assert high is not None
    assert low < found["relative_mce"].value < high


@pytest.mark.parametrize("obstacles", [{}, {"c": "made here"}])
def test_all_corruptions_of_other_files_have_no_mce(
    obstacles: dict[str, str], tmp_path: Path
) -> None:
    paths, _, by_kind = imagenet_c(tmp_path, np.random.default_rng(3))
    settings = json.dumps({"in_distribution": "val", "clean": {}, "published": {},
                           "controls": [], "mce_obstacles": obstacles})  # fmt: skip
    rows = tmp_path / "robustness.csv"
    measure_robustness(["--predictions", *map(str, paths), "--settings", settings, "--draws", "100",
                        "--output", str(rows), "--lines", str(tmp_path / "lines.csv")])  # fmt: skip
    found = {row.metric: row.value for row in read_scores(rows) if row.seed == 0}
    assert set(found) == {"mean_error", "added_error"}
    assert found["mean_error"] == pytest.approx(np.mean(list(by_kind.values())), abs=2e-6)


def test_the_table_says_what_mce_is_normalised_by_or_why_there_is_none(
    measured: Any, scores_csv: Path, settings_json: str, tmp_path: Path
) -> None:
    def table(obstacles: dict[str, str]) -> tuple[list[dict[str, str]], str]:
        settings = json.dumps({**json.loads(measured.settings), "mce_obstacles": obstacles})
        make_robustness_tables(
            ["--scores", str(scores_csv), "--robustness", str(measured.scores), "--lines",
             str(measured.lines), "--config-json", settings_json, "--settings", settings,
             "--output-dir", str(tmp_path)]
        )  # fmt: skip
        rows = list(csv.DictReader((tmp_path / "corruptions.csv").open()))
        return rows, (tmp_path / "corruptions.md").read_text()

    rows, text = table({"toy-c": "its corruptions are made here"})
    baselines = {row["corruption"]: row["mce_baseline"] for row in rows}
    assert baselines["all"] == "none: its corruptions are made here"
    assert baselines["jpeg"] == ""
    assert "No mCE of toy-c: its corruptions are made here" in text
    rows, text = table({"toy-c": ""})
    assert {row["mce_baseline"] for row in rows if row["corruption"] == "all"} == {"AlexNet"}
    assert "No mCE" not in text


def test_equal_answers_clean_and_corrupted_add_nothing_in_any_draw(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    wrong = rng.random(30) < 0.5
    keys = [f"i{i:02d}" for i in range(30)]
    paths = []
    for eval_set, names in (("val", keys), ("c", [f"{key}.jpeg-1" for key in keys])):
        path = tmp_path / f"{eval_set}.parquet"
        write_predictions(
            path, keys=names, targets=np.zeros(30, dtype=int),
            probabilities=np.where(wrong[:, None], [0.3, 0.7], [0.7, 0.3]).astype(np.float32),
            class_ids=["a", "b"], dataset="toy", training_set="real", recipe="tiny", seed=0,
            eval_set=eval_set, fingerprint="f",
        )  # fmt: skip
        paths.append(str(path))
    settings = json.dumps({"in_distribution": "val", "clean": {}, "published": {},
                           "controls": [], "mce_obstacles": {}})  # fmt: skip
    rows = tmp_path / "robustness.csv"
    measure_robustness(["--predictions", *paths, "--settings", settings, "--draws", "100",
                        "--output", str(rows), "--lines", str(tmp_path / "lines.csv")])  # fmt: skip
    found = {row.metric: row for row in read_scores(rows) if row.seed == 0}
    added, mean = found["added_error"], found["mean_error"]
    assert (added.value, added.ci_low, added.ci_high) == (0.0, 0.0, 0.0)
    assert mean.ci_low != mean.ci_high


def test_the_tables_mark_what_is_extrapolated_and_hold_every_severity(
    measured: Any, scores_csv: Path, settings_json: str, tmp_path: Path
) -> None:
    make_robustness_tables(
        ["--scores", str(scores_csv), "--robustness", str(measured.scores), "--lines",
         str(measured.lines), "--config-json", settings_json, "--settings", measured.settings,
         "--output-dir", str(tmp_path)]
    )  # fmt: skip
    rows = list(csv.DictReader((tmp_path / "robustness.csv").open()))
    assert len(rows) == 3 * 2
    by_name = {(row["training_set"], row["eval_set"]): row for row in rows}
    assert by_name["real", "toy-r"]["effective_robustness"] == ""
    assert by_name["real", "toy-r"]["effective_robustness/published"] != ""
    assert by_name["caption", "toy-r"]["controls_extrapolated"] == "yes"
    corrupted = list(csv.DictReader((tmp_path / "corruptions.csv").open()))
    assert [row["corruption"] for row in corrupted[:3]] == ["contrast", "jpeg", "all"]
    for row in corrupted[:2]:
        mean = (float(row["severity1"]) + float(row["severity5"])) / 2
        assert float(row["mean_error"]) == pytest.approx(mean, abs=1e-3)
    assert float(corrupted[2]["mean_error"]) == pytest.approx(
        np.mean([float(row["mean_error"]) for row in corrupted[:2]]), abs=1e-3
    )


def test_corruptions_are_drawn_and_a_set_without_any_is_refused(
    scores_csv: Path, settings_json: str, tmp_path: Path
) -> None:
    args = ["--scores", str(scores_csv), "--config-json", settings_json]
    png = tmp_path / "c.png"
    plot_corruptions([*args, "--eval-set", "toy-c", "--output", str(png)])
    assert png.stat().st_size > 10_000
    with pytest.raises(CapsynthError, match="has no corruptions"):
        plot_corruptions([*args, "--eval-set", "toy-r", "--output", str(png)])


def test_curves_are_drawn_by_share_and_by_the_numbers_of_histories(
    scores_csv: Path, settings_json: str, tmp_path: Path
) -> None:
    args = ["--scores", str(scores_csv), "--config-json", settings_json]
    points = json.dumps(
        [["real", "caption", 0.25], ["real", "class-name", 0.5], ["real", "real", 1]]
    )
    histories = []
    for name, images in (("a", 10), ("b", 20), ("c", 40)):
        write_json(tmp_path / f"{name}.json", {"images": images})
        histories.append(str(tmp_path / f"{name}.json"))
    drawn = {}
    for name, more in (("shares", []), ("numbers", ["--histories", *histories])):
        path = tmp_path / f"{name}.svg"
        plot_curves([*args, "--points", points, *more, "--output", str(path)])
        drawn[name] = path.read_text()
    assert drawn["shares"] != drawn["numbers"]
    unknown = json.dumps([["real", "no", 0.25]])
    with pytest.raises(CapsynthError, match="no training set of the curve has a score"):
        plot_curves([*args, "--points", unknown, "--output", str(tmp_path / "x.png")])


def test_variance_is_that_of_the_runs_nested_in_their_training_sets(
    prediction_files: list[Path], control_files: list[Path], tmp_path: Path
) -> None:
    files = [*prediction_files, *control_files]
    path = tmp_path / "variance.csv"
    group = ["caption", "real-quarter"]
    args = ["--predictions", *map(str, files), "--draws", "200", "--output", str(path)]
    measure_variance([*args, "--groups", json.dumps([group])])
    rows = read_records(path, Variance, "measure_variance")
    assert [row.eval_set for row in rows] == ["toy-c", "toy-r", "toy-val"]
    row = rows[2]
    values = np.stack([accuracies(files, name, "toy-val") for name in group])
    assert row.accuracy == pytest.approx(values.mean(), abs=1e-6)
    # Without what images add, the seeds' components are greater; never by more than the images'.
    bare = variance_components(values[..., None], np.repeat(values[..., None, None], 3, axis=2))
    assert row.training**2 <= bare.training[0] + 1e-9
    assert row.training**2 + row.runs_on_images**2 >= bare.training[0] - 1e-6
    assert row.runs_on_images > 0
    assert (row.generation_seeds, row.sample_draws, row.sample) == (2, 1, None)
    make_variance_table(["--variance", str(path), "--output-dir", str(tmp_path / "out")])
    assert len((tmp_path / "out/variance.csv").read_text().splitlines()) == 4
    with pytest.raises(CapsynthError, match="were trained with other seeds"):
        measure_variance([*args, "--groups", json.dumps([["caption", "nothing"]])])


def test_the_draw_of_the_real_sample_is_corrected_for_what_draws_have_in_common(
    prediction_files: list[Path], control_files: list[Path], tmp_path: Path
) -> None:
    files = [*prediction_files, *control_files]
    group = ["caption", "real-quarter"]

    def measure(name: str, *groups: str) -> Variance:
        path = tmp_path / f"{name}.csv"
        given = ["--predictions", *map(str, files), "--draws", "200", "--output", str(path)]
        measure_variance([*given, *groups])
        return read_records(path, Variance, "measure_variance")[2]

    seeds = measure("seeds", "--groups", json.dumps([group]))
    apart = measure("apart", "--groups", "[]", "--sample-group", "0.0", *group)
    common = measure("common", "--groups", "[]", "--sample-group", "0.75", *group)
    assert seeds.generation is not None
    assert seeds.generation > 0
    assert (apart.generation_seeds, apart.sample_draws, apart.generation) == (1, 2, None)
    # Draws that have nothing in common are as independent as generation seeds.
    assert apart.sample == seeds.generation
    assert (apart.ci_low, apart.ci_high) == (seeds.ci_low, seeds.ci_high)
    # Draws that share three quarters of their images show a quarter of the variance.
    # Files have six digits.
    assert common.sample == pytest.approx(2 * seeds.generation, abs=2e-6)
    assert common.accuracy == pytest.approx(apart.accuracy, abs=1e-9)
    assert common.ci_low <= apart.ci_low
    assert common.ci_high >= apart.ci_high
    make_variance_table(["--variance", str(tmp_path / "common.csv"), "--output-dir", str(tmp_path)])
    table = (tmp_path / "variance.md").read_text()
    assert "Draw of the real sample" in table
    assert "75 % (caption) of their images in common" in table
