import csv
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from capsynth.errors import CapsynthError
from capsynth.reporting import score_tables, tables
from capsynth.reporting.pages import page
from capsynth.reporting.scores import Score, index_scores
from capsynth.reporting.settings import ReportSettings

SETTINGS = ReportSettings("val", ("real", "a_b", "lone"), ("val", "r"), (("a_b", "real"),))


def run(training_set: str, seed: int, eval_set: str, value: float, metric: str = "top1") -> Score:
    return Score("toy", training_set, "tiny", seed, eval_set, metric, value, 0.0, 1.0, 50)


def difference(metric: str, value: float, low: float | None, high: float | None) -> Score:
    return Score("toy", "a_b - real", "tiny", None, "val", metric, value, low, high, 50)


SCORES = [
    run("real", 0, "val", 0.90),
    run("real", 1, "val", 0.94),
    run("a_b", 0, "val", 0.5),
    run("a_b", 1, "val", 0.5),
    run("a_b", 0, "r", 0.25),
    run("lone", 0, "r", 0.25),
    run("real", 0, "val", 0.8, "top1/bat"),
    run("a_b", 0, "val", 0.3, "top1/bat"),
    difference("top1", -0.42, -0.5, -0.3),
    difference("p_value", 0.0004, None, None),
    difference("p_holm", 0.012, None, None),
]


def main_table() -> tables.Table:
    return score_tables.main_table(index_scores(SCORES), SETTINGS)


def texts(table: tables.Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


def test_cells_are_mean_and_sample_deviation_over_seeds_in_percent() -> None:
    assert texts(main_table()) == [
        ["real", "tiny", "92.0 ± 2.8", tables.MISSING],
        ["a_b", "tiny", "50.0 ± 0.0", "25.0"],
        ["lone", "tiny", tables.MISSING, "25.0"],
    ]


def test_the_highest_mean_of_a_column_is_bold_and_so_is_its_equal() -> None:
    assert [[cell.bold for cell in row[2:]] for row in main_table().rows] == [
        [True, False],
        [False, True],
        [False, True],
    ]


def test_the_csv_holds_numbers_and_leaves_missing_ones_empty() -> None:
    rows = list(csv.DictReader(io.StringIO(tables.to_csv(main_table()))))
    assert rows[0] == {
        "training_set": "real",
        "recipe": "tiny",
        "val": "92.0",
        "val sd": "2.8284",
        "r": "",
        "r sd": "",
    }


def test_comparisons_show_points_interval_and_both_p_values() -> None:
    table = score_tables.comparison_table(index_scores(SCORES), SETTINGS)
    assert texts(table) == [
        ["a_b − real", "tiny", "val", "−42.0 [−50.0, −30.0]", "< 0.001", "0.012"]  # noqa: RUF001 - a true minus
    ]
    assert table.rows[0][3].bold


def test_a_difference_whose_interval_holds_zero_is_not_bold() -> None:
    rows = [*SCORES[:-3], difference("top1", 0.1, -0.01, 0.2), *SCORES[-2:]]
    table = score_tables.comparison_table(index_scores(rows), SETTINGS)
    assert not table.rows[0][3].bold


def test_classes_have_a_row_each() -> None:
    table = score_tables.class_table(index_scores(SCORES), SETTINGS)
    assert texts(table) == [["bat", "tiny", "val", "50", "80.0", "30.0", tables.MISSING]]


def test_several_datasets_get_a_column_of_their_own() -> None:
    other = Score("other", "real", "tiny", 0, "val", "top1", 0.1, 0.0, 1.0, 50)
    table = score_tables.main_table(index_scores([*SCORES, other]), SETTINGS)
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
    assert r"\begin{tabular}{llrr}" in latex
    assert r"\cmidrule(lr){3-3} \cmidrule(lr){4-4}" in latex
    assert r"a\_b & tiny & 50.0 $\pm$ 0.0 & \textbf{25.0} \\" in latex


def test_the_terminal_shows_aligned_columns_with_a_star_at_the_best() -> None:
    lines = tables.terminal_lines(tables.to_markdown(main_table()))
    assert lines[0] == "Accuracy by training set"
    assert lines[4].startswith("real          tiny    92.0 ± 2.8*")
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
        score_tables.make_tables(SCORES, settings, tmp_path)
