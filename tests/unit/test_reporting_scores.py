from pathlib import Path

import numpy as np
import pytest

from capsynth.errors import CapsynthError
from capsynth.predictions import read_predictions, write_predictions
from capsynth.reporting.estimation import collect_scores
from capsynth.reporting.scores import (
    OF_SEEDS,
    TESTS,
    Score,
    index_scores,
    read_scores,
    sources_of,
    write_scores,
)

LEVELS = ("jpeg-1", "jpeg-5", "contrast-1")


def write_run(
    folder: Path,
    training_set: str,
    seed: int,
    skill: float,
    eval_set: str = "toy-val",
    class_ids: tuple[str, ...] = ("bat", "car", "dog"),
    reverse: bool = False,
) -> Path:
    rng = np.random.default_rng([seed, int(10 * skill)])
    keys, targets = [], []
    for target, class_id in enumerate(class_ids):
        for i in range(10):
            levels = [f".{level}" for level in LEVELS] if eval_set == "toy-c" else [""]
            keys += [f"{class_id}_{i:06d}{level}" for level in levels]
            targets += [target] * len(levels)
    logits = rng.normal(size=(len(keys), len(class_ids)))
    logits[np.arange(len(keys)), targets] += skill
    odds = np.exp(logits)
    order = np.arange(len(keys))[:: -1 if reverse else 1]
    path = folder / f"{training_set}-{seed}-{eval_set}.parquet"
    write_predictions(
        path,
        keys=[keys[i] for i in order],
        targets=np.array(targets)[order],
        probabilities=(odds / odds.sum(axis=1, keepdims=True)).astype(np.float32)[order],
        class_ids=class_ids,
        dataset="toy",
        training_set=training_set,
        recipe="tiny",
        seed=seed,
        eval_set=eval_set,
        fingerprint="f",
    )
    return path


def two_training_sets(folder: Path, eval_set: str = "toy-val") -> list[Path]:
    return [
        write_run(folder, name, seed, skill, eval_set)
        for name, skill in (("a", 1.5), ("b", 0.3))
        for seed in range(3)
    ]


def find(rows: list[Score], training_set: str, seed: int | None, metric: str) -> Score:
    (found,) = [
        r for r in rows if (r.training_set, r.seed, r.metric) == (training_set, seed, metric)
    ]
    return found


def test_a_run_has_its_accuracy_and_a_summary_their_mean(tmp_path: Path) -> None:
    paths = two_training_sets(tmp_path)
    rows = collect_scores(paths, [], 50)
    accuracies = []
    for seed, path in enumerate(paths[:3]):
        run = read_predictions(path)
        accuracies.append(float((run.prediction == run.target).mean()))
        assert find(rows, "a", seed, "top1").value == pytest.approx(accuracies[-1])
        bats = run.target == 0
        assert find(rows, "a", seed, "top1/bat").value == pytest.approx(
            (run.prediction[bats] == 0).mean()
        )
    summary = find(rows, "a", None, "top1")
    assert summary.value == pytest.approx(np.mean(accuracies))
    assert (summary.n, find(rows, "a", None, "top1/bat").n) == (30, 10)


def test_every_value_lies_in_its_interval(tmp_path: Path) -> None:
    rows = collect_scores(two_training_sets(tmp_path), [["a", "b"]], 400)
    without = set()
    for row in rows:
        if row.ci_low is None or row.ci_high is None:
            without.add(row.metric)
            # A precision that no draw of images changes has no interval, and says so.
            assert row.sources != "none" or row.value in (0.0, 1.0)
            continue
        assert row.ci_low <= row.value + 1e-9, row
        assert row.value <= row.ci_high + 1e-9, row
        assert row.ci_low < row.ci_high, row
    assert {name for name in without if not name.startswith("precision/")} == set(TESTS)


