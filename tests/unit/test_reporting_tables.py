import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from capsynth.errors import CapsynthError
from capsynth.reporting import score_tables, tables
from capsynth.reporting.budgets import Budget, Budgets, Sides, index_budgets
from capsynth.reporting.pages import page
from capsynth.reporting.scores import Score, index_scores
from capsynth.reporting.settings import ReportSettings

SETTINGS = ReportSettings("val", ("real", "a_b", "lone"), ("val", "r"), (("a_b", "real"),))


def run(training_set: str, seed: int, eval_set: str, value: float, metric: str = "top1") -> Score:
    return Score("toy", training_set, "tiny", seed, eval_set, metric, value, 0.0, 1.0, 50)


def mean(
    training_set: str,
    eval_set: str,
    value: float,
    low: float,
    high: float,
    metric: str = "top1",
    n: int = 50,
) -> Score:
    return Score("toy", training_set, "tiny", None, eval_set, metric, value, low, high, n)


def difference(metric: str, value: float, low: float | None, high: float | None) -> Score:
    return Score("toy", "a_b - real", "tiny", None, "val", metric, value, low, high, 50)


# Two classes of 30 and 20 images: always naming the larger one is right on 60 %.
CLASSES = [
    Score("toy", "real", "tiny", None, eval_set, metric, 0.8, 0.7, 0.9, n)
    for eval_set in ("val", "r")
    for metric, n in (("top1/bat", 30), ("top1/car", 20))
]
SCORES = [
    run("real", 0, "val", 0.90),
    run("real", 1, "val", 0.94),
    mean("real", "val", 0.92, 0.85, 0.97),
    run("a_b", 0, "val", 0.7),
    run("a_b", 1, "val", 0.7),
    mean("a_b", "val", 0.7, 0.61, 0.79),
    run("a_b", 0, "r", 0.25),
    run("a_b", 1, "r", 0.25),
    mean("a_b", "r", 0.25, 0.1, 0.6),
    run("lone", 0, "r", 0.75),
    run("lone", 1, "r", 0.75),
    mean("lone", "r", 0.75, 0.65, 0.8),
    replace(run("real", 0, "val", 0.8, "top1/bat"), n=30),
    replace(run("a_b", 0, "val", 0.3, "top1/bat"), n=30),
    *CLASSES,
    difference("top1", -0.22, -0.3, -0.1),
    difference("p_value", 0.0004, None, None),
    difference("p_holm", 0.012, None, None),
]


def budget(training_set: str, real: int, synthetic: int, steps: int, seed: int = 0) -> Budget:
    return Budget("toy", training_set, "tiny", seed, real, synthetic, steps, 16.0)


EQUAL = index_budgets([budget("real", 400, 0, 208), budget("a_b", 0, 398, 208)])
UNEQUAL = index_budgets([budget("real", 400, 0, 208), budget("a_b", 400, 400, 400)])


def main_table(budgets: Budgets = EQUAL) -> tables.Table:
    return score_tables.main_table(index_scores(SCORES), SETTINGS, budgets)


def comparisons(budgets: Budgets = EQUAL, rows: list[Score] | None = None) -> tables.Table:
    return score_tables.comparison_table(index_scores(rows or SCORES), SETTINGS, budgets)


