"""Tables of the report, each as CSV, Markdown, LaTeX and a page that sorts."""

import csv
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from capsynth.errors import CapsynthError
from capsynth.files import write_text
from capsynth.reporting.pages import escape, page
from capsynth.reporting.scores import Score, ScoreIndex, index_scores
from capsynth.reporting.settings import ReportSettings

SIGNIFICANT = 0.05
PLUS_MINUS = "\N{PLUS-MINUS SIGN}"
MINUS = "\N{MINUS SIGN}"
MISSING = "\N{EN DASH}"


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        title: Its header.
        csv_names: Headers of the columns that it fills in the CSV.
        group: What stands above it and its neighbours of the same group.
        numeric: Whether it is aligned to the right.
    """

    title: str
    csv_names: tuple[str, ...]
    group: str = ""
    numeric: bool = True


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: What people read.
        csv_values: What programs read, one value for each of the column's ``csv_names``.
        sort: What the column is sorted by; None sorts last.
        bold: Whether it stands out.
    """

    text: str
    csv_values: tuple[str, ...]
    sort: str | float | None
    bold: bool = False


@dataclass(frozen=True)
class Table:
    """A table, before it is written in any format.

    Attributes:
        name: Name of its files.
        title: Its title.
        note: What it shows, how many runs and samples, and what the intervals are.
        columns: Its columns.
        rows: One cell a column.
    """

    name: str
    title: str
    note: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


def _label(text: str) -> Cell:
    return Cell(text, (text,), text)


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _points(value: float) -> str:
    """Return a difference in percentage points with its sign."""
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", MINUS)


def _number(value: float | None) -> str:
    """Return a value for the CSV, in percent."""
    return "" if value is None else repr(round(100 * value, 4) + 0.0)


def _label_columns(index: ScoreIndex) -> tuple[Column, ...]:
    """Return the columns of dataset and recipe; the dataset only where there are several."""
    several = len({dataset for dataset, _ in index.experiments}) > 1
    dataset = (Column("Dataset", ("dataset",), numeric=False),) if several else ()
    return (*dataset, Column("Recipe", ("recipe",), numeric=False))


def _labels(index: ScoreIndex, dataset: str, recipe: str) -> tuple[Cell, ...]:
    several = len({name for name, _ in index.experiments}) > 1
    return (*((_label(dataset),) if several else ()), _label(recipe))


def _group(settings: ReportSettings, eval_set: str) -> str:
    inside = eval_set == settings.in_distribution
    return "In distribution" if inside else "Out of distribution"


def spread(runs: Sequence[Score]) -> float | None:
    """Return the standard deviation (n - 1) of the runs' values; None for a single run."""
    return float(np.std([run.value for run in runs], ddof=1)) if len(runs) > 1 else None


def _accuracy_cell(runs: Sequence[Score]) -> Cell:
    if not runs:
        return Cell(MISSING, ("", ""), None)
    mean = float(np.mean([run.value for run in runs]))
    deviation = spread(runs)
    around = "" if deviation is None else f" {PLUS_MINUS} {_percent(deviation)}"
    return Cell(f"{_percent(mean)}{around}", (_number(mean), _number(deviation)), 100 * mean)


def _with_best(cells: Sequence[Cell]) -> list[Cell]:
    """Return the cells with the highest in bold; so are those that look equal to it."""
    known = [cell for cell in cells if isinstance(cell.sort, float)]
    if len(known) < 2:
        return list(cells)
    best = max(round(float(cell.sort or 0.0), 1) for cell in known)
    return [
        Cell(cell.text, cell.csv_values, cell.sort, cell in known and _rounded(cell) == best)
        for cell in cells
    ]


def _rounded(cell: Cell) -> float:
    return round(float(cell.sort or 0.0), 1)


def _seeds_in_words(runs: Sequence[Sequence[Score]]) -> str:
    counts = sorted({len(found) for found in runs if found})
    if not counts:
        return "no run"
    number = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    return f"{number} training seed{'' if counts == [1] else 's'}"