def test_top5_is_scored_only_with_more_than_five_classes(tmp_path: Path) -> None:
    few = collect_scores([write_run(tmp_path, "a", 0, 1.0)], [], 10)
    many = collect_scores([write_run(tmp_path, "a", 0, 1.0, class_ids=tuple("uvwxyz"))], [], 10)
    assert "top5" not in {row.metric for row in few}
    assert "top5" in {row.metric for row in many}


def test_a_comparison_is_the_difference_of_two_summaries(tmp_path: Path) -> None:
    rows = collect_scores(two_training_sets(tmp_path), [["a", "b"]], 200)
    for metric in ("top1", "top1/bat"):
        expected = find(rows, "a", None, metric).value - find(rows, "b", None, metric).value
        assert find(rows, "a - b", None, metric).value == pytest.approx(expected)
    assert find(rows, "a - b", None, "p_value").value < 0.05


def test_a_training_set_compared_with_its_copy_differs_by_nothing_that_could_be_seen(
    tmp_path: Path,
) -> None:
    paths = two_training_sets(tmp_path)
    for seed, path in enumerate(paths[:3]):
        run = read_predictions(path)
        copy = tmp_path / f"copy-{seed}.parquet"
        write_predictions(
            copy, keys=run.keys.tolist(), targets=run.target, probabilities=run.probabilities,
            class_ids=run.class_ids, dataset="toy", training_set="copy", recipe="tiny", seed=seed,
            eval_set="toy-val", fingerprint="f",
        )  # fmt: skip
        paths.append(copy)
    rows = collect_scores(paths, [["a", "copy"]], 100)
    top1 = find(rows, "a - copy", None, "top1")
    # 30 images that all agree do not show that no image could differ.
    assert top1.value == 0.0
    assert top1.ci_low == -top1.ci_high < 0.0
    assert find(rows, "a - copy", None, "p_value").value == 1.0


def test_a_comparison_uses_the_seeds_that_both_training_sets_have(tmp_path: Path) -> None:
    paths = two_training_sets(tmp_path)
    rows = collect_scores(paths[:-1], [["a", "b"]], 50)
    means = [
        np.mean([find(rows, name, seed, "top1").value for seed in (0, 1)]) for name in ("a", "b")
    ]
    assert find(rows, "a - b", None, "top1").value == pytest.approx(means[0] - means[1])


def test_holm_corrects_over_all_comparisons_and_evaluation_sets(tmp_path: Path) -> None:
    paths = two_training_sets(tmp_path) + two_training_sets(tmp_path, "toy-c")
    rows = collect_scores(paths, [["a", "b"], ["b", "a"]], 20)
    p_values = sorted(row.value for row in rows if row.metric == "p_value")
    corrected = sorted(row.value for row in rows if row.metric == "p_holm")
    assert len(p_values) == 4
    assert corrected[0] == pytest.approx(min(1.0, 4 * p_values[0]))


def test_sets_outside_of_the_family_are_not_corrected_and_correct_no_other(tmp_path: Path) -> None:
    paths = two_training_sets(tmp_path) + two_training_sets(tmp_path, "toy-c")
    rows = collect_scores(paths, [["a", "b"]], 20, outside_family=["toy-c"])
    tested = {(row.eval_set, row.metric): row.value for row in rows if row.metric in TESTS}
    assert tested.keys() == {
        ("toy-val", "p_images"),
        ("toy-val", "p_value"),
        ("toy-val", "p_holm"),
        ("toy-c", "p_images"),
        ("toy-c", "p_value"),
    }
    assert tested["toy-val", "p_holm"] == tested["toy-val", "p_value"]
    with pytest.raises(CapsynthError, match="'toy-vall'; did you mean 'toy-val'"):
        collect_scores(paths, [["a", "b"]], 20, outside_family=["toy-vall"])


def test_one_seed_has_intervals_of_images_and_no_p_value_that_speaks_of_seeds(
    tmp_path: Path,
) -> None:
    paths = [write_run(tmp_path, name, 0, skill) for name, skill in (("a", 1.5), ("b", 0.3))]
    rows = collect_scores(paths, [["a", "b"]], 20)
    assert {row.metric for row in rows if row.metric in TESTS} == {"p_images"}
    assert {(row.seeds, row.sources) for row in rows if row.ci_low is not None} == {(1, "images")}