def texts(table: tables.Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


def formats(table: tables.Table) -> dict[str, str]:
    """Return a table in all formats, and as the terminal shows it."""
    made = {name: write(table) for name, write in tables.FORMATS.items()}
    return made | {"terminal": "\n".join(tables.terminal_lines(made["md"]))}


def test_cells_are_means_and_half_their_interval_in_percent_and_the_last_row_is_chance() -> None:
    assert texts(main_table()) == [
        ["real", "tiny", "400", "208", "16", "92.0 ± 7.0", tables.MISSING],
        ["a_b", "tiny", "398", "208", "16", "70.0 ± 9.0", "25.0 ± 35.0°"],
        ["lone", "tiny", *[tables.MISSING] * 4, "75.0 ± 10.0"],
        ["chance", "", "", "", "", "60.0", "60.0"],
    ]


def test_images_of_both_kinds_stand_apart_and_seeds_that_differ_give_a_range() -> None:
    rows = [budget("real", 400, 0, 208), budget("a_b", 400, 1200, 1000)]
    table = main_table(index_budgets([*rows, budget("a_b", 399, 1200, 1000, seed=1)]))
    assert texts(table)[1][2:4] == ["399 to 400 + 1,200", "1,000"]
    row = list(csv.DictReader(io.StringIO(tables.to_csv(table))))[1]
    names = ("real_images", "synthetic_images", "steps", "epochs")
    assert [row[name] for name in names] == ["399.5", "1200", "1000", "16"]


def bold(table: tables.Table) -> list[list[bool]]:
    return [[cell.bold for cell in row[5:]] for row in table.rows]


def test_bold_is_the_highest_mean_that_the_data_tell_from_the_others() -> None:
    # On r the highest is the only one above chance; the interval of the other ends below its.
    assert bold(main_table()) == [[True, False], [False, False], [False, True], [False, False]]


def with_means(*rows: Score) -> list[list[bool]]:
    names = {(row.training_set, row.eval_set) for row in rows}
    others = [s for s in SCORES if s.seed is not None or (s.training_set, s.eval_set) not in names]
    index = index_scores([*others, *CLASSES, *rows])
    return bold(score_tables.main_table(index, SETTINGS, EQUAL))


def test_what_the_data_do_not_tell_from_the_highest_is_bold_with_it() -> None:
    lower = mean("lone", "val", 0.8, 0.7, 0.84)
    runs = [run("lone", seed, "val", 0.8) for seed in (0, 1)]
    near = mean("a_b", "val", 0.85, 0.75, 0.85)
    index = index_scores([*SCORES, *runs, lower, near])
    table = score_tables.main_table(index, SETTINGS, EQUAL)
    assert [row[5].bold for row in table.rows] == [True, True, False, False]


def test_where_all_are_alike_none_is_bold() -> None:
    assert with_means(mean("a_b", "val", 0.85, 0.75, 0.85))[:2] == [[False, False], [False, False]]


def one_seed() -> list[Score]:
    return [row for row in SCORES if row.seed != 1 and row.metric not in ("p_value", "p_holm")]


def test_with_one_seed_nothing_is_bold_and_the_tables_say_what_intervals_hold() -> None:
    index = index_scores(one_seed())
    made = [
        score_tables.main_table(index, SETTINGS, EQUAL),
        score_tables.comparison_table(index, SETTINGS, EQUAL),
        score_tables.class_table(index, SETTINGS),
    ]
    for table in made:
        assert not any(cell.bold for row in table.rows for cell in row)
        for text in formats(table).values():
            assert "<b>" not in text
            assert "deviation" not in text
        assert "One training seed: the interval holds images only" in table.note
    assert texts(made[0])[0][5] == "90.0 ± 7.0"
    assert [cell.text for cell in made[1].rows[0][3:6]] == [
        "−22.0 [−30.0, −10.0]",  # noqa: RUF001 - a true minus
        tables.MISSING,
        tables.MISSING,
    ]


def test_what_is_not_clearly_above_chance_is_marked_in_every_format_and_never_bold() -> None:
    made = formats(main_table())
    assert "25.0 ± 35.0°" in made["md"]
    assert "25.0 ± 35.0°" in made["terminal"]
    assert r"25.0 $\pm$ 35.0$^{\circ}$" in made["tex"]
    assert '<td class="number faint" data-sort="25.0">25.0 ± 35.0°</td>' in made["html"]
    assert "chance,,,,,,60.0,,,,60.0,,,\n" in made["csv"]
    for name in ("md", "terminal", "tex", "html"):
        assert "not clearly above chance" in made[name]
    # 61 to 79 % lies above 60 %, whatever the number of classes.
    assert "70.0 ± 9.0°" not in made["md"]


def test_a_column_without_anything_above_chance_has_no_best() -> None:
    found = with_means(mean("lone", "r", 0.75, 0.6, 0.8))
    assert [row[1] for row in found] == [False] * 4


def test_the_csv_holds_numbers_and_leaves_missing_ones_empty() -> None:
    rows = list(csv.DictReader(io.StringIO(tables.to_csv(main_table()))))
    assert rows[0] == {
        "training_set": "real",
        "recipe": "tiny",
        "real_images": "400",
        "synthetic_images": "0",
        "steps": "208",
        "epochs": "16",
        "val": "92.0",
        "val_low": "85.0",
        "val_high": "97.0",
        "val_sd": "2.8284",
        "r": "",
        "r_low": "",
        "r_high": "",
        "r_sd": "",
    }


def test_a_comparison_at_equal_budgets_has_no_mark() -> None:
    table = comparisons(EQUAL)
    for text in formats(table).values():
        assert not set(text) & {"†", "‡"}
        assert "dagger" not in text
    row = next(csv.DictReader(io.StringIO(tables.to_csv(table))))
    assert row["equal"] == "images+steps"


def test_a_comparison_at_unequal_budgets_is_marked_in_every_format() -> None:
    made = formats(comparisons(UNEQUAL))
    for name in ("md", "terminal", "html"):
        assert "−22.0 [−30.0, −10.0] †‡" in made[name]  # noqa: RUF001 - a true minus
        assert "400 + 400 / 400" in made[name]
        assert "400 / 208" in made[name]
        assert "† the two sides differ in optimisation steps" in made[name]
        assert "‡ the two sides differ in the number of images" in made[name]
    assert r"$-$10.0] $^{\dagger}$$^{\ddagger}$" in made["tex"]
    assert r"$^{\dagger}$ the two sides differ in optimisation steps" in made["tex"]
    row = next(csv.DictReader(io.StringIO(made["csv"])))
    assert {name: row[name] for name in row if name.endswith(("_a", "_b", "equal"))} == {
        "real_images_a": "400",
        "synthetic_images_a": "400",
        "real_images_b": "400",
        "synthetic_images_b": "0",
        "steps_a": "400",
        "steps_b": "208",
        "equal": "none",
    }


@pytest.mark.parametrize(
    ("first", "second", "equal", "marks"),
    [
        ((400, 0, 208), (0, 400, 208), "images+steps", ""),
        ((400, 400, 208), (400, 0, 208), "steps", "‡"),
        ((400, 0, 208), (400, 0, 400), "images", "†"),
        # Within 1 % of the greater: 9,900 of 10,000, not 9,899.
        ((9900, 0, 9900), (0, 10000, 10000), "images+steps", ""),
        ((9899, 0, 9899), (0, 10000, 10000), "none", "†‡"),
    ],
)
def test_budgets_are_equal_within_one_percent(
    first: tuple[int, int, int], second: tuple[int, int, int], equal: str, marks: str
) -> None:
    sides = Sides([budget("a", *first)], [budget("b", *second)])
    assert (sides.equal, sides.marks) == (equal, marks)


def test_a_comparison_of_two_sides_at_chance_is_no_evidence() -> None:
    others = [row for row in SCORES if (row.training_set, row.metric) != ("real", "top1")]
    low = [mean("real", "val", 0.65, 0.6, 0.7), mean("a_b", "val", 0.3, 0.2, 0.4)]
    runs = [run("real", seed, "val", 0.65) for seed in (0, 1)]
    table = comparisons(EQUAL, [*others, *low, *runs])
    assert [cell.faint for cell in table.rows[0][3:6]] == [True] * 3
    made = formats(table)
    assert not any(cell.bold for cell in table.rows[0])
    for name in ("md", "terminal", "html"):
        assert "−22.0 [−30.0, −10.0]°" in made[name]  # noqa: RUF001 - a true minus
    assert r"$-$10.0]$^{\circ}$" in made["tex"]
    assert "both sides are not clearly above chance: no evidence" in table.note


def test_comparisons_show_points_interval_and_both_p_values() -> None:
    table = comparisons()
    assert [row[:6] for row in texts(table)] == [
        ["a_b − real", "tiny", "val", "−22.0 [−30.0, −10.0]", "< 0.001", "0.012"]  # noqa: RUF001 - a true minus
    ]
    assert table.rows[0][3].bold


def test_a_difference_whose_interval_holds_zero_is_not_bold() -> None:
    rows = [*SCORES[:-3], difference("top1", 0.1, -0.01, 0.2), *SCORES[-2:]]
    table = comparisons(EQUAL, rows)
    assert not table.rows[0][3].bold


def test_classes_have_a_row_each() -> None:
    table = score_tables.class_table(index_scores(SCORES), SETTINGS)
    # An even guess among two classes; the interval of the single run holds it.
    assert texts(table) == [
        ["bat", "tiny", "val", "30", "50.0", "80.0 ± 10.0", "30.0 ± 70.0°", tables.MISSING]
    ]


def test_several_datasets_get_a_column_of_their_own() -> None:
    other = Score("other", "real", "tiny", 0, "val", "top1", 0.1, 0.0, 1.0, 50)
    table = score_tables.main_table(index_scores([*SCORES, other]), SETTINGS, EQUAL)
    assert table.columns[1].title == "Dataset"
    assert {len(row) for row in table.rows} == {len(table.columns)}


HOSTILE = r"a|b\c<script>alert(1)</script>*x* $y$ 50% {z} & [l](javascript:x) ~^#_"


def hostile_table() -> tables.Table:
    column = tables.Column(HOSTILE, ("name",), numeric=False)
    cell = tables.Cell(HOSTILE, (HOSTILE,), HOSTILE, bold=True)
    return tables.Table("t", HOSTILE, HOSTILE, (column, column), ((cell, cell),))


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)