def main_table(index: ScoreIndex, settings: ReportSettings) -> Table:
    """Return top-1 accuracy: a row a training set and recipe, a column an evaluation set."""
    columns = (
        Column("Training set", ("training_set",), numeric=False),
        *_label_columns(index),
        *(
            Column(name, (name, f"{name} sd"), _group(settings, name))
            for name in settings.eval_sets
        ),
    )
    rows: list[tuple[Cell, ...]] = []
    used: list[list[Score]] = []
    for dataset, recipe in index.experiments:
        found = [
            [
                index.runs.get((dataset, training_set, recipe, eval_set, "top1"), [])
                for eval_set in settings.eval_sets
            ]
            for training_set in settings.training_sets
        ]
        used += [runs for row in found for runs in row]
        by_column = [
            _with_best([_accuracy_cell(row[column]) for row in found])
            for column in range(len(settings.eval_sets))
        ]
        rows += [
            (
                _label(training_set),
                *_labels(index, dataset, recipe),
                *(cells[position] for cells in by_column),
            )
            for position, training_set in enumerate(settings.training_sets)
            if any(found[position])
        ]
    several = " of a recipe" if len(index.experiments) > 1 else ""
    note = (
        f"Top-1 accuracy in percent: mean {PLUS_MINUS} standard deviation over "
        f"{_seeds_in_words(used)}. Bold: the highest mean of a column{several}. "
        f"In distribution: {settings.in_distribution}."
    )
    return Table("main", "Accuracy by training set", note, columns, tuple(rows))