def test_rows_say_how_many_seeds_they_are_of_and_what_chance_they_hold(tmp_path: Path) -> None:
    rows = collect_scores(two_training_sets(tmp_path), [["a", "b"]], 20)
    rows = [row for row in rows if row.sources != "none"]
    of_seeds = {(row.seeds, row.sources) for row in rows if row.seed is None}
    assert of_seeds == {(3, "images+training-seeds"), (3, "images")}
    assert {row.metric for row in rows if row.seed is None and row.sources == "images"} == {
        "p_images"
    }
    assert {(row.seeds, row.sources) for row in rows if row.seed is not None} == {(1, "images")}


def test_seeds_that_agree_do_not_narrow_the_interval_below_that_of_their_images(
    tmp_path: Path,
) -> None:
    # Three copies of one run: what they agree on is still 30 images.
    run = read_predictions(write_run(tmp_path, "a", 0, 1.5))
    paths = []
    for seed in range(3):
        paths.append(tmp_path / f"copy-{seed}.parquet")
        write_predictions(
            paths[-1], keys=run.keys.tolist(), targets=run.target, class_ids=run.class_ids,
            probabilities=run.probabilities, dataset="toy", training_set="a", recipe="tiny",
            seed=seed, eval_set="toy-val", fingerprint="f",
        )  # fmt: skip
    rows = collect_scores(paths, [], 100)
    for metric in ("top1", "top1/bat"):
        alone, together = (find(rows, "a", seed, metric) for seed in (0, None))
        assert together.ci_low == pytest.approx(alone.ci_low, abs=1e-12)
        assert together.ci_high == pytest.approx(alone.ci_high, abs=1e-12)


def test_a_photograph_under_two_keys_is_one(tmp_path: Path) -> None:
    paths = []
    for copies in (1, 2):
        run = read_predictions(write_run(tmp_path, "a", 0, 1.0))
        sources = [key for key in run.keys.tolist() for _ in range(copies)]
        paths.append(tmp_path / f"{copies}.parquet")
        write_predictions(
            paths[-1], keys=[f"{key}-{i % copies}" for i, key in enumerate(sources)],
            targets=np.repeat(run.target, copies), class_ids=run.class_ids,
            probabilities=np.repeat(run.probabilities, copies, axis=0), dataset="toy",
            training_set="a", recipe="tiny", seed=0, eval_set="toy-val", fingerprint="f",
            sources=sources,
        )  # fmt: skip
    once, twice = (find(collect_scores([path], [], 100), "a", 0, "nll") for path in paths)
    assert (once.n, once.distinct) == (30, 30)
    assert (twice.n, twice.distinct) == (60, 30)
    assert (twice.ci_low, twice.ci_high) == pytest.approx((once.ci_low, once.ci_high))


def test_ablations_have_intervals_but_no_tests_and_correct_no_others(tmp_path: Path) -> None:
    paths = two_training_sets(tmp_path)
    alone = collect_scores(paths, [("a", "b")], draws=200)
    pairs = [("b", "a"), ("a", "b")]
    both = collect_scores(paths, [("a", "b")], draws=200, ablations=pairs)
    assert [row for row in both if row.training_set != "b - a"] == alone
    ablation = {row.metric: row for row in both if row.training_set == "b - a"}
    compared = {row.metric: row for row in alone if row.training_set == "a - b"}
    assert ablation.keys() == compared.keys() - {"p_value", "p_images", "p_holm"}
    assert ablation["top1"].value == -compared["top1"].value
    assert ablation["top1"].ci_low == pytest.approx(-compared["top1"].ci_high)


