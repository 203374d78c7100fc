from pathlib import Path

import numpy as np
import pytest

from capsynth.errors import CapsynthError
from capsynth.predictions import read_predictions, write_predictions
from capsynth.records import read_records, write_records
from capsynth.reporting import confusions
from capsynth.reporting.estimation import collect_scores
from capsynth.reporting.settings import ReportSettings

SETTINGS = ReportSettings("val", ("a", "b"), ("val", "c"), (("a", "b"),))


def write_run(
    folder: Path,
    training_set: str,
    seed: int,
    skill: float,
    classes: int = 4,
    each: int = 12,
    eval_set: str = "val",
) -> Path:
    """Write the answers of a run, whose rows are in an order of its own."""
    class_ids = [f"class-{i:02d}" for i in range(classes)]
    rng = np.random.default_rng([seed, abs(int(10 * skill))])
    levels = [".jpeg-1", ".jpeg-5"] if eval_set == "c" else [""]
    keys = [f"{c}_{i:06d}{level}" for c in class_ids for i in range(each) for level in levels]
    targets = np.repeat(np.arange(classes), each * len(levels))
    logits = rng.normal(size=(len(keys), classes))
    logits[np.arange(len(keys)), targets] += skill
    order = rng.permutation(len(keys))
    odds = np.exp(logits)
    path = folder / f"{training_set}-{seed}-{eval_set}.parquet"
    write_predictions(
        path,
        keys=[keys[i] for i in order],
        targets=targets[order],
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


def write_runs(folder: Path, **how: object) -> list[Path]:
    return [
        write_run(folder, name, seed, skill, eval_set=eval_set, **how)  # type: ignore[arg-type]  # any
        for eval_set in SETTINGS.eval_sets
        for name, skill in (("a", 1.5), ("b", 0.3), ("not-compared", 0.0))
        for seed in range(3)
    ]


def test_changes_are_those_of_a_plain_loop(tmp_path: Path) -> None:
    paths = write_runs(tmp_path)
    rows = confusions.compare_confusions(paths, [("a", "b")])
    runs = [read_predictions(path) for path in paths]
    assert len(rows) == 2 * 4 * 4
    for row in rows:
        rate = {"a": 0.0, "b": 0.0}
        for run in runs:
            if run.eval_set == row.eval_set and run.training_set in rate:
                said = [
                    run.class_ids[p]
                    for t, p in zip(run.target, run.prediction, strict=True)
                    if run.class_ids[t] == row.target
                ]
                assert len(said) == row.n
                rate[run.training_set] += said.count(row.prediction) / len(said) / 3
        assert row.value == pytest.approx(rate["a"] - rate["b"], abs=1e-12)
        assert row.ci_low <= row.value <= row.ci_high


def test_the_diagonal_has_the_gains_per_class(tmp_path: Path) -> None:
    paths = write_runs(tmp_path, each=40)
    rows = confusions.compare_confusions(paths, [("a", "b")])
    gains = {
        (score.eval_set, score.metric): score
        for score in collect_scores(paths, [("a", "b")], draws=4000)
        if score.training_set == "a - b"
    }
    diagonal = [row for row in rows if row.target == row.prediction]
    assert len(diagonal) == 8
    for row in diagonal:
        score = gains[row.eval_set, f"top1/{row.target}"]
        assert row.value == pytest.approx(score.value, abs=1e-12)
        # Of seeds each class has its own variance here, of which the scores share some.
        assert row.ci_low <= score.value <= row.ci_high


@pytest.mark.parametrize("skills", [(40.0, 40.0), (40.0, -40.0), (-40.0, -40.0)])
@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize("each", [1, 2, 12])
def test_answers_that_do_not_vary_have_an_interval(
    tmp_path: Path, skills: tuple[float, float], seeds: int, each: int
) -> None:
    paths = [
        write_run(tmp_path, name, seed, skill, classes=2, each=each)
        for name, skill in zip("ab", skills, strict=True)
        for seed in range(seeds)
    ]
    for row in confusions.compare_confusions(paths, [("a", "b")]):
        assert -1.0 <= row.ci_low <= row.value <= row.ci_high <= 1.0
        # As if two of the images differed: Bonett and Price.
        assert row.ci_high - row.ci_low >= min(1.0, 1.96 * np.sqrt(2) / each)


def test_changes_of_a_class_add_up_to_nothing(tmp_path: Path) -> None:
    rows = confusions.compare_confusions(write_runs(tmp_path), [("a", "b")])
    for eval_set in SETTINGS.eval_sets:
        for target in {row.target for row in rows}:
            values = [r.value for r in rows if (r.eval_set, r.target) == (eval_set, target)]
            assert sum(values) == pytest.approx(0.0, abs=1e-12)


def test_of_many_classes_the_largest_confusions_are_kept(tmp_path: Path) -> None:
    paths = write_runs(tmp_path, classes=21, each=6)
    rows = confusions.compare_confusions(paths, [("a", "b")])
    for eval_set in SETTINGS.eval_sets:
        of_set = [row for row in rows if row.eval_set == eval_set]
        assert len(of_set) == 100
        assert all(row.target != row.prediction and row.value for row in of_set)
    confusions.plot_confusions(rows, SETTINGS, {}, ("a", "b"), [tmp_path / "dots.svg"])
    assert (tmp_path / "dots.svg").stat().st_size > 10_000


def test_runs_that_answer_other_samples_are_refused(tmp_path: Path) -> None:
    paths = [write_run(tmp_path, "a", 0, 1.0), write_run(tmp_path, "b", 0, 0.1, each=13)]
    with pytest.raises(CapsynthError, match="b, seed 0 answers other samples of 'val' than a"):
        confusions.compare_confusions(paths, [("a", "b")])


def test_rows_survive_the_file_and_repeat_its_bytes(tmp_path: Path) -> None:
    paths = write_runs(tmp_path)
    for name, order in (("one", paths), ("two", paths[::-1])):
        rows = confusions.compare_confusions(order, [("a", "b")])
        write_records(tmp_path / f"{name}.csv", confusions.Confusion, rows)
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()
    read = read_records(tmp_path / "one.csv", confusions.Confusion, "compare_confusions")
    assert [r.value for r in read] == pytest.approx([r.value for r in rows], abs=1e-6)
    assert [(r.target, r.prediction, r.n) for r in read] == [
        (r.target, r.prediction, r.n) for r in rows
    ]


def test_the_table_has_the_largest_confusions_and_no_right_answer(tmp_path: Path) -> None:
    rows = confusions.compare_confusions(write_runs(tmp_path), [("a", "b")])
    table = confusions.confusion_table(rows, SETTINGS, {})
    assert len(table.rows) == 2 * confusions.TABLE_ROWS
    for eval_set in SETTINGS.eval_sets:
        mine = [row for row in table.rows if row[1].text == eval_set]
        shown = [abs(float(row[4].csv_values[0])) for row in mine]
        assert shown == sorted(shown, reverse=True)
        wrong = [abs(r.value) for r in rows if r.eval_set == eval_set and r.target != r.prediction]
        assert shown == pytest.approx([100 * v for v in sorted(wrong)[::-1][:5]], abs=1e-3)


def test_the_figure_is_the_same_bytes_and_needs_the_comparison(tmp_path: Path) -> None:
    rows = confusions.compare_confusions(write_runs(tmp_path), [("a", "b")])
    for name in ("one", "two"):
        confusions.plot_confusions(
            rows, SETTINGS, {}, ("a", "b"), [tmp_path / f"{name}.png", tmp_path / f"{name}.svg"]
        )
    for suffix in ("png", "svg"):
        one, two = (tmp_path / f"{name}.{suffix}" for name in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()
    with pytest.raises(CapsynthError, match=r"add the pair to report\.comparisons"):
        confusions.plot_confusions(rows, SETTINGS, {}, ("b", "a"), [tmp_path / "x.png"])