def test_hostile_names_stay_text_in_html() -> None:
    parser = Tags()
    parser.feed(tables.to_html(hostile_table()))
    assert parser.tags.count("script") == 1
    assert parser.tags.count("td") == 2


def test_hostile_names_stay_text_in_latex() -> None:
    latex = tables.to_latex(hostile_table())
    body = latex.split("\\midrule\n")[1].split("\\bottomrule")[0]
    cell = body.split(r"\textbf{")[1]
    assert r"a\textbar{}b\textbackslash{}c\textless{}script" in cell
    assert r"\$y\$ 50\% \{z\} \& {[}l]" in cell
    assert r"\textasciitilde{}\textasciicircum{}\#\_" in cell
    assert len(re.findall(r"(?<!\\)&", body)) == 1


def test_hostile_names_survive_markdown_and_the_terminal() -> None:
    markdown = tables.to_markdown(hostile_table())
    rows = [line for line in markdown.splitlines() if line.startswith("| ")]
    assert [len(re.findall(r"(?<!\\)\|", row)) for row in rows] == [3, 3, 3]
    assert "<script" not in markdown.replace("\\<script", "")
    assert tables.terminal_lines(markdown)[4].startswith(HOSTILE + "*")


def test_markdown_tells_columns_of_one_title_apart_by_their_groups() -> None:
    columns = tuple(
        tables.Column(title, (f"{group}-{title}",), group)
        for group, title in (("pixels", "near"), ("features", "near"), ("features", "equal"))
    )
    table = tables.Table("t", "Title", "Note.", columns, ())
    head = tables.to_markdown(table).splitlines()[2]
    assert head == "| pixels: near | features: near | equal |"