def _p_text(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def comparison_table(index: ScoreIndex, settings: ReportSettings) -> Table:
    """Return the paired differences of the configured comparisons."""
    columns = (
        Column("Comparison", ("comparison",), numeric=False),
        *_label_columns(index),
        Column("Evaluation set", ("eval_set",), numeric=False),
        Column("Difference", ("difference", "ci_low", "ci_high")),
        Column("p", ("p_value",)),
        Column("p (Holm)", ("p_holm",)),
    )
    rows = []
    for dataset, recipe in index.experiments:
        for first, second in settings.comparisons:
            for eval_set in settings.eval_sets:
                name = (dataset, f"{first} - {second}", recipe, eval_set)
                found = [index.summaries.get((*name, m)) for m in ("top1", "p_value", "p_holm")]
                top1, p_value, p_holm = found
                if top1 is None or p_value is None or p_holm is None:
                    continue
                rows.append(
                    (
                        Cell(f"{first} {MINUS} {second}", (name[1],), name[1]),
                        *_labels(index, dataset, recipe),
                        _label(eval_set),
                        _difference_cell(top1, p_holm.value),
                        Cell(_p_text(p_value.value), (repr(p_value.value),), p_value.value),
                        Cell(_p_text(p_holm.value), (repr(p_holm.value),), p_holm.value),
                    )
                )
    note = (
        "Paired difference in top-1 accuracy in percentage points with its 95 % interval, which "
        "holds the variance of images within class and that of training seeds. p: the t test that "
        "belongs to the interval; it asks whether the training sets differ on new images and with "
        "new seeds. Holm: corrected for all rows. Bold: the interval excludes 0 and "
        f"the corrected p is below {SIGNIFICANT}."
    )
    return Table("comparisons", "Paired comparisons of training sets", note, columns, tuple(rows))


def _difference_cell(top1: Score, p_holm: float) -> Cell:
    low, high = top1.ci_low, top1.ci_high
    if low is None or high is None:
        raise CapsynthError(f"{top1.training_set}: no interval; run collect_scores again")
    return Cell(
        f"{_points(top1.value)} [{_points(low)}, {_points(high)}]",
        (_number(top1.value), _number(low), _number(high)),
        100 * top1.value,
        bold=p_holm < SIGNIFICANT and not low <= 0.0 <= high,
    )


def class_names_of(index: ScoreIndex, settings: ReportSettings) -> list[str]:
    """Return the classes that have an accuracy of their own in distribution, sorted."""
    return sorted(
        {
            name[4].removeprefix("top1/")
            for name in index.runs
            if name[3] == settings.in_distribution and name[4].startswith("top1/")
        }
    )


def class_table(index: ScoreIndex, settings: ReportSettings) -> Table:
    """Return top-1 accuracy per class: a row a class and evaluation set."""
    columns = (
        Column("Class", ("class_id",), numeric=False),
        *_label_columns(index),
        Column("Evaluation set", ("eval_set",), numeric=False),
        Column("n", ("n",)),
        *(Column(name, (name, f"{name} sd")) for name in settings.training_sets),
    )
    rows = []
    used: list[list[Score]] = []
    for dataset, recipe in index.experiments:
        for eval_set in settings.eval_sets:
            for class_id in class_names_of(index, settings):
                found = [
                    index.runs.get((dataset, name, recipe, eval_set, f"top1/{class_id}"), [])
                    for name in settings.training_sets
                ]
                used += found
                if not any(found):
                    continue
                n = next(runs[0].n for runs in found if runs)
                rows.append(
                    (
                        _label(class_id),
                        *_labels(index, dataset, recipe),
                        _label(eval_set),
                        Cell(str(n), (str(n),), float(n)),
                        *_with_best([_accuracy_cell(runs) for runs in found]),
                    )
                )
    note = (
        f"Top-1 accuracy per class in percent: mean {PLUS_MINUS} standard deviation over "
        f"{_seeds_in_words(used)}, on the n samples of the class. Bold: the highest mean of a row."
    )
    return Table("per-class", "Accuracy by class", note, columns, tuple(rows))


def to_csv(table: Table) -> str:
    """Return the table as CSV, numbers in percent or points."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([name for column in table.columns for name in column.csv_names])
    for row in table.rows:
        writer.writerow([value for cell in row for value in cell.csv_values])
    return out.getvalue()


def _escape_markdown(text: str) -> str:
    """Return text that Markdown shows as it is; only what could start markup is escaped."""
    return re.sub(
        r"[\\`*_|]|<(?! )|(?<=\])\(", lambda found: "\\" + found[0], " ".join(text.split())
    )


def to_markdown(table: Table) -> str:
    """Return the table as Markdown, its columns padded so that it reads as plain text too."""
    lines = [[_escape_markdown(column.title) for column in table.columns]]
    for row in table.rows:
        texts = [_escape_markdown(cell.text) for cell in row]
        lines.append([f"**{t}**" if cell.bold else t for t, cell in zip(texts, row, strict=True)])
    widths = [max(3, *(len(line[i]) for line in lines)) for i in range(len(table.columns))]
    rule = [
        "-" * (width - 1) + ":" if column.numeric else "-" * width
        for width, column in zip(widths, table.columns, strict=True)
    ]
    padded = [
        [
            text.rjust(width) if column.numeric else text.ljust(width)
            for text, width, column in zip(line, widths, table.columns, strict=True)
        ]
        for line in (lines[0], rule, *lines[1:])
    ]
    body = "".join(f"| {' | '.join(line)} |\n" for line in padded)
    return f"**{_escape_markdown(table.title)}**\n\n{body}\n{_escape_markdown(table.note)}\n"


_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",
    PLUS_MINUS: r"$\pm$",
    MINUS: r"$-$",
    MISSING: "--",
}


def escape_latex(text: str) -> str:
    """Return text that LaTeX sets as it is."""
    return "".join(_LATEX.get(c, c) for c in " ".join(text.split()))


def _spans(columns: Sequence[Column]) -> list[tuple[str, int]]:
    """Return the groups above the columns with the number of columns under each."""
    return [(group, len(list(of))) for group, of in groupby(column.group for column in columns)]


def to_latex(table: Table) -> str:
    r"""Return the table as a LaTeX float; the document needs the package booktabs."""
    lines = [r"\begin{table}", r"\centering"]
    lines.append(rf"\caption{{{escape_latex(table.title)}. {escape_latex(table.note)}}}")
    lines.append(rf"\label{{tab:{table.name}}}")
    kinds = "".join("r" if column.numeric else "l" for column in table.columns)
    lines += [rf"\begin{{tabular}}{{{kinds}}}", r"\toprule"]
    spans = _spans(table.columns)
    if len(spans) > 1:
        lines.append(
            " & ".join(rf"\multicolumn{{{n}}}{{c}}{{{escape_latex(group)}}}" for group, n in spans)
            + r" \\"
        )
        ends = np.cumsum([n for _, n in spans])
        lines.append(
            " ".join(
                rf"\cmidrule(lr){{{end - n + 1}-{end}}}"
                for (group, n), end in zip(spans, ends, strict=True)
                if group
            )
        )
    lines.append(" & ".join(escape_latex(column.title) for column in table.columns) + r" \\")
    lines.append(r"\midrule")
    for row in table.rows:
        texts = [
            rf"\textbf{{{escape_latex(cell.text)}}}" if cell.bold else escape_latex(cell.text)
            for cell in row
        ]
        lines.append(" & ".join(texts) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(["% needs \\usepackage{booktabs}", *lines]) + "\n"


_TABLE_STYLE = """
.scroll { overflow-x: auto; }
table { border-collapse: collapse; border-top: 2px solid #1b1f24; border-bottom: 2px solid #1b1f24;
  font-variant-numeric: tabular-nums; }
th { font-weight: 600; text-align: left; vertical-align: bottom; padding: 0; white-space: nowrap; }
th.group { text-align: center; padding: .35rem .9rem .15rem; color: #57606a; font-size: .85rem; }
th.group span { display: block; border-bottom: 1px solid #c8cdd3; padding-bottom: .15rem; }
thead tr:last-child th { border-bottom: 1px solid #1b1f24; }
th button { all: unset; box-sizing: border-box; width: 100%; padding: .4rem .9rem;
  cursor: pointer; }
th.number button { text-align: right; }
th button:hover { background: #f0f3f6; }
th button:focus-visible { outline: 2px solid #0072b2; outline-offset: -2px; }
th button::after { content: "\\2195"; color: #b6bdc5; margin-left: .35em; font-size: .8em; }
th[aria-sort=ascending] button::after { content: "\\2191"; color: #0072b2; }
th[aria-sort=descending] button::after { content: "\\2193"; color: #0072b2; }
td { padding: .34rem .9rem; white-space: nowrap; }
td.number { text-align: right; padding-right: calc(.9rem + 1.1em); }
tbody tr + tr td { border-top: 1px solid #eceff2; }
tbody tr:hover td { background: #f6f8fa; }
td.best { font-weight: 700; }
"""

# Numbers sort from the highest at the first click, names from A; cells without a value stay last.
_TABLE_SCRIPT = """
"use strict";
const table = document.querySelector("table");
const heads = Array.from(table.querySelectorAll("th button"), (button) => button.parentElement);
const body = table.tBodies[0];
heads.forEach((head, column) => {
  head.firstElementChild.addEventListener("click", () => {
    const number = head.classList.contains("number");
    const before = head.getAttribute("aria-sort");
    const first = number ? "descending" : "ascending";
    const other = number ? "ascending" : "descending";
    const order = before === first ? other : first;
    const sign = order === "ascending" ? 1 : -1;
    const value = (row) => row.cells[column].dataset.sort;
    const compare = (a, b) => {
      if (value(a) === undefined || value(b) === undefined)
        return (value(a) === undefined) - (value(b) === undefined);
      return sign * (number ? value(a) - value(b) : value(a).localeCompare(value(b)));
    };
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", order);
    body.append(...Array.from(body.rows).sort(compare));
  });
});
"""


def to_html(table: Table) -> str:
    """Return the table as a page of its own; a click on a header sorts."""
    groups = ""
    spans = _spans(table.columns)
    if len(spans) > 1:
        heads = "".join(
            f'<th class="group" colspan="{n}">'
            + (f"<span>{escape(group)}</span>" if group else "")
            + "</th>"
            for group, n in spans
        )
        groups = f"<tr>{heads}</tr>\n"
    titles = "".join(
        f'<th{_html_class(column)} scope="col"><button type="button">{escape(column.title)}'
        "</button></th>"
        for column in table.columns
    )
    rows = "".join(
        "<tr>"
        + "".join(_html_cell(cell, column) for cell, column in zip(row, table.columns, strict=True))
        + "</tr>\n"
        for row in table.rows
    )
    body = (
        f'<div class="scroll"><table>\n<thead>\n{groups}<tr>{titles}</tr>\n</thead>\n'
        f"<tbody>\n{rows}</tbody>\n</table></div>"
    )
    return page(table.title, table.note, body, _TABLE_STYLE, _TABLE_SCRIPT)


def _html_class(column: Column, bold: bool = False) -> str:
    names = [name for name, wanted in (("number", column.numeric), ("best", bold)) if wanted]
    return f' class="{" ".join(names)}"' if names else ""


def _html_cell(cell: Cell, column: Column) -> str:
    sort = "" if cell.sort is None else f' data-sort="{escape(cell.sort)}"'
    return f"<td{_html_class(column, cell.bold)}{sort}>{escape(cell.text)}</td>"


FORMATS: dict[str, Callable[[Table], str]] = {
    "csv": to_csv,
    "md": to_markdown,
    "tex": to_latex,
    "html": to_html,
}


def make_tables(scores: Sequence[Score], settings: ReportSettings, folder: Path) -> None:
    """Write ``main``, ``comparisons`` and ``per-class`` into ``folder`` in every format.

    Raises:
        CapsynthError: If none of the configured training sets has a score.
    """
    index = index_scores(scores)
    tables = [build(index, settings) for build in (main_table, comparison_table, class_table)]
    if not tables[0].rows:
        raise CapsynthError(
            "no score belongs to the training sets "
            f"{', '.join(settings.training_sets)}; run collect_scores for them"
        )
    for table in tables:
        for suffix, write in FORMATS.items():
            write_text(folder / f"{table.name}.{suffix}", write(table))


def terminal_lines(markdown: str) -> list[str]:
    """Return a table written by ``to_markdown`` as aligned lines for a terminal.

    The best values, bold in Markdown, keep one star.

    Raises:
        CapsynthError: If the text holds no such table.
    """
    lines = markdown.splitlines()
    rows = [_split_row(line) for line in lines if line[:2] == "| "]
    if len(rows) < 3 or len({len(row) for row in rows}) > 1:
        raise CapsynthError("the file holds no table; run make_tables again")
    columns = [
        _terminal_column(rule, [head, *cells]) for head, rule, *cells in zip(*rows, strict=True)
    ]
    head, *body = ["  ".join(line).rstrip() for line in zip(*columns, strict=True)]
    rule = "  ".join("-" * len(column[0]) for column in columns)
    title, *notes = [_plain(line) for line in lines if line and line[:2] != "| "]
    return [title.strip("*"), "", head, rule, *body, "", *(_starred(note) for note in notes)]


def _terminal_column(rule: str, cells: Sequence[str]) -> list[str]:
    """Return the cells of a column padded to one width, a star after those in bold."""
    bold = [len(cell) > 4 and cell.startswith("**") and cell.endswith("**") for cell in cells]
    texts = [_plain(c[2:-2]) + "*" if b else _plain(c) for c, b in zip(cells, bold, strict=True)]
    if rule.endswith(":"):
        mark = " " if any(bold) else ""
        texts = [text if b else text + mark for text, b in zip(texts, bold, strict=True)]
        width = max(len(text) for text in texts)
        return [text.rjust(width) for text in texts]
    width = max(len(text) for text in texts)
    return [text.ljust(width) for text in texts]


def _starred(note: str) -> str:
    return note.replace("Bold: ", "*: ")


def _split_row(line: str) -> list[str]:
    """Return the cells of a Markdown row; an escaped bar does not end a cell."""
    cells, cell = [], ""
    escaped = False
    for c in line.strip()[1:]:
        if c == "|" and not escaped:
            cells.append(cell.strip())
            cell = ""
        else:
            cell += c
        escaped = c == "\\" and not escaped
    return cells


def _plain(text: str) -> str:
    """Return Markdown without the backslashes of ``_escape_markdown``."""
    return re.sub(r"\\(.)", r"\1", text)
