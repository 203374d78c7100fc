"""Tables of the report, each as CSV, Markdown, LaTeX and a page that sorts."""

import csv
import io
import math
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import numpy as np

from capsynth.errors import CapsynthError
from capsynth.files import write_text
from capsynth.reporting.pages import escape, page
from capsynth.reporting.table_page import SCRIPT, STYLE

PLUS_MINUS = "\N{PLUS-MINUS SIGN}"
MINUS = "\N{MINUS SIGN}"
MISSING = "\N{EN DASH}"
AT_MOST = "\N{LESS-THAN OR EQUAL TO}"
# What may follow a number: bold in a terminal, at chance, unequal steps, unequal images.
MARKS = "* \N{DEGREE SIGN}\N{DAGGER}\N{DOUBLE DAGGER}"


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
        faint: Whether it stands back: grey on a page. Its text has a mark for the other formats.
    """

    text: str
    csv_values: tuple[str, ...]
    sort: str | float | None
    bold: bool = False
    faint: bool = False


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


def label(text: str) -> Cell:
    """Return a cell that names something."""
    return Cell(text, (text,), text)


def count(number: int) -> Cell:
    """Return a cell that counts something."""
    return Cell(f"{number:,}", (str(number),), float(number))


def decimals(value: float, digits: int, signed: bool = False) -> str:
    """Return a number with so many decimals, a true minus and, where asked, its plus."""
    text = f"{value:{'+' if signed else ''}.{digits}f}"
    return (text.lstrip("+-") if float(text) == 0 else text).replace("-", MINUS)


def percent(value: float) -> str:
    """Return a share in percent."""
    return decimals(100 * value, 1)


def points(value: float) -> str:
    """Return a difference of shares in percentage points, with its sign."""
    return decimals(100 * value, 1, signed=True)


def csv_number(value: float | None, scale: float = 100.0) -> str:
    """Return a value for the CSV, in percent unless told; a missing one is empty."""
    return "" if value is None or math.isnan(value) else repr(round(scale * value, 4) + 0.0)


def interval_cell(
    value: float | None,
    low: float | None,
    high: float | None,
    *,
    scale: float = 100.0,
    digits: int = 1,
    signed: bool = False,
) -> Cell:
    """Return a cell of a number and its interval, ``59.2 [55.2, 63.0]``.

    Of a share that is not known itself but bounded from above it has the bound.

    Its column has three ``csv_names``: value, low, high (``interval_names``).

    Args:
        value: The number; None or NaN where there is none.
        low: Lower bound of its interval, None where there is none.
        high: Upper bound.
        scale: What is multiplied with: shares are shown in percent.
        digits: Decimals that people read.
        signed: Whether a plus is shown, as of differences.
    """
    values = (csv_number(value, scale), csv_number(low, scale), csv_number(high, scale))
    if value is None or math.isnan(value):
        if high is not None and not math.isnan(high) and low is not None and low <= 0.0:
            return Cell(f"{AT_MOST} {decimals(scale * high, digits)}", values, None)
        return Cell(MISSING, values, None)
    text = decimals(scale * value, digits, signed)
    if low is not None and high is not None and not (math.isnan(low) or math.isnan(high)):
        bounds = (decimals(scale * bound, digits, signed) for bound in (low, high))
        text = f"{text} [{', '.join(bounds)}]"
    return Cell(text, values, scale * value)


def interval_names(name: str) -> tuple[str, str, str]:
    """Return the names in the CSV of the column of an ``interval_cell``."""
    return (name, f"{name}_low", f"{name}_high")


def with_best(cells: Sequence[Cell], lowest: bool = False, digits: int = 1) -> list[Cell]:
    """Return the cells with the highest in bold, or the lowest; so are those that look equal."""
    known = [float(cell.sort) for cell in cells if isinstance(cell.sort, float)]
    if len(known) < 2:
        return list(cells)
    best = round(min(known) if lowest else max(known), digits)
    return [
        replace(cell, bold=isinstance(cell.sort, float) and round(cell.sort, digits) == best)
        for cell in cells
    ]


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


def _lone_titles(columns: Sequence[Column]) -> list[str]:
    """Return the titles of columns without a line of groups above: a title of two has its group."""
    counts = Counter(column.title for column in columns)
    return [
        f"{column.group}: {column.title}" if counts[column.title] > 1 else column.title
        for column in columns
    ]


def to_markdown(table: Table) -> str:
    """Return the table as Markdown, its columns padded so that it reads as plain text too."""
    lines = [[_escape_markdown(title) for title in _lone_titles(table.columns)]]
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
    "\N{DEGREE SIGN}": r"$^{\circ}$",
    "\N{DAGGER}": r"$^{\dagger}$",
    "\N{DOUBLE DAGGER}": r"$^{\ddagger}$",
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
    return page(table.title, table.note, body, STYLE, SCRIPT)


def _html_class(column: Column, bold: bool = False, faint: bool = False) -> str:
    wanted = {"number": column.numeric, "best": bold, "faint": faint}
    names = [name for name, is_wanted in wanted.items() if is_wanted]
    return f' class="{" ".join(names)}"' if names else ""


def _html_cell(cell: Cell, column: Column) -> str:
    sort = "" if cell.sort is None else f' data-sort="{escape(cell.sort)}"'
    return f"<td{_html_class(column, cell.bold, cell.faint)}{sort}>{escape(cell.text)}</td>"


FORMATS: dict[str, Callable[[Table], str]] = {
    "csv": to_csv,
    "md": to_markdown,
    "tex": to_latex,
    "html": to_html,
}


def write_table(table: Table, folder: Path) -> None:
    """Write a table into ``folder`` in every format."""
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
    if len(rows) < 2 or len({len(row) for row in rows}) > 1:
        raise CapsynthError("the file holds no table; run make_tables again")
    columns = [
        _terminal_column(rule, [head, *cells]) for head, rule, *cells in zip(*rows, strict=True)
    ]
    head, *body = ["  ".join(line).rstrip() for line in zip(*columns, strict=True)]
    rule = "  ".join("-" * len(column[0]) for column in columns)
    title, *notes = [_plain(line) for line in lines if line and line[:2] != "| "]
    return [title.strip("*"), "", head, rule, *body, "", *(_starred(note) for note in notes)]


def _terminal_column(rule: str, cells: Sequence[str]) -> list[str]:
    """Return the cells of a column padded to one width, a star after those in bold.

    Digits stand under each other, whatever marks follow them.
    """
    bold = [len(cell) > 4 and cell.startswith("**") and cell.endswith("**") for cell in cells]
    texts = [_plain(c[2:-2]) + "*" if b else _plain(c) for c, b in zip(cells, bold, strict=True)]
    if rule.endswith(":"):
        marks = [len(text) - len(text.rstrip(MARKS)) for text in texts]
        texts = [t + " " * (max(marks) - n) for t, n in zip(texts, marks, strict=True)]
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
