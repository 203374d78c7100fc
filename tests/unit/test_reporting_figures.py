from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from capsynth.errors import CapsynthError
from capsynth.reporting import figures, measured_figures, stage_times
from capsynth.reporting.budgets import Budget, Budgets, index_budgets
from capsynth.reporting.measured_figures import CurvePoint
from capsynth.reporting.robustness_scores import LinePoint, RobustnessSettings
from capsynth.reporting.scores import Score, index_scores
from capsynth.reporting.settings import ReportSettings
from capsynth.reporting.style import NO_EVIDENCE, PALETTE, new_figure, save_figure

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
    figure = figures._robustness_figure(
        index_scores(scores()), SETTINGS, MEASURED, line(), "linear"
    )
    of_r, of_c = figure.axes
    dashed = [d for d in of_r.lines if d.get_linestyle() == "--" and len(d.get_xdata()) > 2]
    assert [list(drawn.get_xdata()) for drawn in dashed] == [[0.1, 0.3, 0.5, 0.7, 0.9]]
    assert [0.3, 0.5, 0.7] in [list(d.get_xdata()) for d in of_r.lines if d not in dashed]
    assert len(of_r.collections) == len(of_c.collections) + 1
    assert not any(d.get_linestyle() == "--" and len(d.get_xdata()) > 2 for d in of_c.lines)


def test_of_many_classes_the_largest_gains_and_losses_are_drawn() -> None:
    figure = figures._class_gains_figure(index_scores(scores(100)), SETTINGS, {}, ("$a$", "real"))
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == [f"class-{i}" for i in (*range(20), *range(80, 100))]


def budgets(steps: int) -> Budgets:
    """Return budgets of which ``$a$`` in recipe one has so many steps."""
    return index_budgets(
        Budget("toy", name, recipe, 0, 400, 0, steps if name == "$a$" else 208, 16.0)
        for name in ("real", "$a$")
        for recipe in ("one", "two")
    )


@pytest.mark.parametrize(("steps", "told"), [(208, False), (400, True)])
def test_a_figure_of_gains_tells_of_unequal_steps(steps: int, told: bool) -> None:
    index = index_scores(scores())
    figure = figures._class_gains_figure(index, SETTINGS, budgets(steps), ("$a$", "real"))
    assert figure._supxlabel is not None
    text = figure._supxlabel.get_text()
    assert ("† the two sides differ in optimisation steps: 400 and 208" in text) is told
    assert ("†" in text) is told


def drawn_colours(axes: Axes) -> set[str]:
    """Return the colours of the markers of a panel."""
    return {
        to_hex(line.get_markeredgecolor()).upper()
        for line in axes.lines
        if line.get_marker() not in ("None", "none", None)
    }


def test_gains_of_classes_on_which_both_sides_are_at_chance_are_grey_and_open() -> None:
    rows = scores()
    for name, low in (("real", 0.3), ("$a$", 0.2)):
        for i in range(3):
            # An even guess among three classes is right on a third: class 0 reaches it.
            bound = low if i == 0 else 0.4
            rows.append(
                Score("toy", name, "one", None, "val", f"top1/class-{i}", 0.5, bound, 0.6, 50)
            )
    figure = figures._class_gains_figure(index_scores(rows), SETTINGS, {}, ("$a$", "real"))
    markers = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [to_hex(m.get_markeredgecolor()).upper() for m in markers] == [
        NO_EVIDENCE.upper(), PALETTE[0], PALETTE[0],
    ]  # fmt: skip
    assert to_hex(markers[0].get_markerfacecolor()) == "#ffffff"
    assert to_hex(markers[1].get_markerfacecolor()).upper() == PALETTE[0]


def test_with_one_seed_no_gain_is_filled() -> None:
    rows = [row for row in scores() if row.seed != 1]
    figure = figures._class_gains_figure(index_scores(rows), SETTINGS, {}, ("$a$", "real"))
    markers = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert {to_hex(marker.get_markerfacecolor()) for marker in markers} == {"#ffffff"}


def class_sizes() -> list[Score]:
    """Return accuracies of four classes of 40, 20, 20 and 20 images: chance is 40 %."""
    return [
        Score("toy", "real", "one", None, name, f"top1/{i}", 0.9, 0.8, 1.0, n)
        for name in SETTINGS.eval_sets
        for i, n in enumerate((40, 20, 20, 20))
    ]


def test_chance_is_a_line_on_both_axes_and_points_at_chance_are_grey() -> None:
    # $a$ has 0.4 [0.3, 0.5]: at chance.
    index = index_scores([*scores(classes=0), *class_sizes()])
    figure = figures._robustness_figure(index, SETTINGS, MEASURED, [], "linear")
    axes = figure.axes[0]
    assert [0.4, 0.4] in [list(line.get_ydata()) for line in axes.lines]
    assert [0.4, 0.4] in [list(line.get_xdata()) for line in axes.lines]
    assert drawn_colours(axes) >= {PALETTE[0], NO_EVIDENCE.upper()}
    assert PALETTE[1] not in drawn_colours(axes)


def test_curves_have_a_line_of_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[Figure] = []
    monkeypatch.setattr(measured_figures, "save_figure", lambda figure, _: kept.append(figure))
    points = [CurvePoint("real", "real", 1.0), CurvePoint("real", "$a$", 0.5)]
    rows = [*scores(classes=0), *class_sizes()]
    measured_figures.plot_curves(rows, SETTINGS, points, "share", False, [])
    axes = kept[0].axes[0]
    assert [0.4, 0.4] in [list(line.get_ydata()) for line in axes.lines]
    colours = [to_hex(c).upper() for c in axes.collections[-1].get_facecolor()]
    assert colours == [NO_EVIDENCE.upper(), PALETTE[0]]


def test_a_comparison_without_scores_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CapsynthError, match="no scores compare 'real' with 'b'"):
        figures.plot_class_gains(scores(), SETTINGS, {}, ("real", "b"), [tmp_path / "x.png"])


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