def test_a_corruption_set_is_scored_by_corruption_and_severity(tmp_path: Path) -> None:
    path = write_run(tmp_path, "a", 0, 1.0, "toy-c")
    rows = collect_scores([path], [], 100)
    run = read_predictions(path)
    jpeg5 = np.char.endswith(run.keys, ".jpeg-5")
    error = find(rows, "a", 0, "error/jpeg-5")
    assert error.value == pytest.approx((run.prediction[jpeg5] != run.target[jpeg5]).mean())
    assert error.n == 30
    assert find(rows, "a", 0, "top1/jpeg").n == 60
    assert {row.metric for row in rows if row.metric.startswith("error/")} == {
        f"error/{level}" for level in LEVELS
    }


def test_keys_without_a_corruption_are_their_own_sources() -> None:
    assert sources_of(["x.jpeg-4", "x.jpeg-5"]) == (["x", "x"], [("jpeg", "4"), ("jpeg", "5")])
    assert sources_of(["x.jpeg-4", "y"]) == (["x.jpeg-4", "y"], None)


def test_another_training_set_changes_no_value_and_no_run_of_the_first(tmp_path: Path) -> None:
    paths = two_training_sets(tmp_path)
    both = [row for row in collect_scores(paths, [], 60) if row.training_set == "a"]
    alone = collect_scores(paths[:3], [], 60)
    assert [row.value for row in both] == [row.value for row in alone]
    assert [row for row in both if row.seed is not None] == [
        row for row in alone if row.seed is not None
    ]


def test_the_order_of_files_and_of_samples_changes_nothing(tmp_path: Path) -> None:
    paths = two_training_sets(tmp_path)
    rows = collect_scores(paths, [["a", "b"]], 60)
    write_run(tmp_path, "a", 1, 1.5, reverse=True)
    assert collect_scores(paths[::-1], [["a", "b"]], 60) == rows


def test_runs_that_answered_other_samples_are_refused(tmp_path: Path) -> None:
    paths = [
        write_run(tmp_path, "a", 0, 1.0),
        write_run(tmp_path, "b", 0, 1.0, class_ids=("bat", "car", "fish")),
    ]
    with pytest.raises(CapsynthError, match="answers other samples"):
        collect_scores(paths, [], 10)


def test_a_run_given_twice_is_refused(tmp_path: Path) -> None:
    path = write_run(tmp_path, "a", 0, 1.0)
    with pytest.raises(CapsynthError, match="given twice"):
        collect_scores([path, path], [], 10)


def test_a_class_with_the_name_of_a_corruption_is_refused(tmp_path: Path) -> None:
    path = write_run(tmp_path, "a", 0, 1.0, "toy-c", class_ids=("bat", "jpeg"))
    with pytest.raises(CapsynthError, match="rename the class"):
        collect_scores([path], [], 10)


def test_an_unknown_training_set_in_a_comparison_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CapsynthError, match="'captoin'; did you mean 'caption'"):
        collect_scores([write_run(tmp_path, "caption", 0, 1.0)], [["captoin", "caption"]], 10)


def test_scores_are_written_with_six_decimals_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    row = Score("toy", "a - b", "tiny", None, "toy-val", "top1", 1 / 3, -0.0000001, 0.5, 30)
    p = Score(
        "toy", "a - b", "tiny", None, "toy-val", "p_value", 1e-12, None, None, 30, 3, OF_SEEDS, 29
    )
    write_scores(path, [row, p])
    assert path.read_text().splitlines()[1:] == [
        "toy,a - b,tiny,,toy-val,top1,0.333333,0.0,0.5,30,1,images,",
        "toy,a - b,tiny,,toy-val,p_value,1e-06,,,30,3,images+training-seeds,29",
    ]
    assert [r.value for r in read_scores(path)] == [0.333333, 1e-06]
    assert index_scores(read_scores(path)).summaries[
        ("toy", "a - b", "tiny", "toy-val", "top1")
    ].ci_high == pytest.approx(0.5)


def test_a_csv_with_other_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(CapsynthError, match="has columns"):
        read_scores(path)
