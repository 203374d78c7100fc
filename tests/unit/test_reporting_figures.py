from pathlib import Path

import pytest

from capsynth.errors import CapsynthError
from capsynth.reporting import figures, stage_times
from capsynth.reporting.robustness_scores import LinePoint, RobustnessSettings
from capsynth.reporting.scores import Score
from capsynth.reporting.settings import ReportSettings
from capsynth.reporting.style import new_figure, save_figure

SETTINGS = ReportSettings("val", ("real", "$a$"), ("val", "r", "c"), (("$a$", "real"),))
MEASURED = RobustnessSettings("val", {}, {}, ("real",), False)


def line() -> list[LinePoint]:
    return [
        LinePoint("toy", "r", "controls", 3, 1.0, 0.0, 0.2, 0.8, x, x, x - 0.05, x + 0.05)
        for x in (0.1, 0.3, 0.5, 0.7, 0.9)
    ]


def scores(classes: int = 3, top: float = 0.9) -> list[Score]:
    rows = []
    for eval_set in SETTINGS.eval_sets:
        for training_set, value in (("real", top), ("$a$", 0.4)):
            for recipe in ("one", "two"):
                for seed in (None, 0, 1):
                    rows.append(
                        Score("toy", training_set, recipe, seed, eval_set, "top1", value,
                              max(0.0, value - 0.1), min(1.0, value + 0.1), 50)
                    )  # fmt: skip
        for i in range(classes):
            gain = i / classes - 0.5
            rows.append(
                Score("toy", "$a$ - real", "one", None, eval_set, f"top1/class-{i}", gain,
                      gain - 0.1, gain + 0.1, 50)
            )  # fmt: skip
    return rows


def test_the_same_figure_is_the_same_bytes(tmp_path: Path) -> None:
    for name in ("first", "second"):
        paths = [tmp_path / f"{name}.png", tmp_path / f"{name}.svg"]
        figures.plot_robustness(scores(), SETTINGS, MEASURED, line(), "linear", paths)
    for suffix in ("png", "svg"):
        first, second = (tmp_path / f"{name}.{suffix}" for name in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()
    assert b"<dc:date>" not in (tmp_path / "first.svg").read_bytes()


def test_perfect_accuracy_can_be_drawn_on_logit_axes(tmp_path: Path) -> None:
    path = tmp_path / "robustness.svg"
    figures.plot_robustness(scores(top=1.0), SETTINGS, MEASURED, line(), "logit", [path])
    assert path.stat().st_size > 10_000


def test_a_line_is_drawn_dashed_beyond_its_classifiers_and_only_in_its_panel() -> None:
    from capsynth.reporting.scores import index_scores

    figure = figures._robustness_figure(
        index_scores(scores()), SETTINGS, MEASURED, line(), "linear"
    )
    of_r, of_c = figure.axes
    dashed = [drawn for drawn in of_r.lines if drawn.get_linestyle() == "--"]
    assert [list(drawn.get_xdata()) for drawn in dashed] == [[0.1, 0.3, 0.5, 0.7, 0.9]]
    assert [0.3, 0.5, 0.7] in [list(d.get_xdata()) for d in of_r.lines if d not in dashed]
    assert len(of_r.collections) == len(of_c.collections) + 1
    assert not any(drawn.get_linestyle() == "--" for drawn in of_c.lines)


def test_of_many_classes_the_largest_gains_and_losses_are_drawn() -> None:
    from capsynth.reporting.scores import index_scores

    figure = figures._class_gains_figure(index_scores(scores(100)), SETTINGS, ("$a$", "real"))
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == [f"class-{i}" for i in (*range(20), *range(80, 100))]


def test_a_comparison_without_scores_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CapsynthError, match="no scores compare 'real' with 'b'"):
        figures.plot_class_gains(scores(), SETTINGS, ("real", "b"), [tmp_path / "x.png"])


def test_an_experiment_without_scores_in_distribution_is_refused(tmp_path: Path) -> None:
    settings = ReportSettings("other", SETTINGS.training_sets, SETTINGS.eval_sets, ())
    with pytest.raises(CapsynthError, match="no run has a score on 'other'"):
        figures.plot_robustness(scores(), settings, MEASURED, [], "linear", [tmp_path / "x.png"])


def test_other_formats_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    paths = [tmp_path / "x.png", tmp_path / "x.gif"]
    with pytest.raises(CapsynthError, match="rename it"):
        save_figure(new_figure(1, 1), paths)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.16, "4.2 s"), (59.97, "1 min 00 s"), (185, "3 min 05 s"), (7_620, "2 h 07 min")],
)
def test_durations_are_read_easily(seconds: float, text: str) -> None:
    assert stage_times.duration(seconds) == text
