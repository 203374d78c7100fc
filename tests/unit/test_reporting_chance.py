"""Chance level of evaluation sets, from the sizes of their classes."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier
from sklearn.metrics import top_k_accuracy_score

from capsynth import minima
from capsynth.reporting import subgroup_tables
from capsynth.reporting.chance import ChanceLevels, chance_levels
from capsynth.reporting.label_rows import METRICS, LabelRow
from capsynth.reporting.label_tables import label_table
from capsynth.reporting.probes import probe_table
from capsynth.reporting.prompt_tables import PromptTableSettings
from capsynth.reporting.scores import Score, index_scores
from capsynth.reporting.settings import ReportSettings
from capsynth.reporting.tables import to_csv, to_html, to_latex, to_markdown

SIZES = {"bat": 40, "car": 25, "dog": 15, "fish": 10, "tree": 5, "house": 3, "mouse": 2}


def score(metric: str, low: float | None, high: float | None, n: int = 100) -> Score:
    return Score("toy", "real", "tiny", None, "val", metric, 0.5, low, high, n)


def levels(*more: Score) -> ChanceLevels:
    sizes = [score(f"top1/{name}", 0.0, 1.0, n) for name, n in SIZES.items()]
    return chance_levels(index_scores([*sizes, *more]))


def test_chance_is_what_the_best_answer_that_ignores_the_image_gets_right() -> None:
    targets = np.repeat(np.arange(len(SIZES)), list(SIZES.values()))
    blind = np.zeros((len(targets), 1))
    theirs = DummyClassifier(strategy="prior").fit(blind, targets)
    assert levels().top("toy", "val") == pytest.approx(theirs.score(blind, targets), abs=1e-6)
    five = top_k_accuracy_score(targets, theirs.predict_proba(blind), k=5)
    assert levels().top("toy", "val", 5) == pytest.approx(five, abs=1e-6)
    assert levels().top("toy", "other") is None


@pytest.mark.parametrize(
    ("metric", "chance"),
    [
        ("top1", 0.4),
        ("top5", 0.95),
        ("top1/bat", 1 / 7),
        ("top1/jpeg", 0.4),
        ("error/jpeg-3", 0.6),
        ("mean_error", 0.6),
        ("ece", None),
        ("balanced_accuracy", 1 / 7),
        ("macro_precision", 1 / 7),
        ("precision/bat", 0.4),
        ("precision/mouse", 0.02),
    ],
)
def test_every_accuracy_and_error_has_its_level(metric: str, chance: float | None) -> None:
    # All 100 images under a corruption: it is no class, and counts for none.
    corrupted = [score("top1/jpeg", 0.0, 1.0, 500), score("error/jpeg-3", 0.0, 1.0, 100)]
    found = levels(*corrupted).of(score(metric, 0.0, 1.0))
    assert found == (None if chance is None else pytest.approx(chance, abs=1e-6))


@pytest.mark.parametrize(
    ("metric", "low", "high", "reached"),
    [
        ("top1", 0.4, 0.6, True),
        ("top1", 0.4001, 0.6, False),
        ("top1", 0.1, 0.2, True),
        ("top1", None, None, True),
        ("top1/bat", 0.15, 0.6, False),
        ("error/jpeg-3", 0.4, 0.6, True),
        ("error/jpeg-3", 0.4, 0.59, False),
        ("ece", 0.0, 0.9, False),
        ("precision/bat", 0.4, 0.6, True),
        ("precision/mouse", 0.1, 0.6, False),
        ("balanced_accuracy", 1 / 8, 0.6, True),
        ("worst_class", 0.0, 0.6, True),
    ],
)
def test_an_interval_that_reaches_chance_is_not_clearly_above_it(
    metric: str, low: float | None, high: float | None, reached: bool
) -> None:
    corrupted = score("error/jpeg-3", 0.0, 1.0, 100)
    assert levels(corrupted).reached_by(score(metric, low, high)) is reached


def test_the_worst_class_of_a_guesser_is_below_an_even_guess() -> None:
    three_seeds = replace(score("worst_class", 0.0, 1.0), seeds=3)
    found = levels().of(three_seeds)
    assert found == minima.least_by_chance([*SIZES.values()], 1 / 7, 3)
    # By drawing: the least share of right guesses of seven classes, three runs together.
    rng = np.random.default_rng(0)
    n = 3 * np.array([*SIZES.values()])
    least = (rng.binomial(n, 1 / 7, size=(200_000, 7)) / n).min(axis=1)
    error = least.std() / np.sqrt(len(least))
    assert found == pytest.approx(least.mean(), abs=4 * error)
    assert found < 1 / 7


def everything(training_set: str, at_chance: bool) -> list[Score]:
    """Return the scores of a training set on seven classes, at chance or far above."""
    low, high = (0.0, 0.5) if at_chance else (0.7, 0.9)
    names = ["top1", "balanced_accuracy", "macro_precision", "worst_class"]
    names += [f"{kind}/{c}" for kind in ("top1", "precision") for c in SIZES]
    return [
        Score(
            "toy", training_set, "tiny", seed, "val", name, 0.4, low, high,
            SIZES[name.split("/")[1]] if name.startswith("top1/") else 100,
        )
        for name in names
        for seed in (None, 0)
    ]  # fmt: skip


def test_tables_of_classes_show_chance_and_mark_what_reaches_it_in_every_format() -> None:
    index = index_scores([*everything("real", False), *everything("blind", True)])
    settings = ReportSettings("val", ("real", "blind"), ("val",), ())
    worst = subgroup_tables.worst_class_table(index, settings)
    real, blind, chance = worst.rows
    assert not any(cell.faint for cell in real)
    assert all(cell.faint and cell.text.endswith("°") for cell in blind[3:7])
    shown = [cell.text for cell in chance]
    least = 100 * minima.least_by_chance([*SIZES.values()], 1 / 7)
    assert shown[:7] == ["chance", "", "val", "40.0", "14.3", "14.3", f"{least:.1f}"]
    precision = subgroup_tables.precision_table(index, settings)
    by_class = {row[0].text: row for row in precision.rows}
    assert [cell.text for cell in by_class["bat"][3:]] == [
        "40.0", "40.0 [70.0, 90.0]", "40.0 [0.0, 50.0]°",
    ]  # fmt: skip
    for table in (worst, precision):
        assert "° not clearly above chance" in table.note
        assert "50.0]°" in to_markdown(table).replace("\\", "")
        assert "50.0]$^{\\circ}$" in to_latex(table)
        assert 'class="number faint"' in to_html(table)
        assert not any(cell.bold for row in table.rows for cell in row)
    assert to_csv(precision).splitlines()[1].startswith("bat,tiny,val,40.0,40.0,70.0,90.0,")
    assert to_csv(worst).splitlines()[-1].startswith("chance,,val,40.0,,,14.2857,,,14.2857,,,")


def label_rows(low: float, high: float) -> list[LabelRow]:
    sizes = {"": 100, "bat": 60, "car": 30, "dog": 10}
    return [
        LabelRow("variant", "caption", "tiny", class_id, metric, 0.5, low, high, n, 3)
        for class_id, n in sizes.items()
        for metric in METRICS
    ]


def test_labels_that_are_no_better_than_random_are_marked() -> None:
    settings = PromptTableSettings(("caption",), "real")
    # 1 - 60 / 100 of all, 1 - 1/3 of a class.
    (marked,) = label_table(label_rows(0.3, 0.45), settings).rows
    assert [cell.faint for cell in marked[2:6]] == [True, True, True, False]
    assert (marked[6].text, marked[2].text) == ("40.0", "50.0 [30.0, 45.0]°")
    by_class = label_table(label_rows(0.3, 0.45), settings, by_class=True)
    assert {row[7].text for row in by_class.rows} == {"66.7"}
    assert not any(cell.faint for row in by_class.rows for cell in row[3:7])
    assert "° not clearly below chance" not in by_class.note
    (clear,) = label_table(label_rows(0.1, 0.39), settings).rows
    assert not any(cell.faint for cell in clear[2:6])


def test_probes_that_are_no_better_than_the_largest_class_are_marked() -> None:
    rows = [
        Score("toy", name, "tiny", seed, f"u/{probe}", metric, value, low, high, 60)
        for name, bounds in (("real", (0.5, 0.7)), ("blind", (0.25, 0.5)))
        for probe in ("linear", "knn")
        for metric, value, low, high in (("top1", 0.6, *bounds), ("chance", 0.25, None, None))
        for seed in (None, 0)
    ]
    table = probe_table(rows, ReportSettings("v", ("real", "blind"), ("v",), ()))
    assert [[c.faint for c in row[4:]] for row in table.rows] == [[False] * 2, [True] * 2]
    assert table.rows[1][4].text == "60.0 [25.0, 50.0]°"
    assert {row[3].text for row in table.rows} == {"25.0"}
    assert "° not clearly above chance" in table.note


def test_where_the_classes_are_not_known_nothing_is_at_chance() -> None:
    nothing = chance_levels(index_scores([]))
    assert not nothing.reached_by(score("top1", 0.0, 1.0))