def test_latex_has_a_rule_under_each_group_and_one_alignment_a_column() -> None:
    latex = tables.to_latex(main_table())
    assert r"\begin{tabular}{llrrrrr}" in latex
    assert r"\cmidrule(lr){3-5} \cmidrule(lr){6-6} \cmidrule(lr){7-7}" in latex
    assert r"real & tiny & 400 & 208 & 16 & \textbf{92.0 $\pm$ 7.0} & -- \\" in latex


def test_the_terminal_shows_aligned_columns_with_a_star_at_the_best() -> None:
    lines = tables.terminal_lines(tables.to_markdown(main_table()))
    assert lines[0] == "Accuracy by training set"
    assert lines[4].split() == ["real", "tiny", "400", "208", "16", "92.0", "±", "7.0*", "–"]  # noqa: RUF001 - a dash
    # Decimal points stand under each other, starred or not.
    assert lines[4].index(".") == lines[5].index(".")


def test_a_page_allows_its_own_script_only() -> None:
    text = page("t", "n", "<p></p>", "", "show()")
    # The digest of show(): openssl dgst -sha256 -binary | base64
    assert "script-src 'sha256-bZcXq6A55386WOhnm+CkmXOdvD/gkjsQT5fkz6gxfg8='" in text
    assert "default-src 'none'" in text
    assert "http" not in text.replace("http-equiv", "")


def test_scores_of_other_training_sets_are_refused(tmp_path: Path) -> None:
    settings = ReportSettings("val", ("captoin",), ("val",), ())
    with pytest.raises(CapsynthError, match="captoin"):
        score_tables.make_tables(SCORES, settings, EQUAL, tmp_path)


def test_a_share_that_is_only_bounded_is_shown_as_at_most_its_bound() -> None:
    cell = tables.interval_cell(None, 0.0, 0.024)
    assert cell.text == "\N{LESS-THAN OR EQUAL TO} 2.4"
    assert cell.csv_values == ("", "0.0", "2.4")
    assert cell.sort is None
    assert tables.interval_cell(float("nan"), None, None).text == "\N{EN DASH}"
