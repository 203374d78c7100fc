"""Text, CSV and JSON files that a user writes, by hand or with a spreadsheet.

Whatever reads such a file reads it here: a byte-order mark, blanks around cells, semicolons and
empty lines are no trouble, and what is ambiguous or missing is an error that names file and line.
"""

import codecs
import csv
import io
import json
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from itertools import zip_longest
from pathlib import Path
from typing import Any

from capsynth.errors import CapsynthError
from capsynth.names import check_name
from capsynth.reading import open_file

# No list of classes comes near it; a data file that is named by mistake does.
MAX_BYTES = 1 << 26
# What spreadsheets part cells with; most write the semicolon where the comma parts decimals.
DELIMITERS = ",;\t"
# As they stand at the beginning of a file; UTF-32 begins as UTF-16 does, and nothing writes it.
_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}


# A row of a CSV file: the number of its line, and its cells by column.
Row = tuple[int, dict[str, str]]


def read_text(path: Path) -> str:
    """Return the text of a file: UTF-8, or UTF-16 that is marked so; lines end as in Unix.

    Raises:
        CapsynthError: If it cannot be read or is no text; the message has no remedy.
    """
    try:
        with open_file(path) as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise CapsynthError(f"{path} cannot be read ({error.strerror})") from None
    if len(data) > MAX_BYTES:
        raise CapsynthError(f"{path} cannot be read (it has more than {MAX_BYTES >> 20} MiB)")
    mark = next((mark for mark in _MARKS if data.startswith(mark)), b"")
    encoding = _MARKS.get(mark, "utf-8")
    try:
        text = data[len(mark) :].decode(encoding)
    except UnicodeDecodeError:
        name = encoding.removesuffix("-le").removesuffix("-be").upper()
        raise CapsynthError(f"{path} cannot be read (it is not {name})") from None
    if "\0" in text:
        raise CapsynthError(f"{path} cannot be read (it holds NUL characters and is no text)")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def csv_rows(
    path: Path,
    text: str,
    required: Sequence[str],
    optional: Collection[str] | None = None,
    unique: Sequence[str] = (),
) -> list[Row]:
    """Return the rows of a CSV file with a heading.

    Cells are parted by commas, semicolons or tabs, whichever part the heading into known columns.
    Blanks around cells, empty lines and columns without a heading and cells are left out; cells
    that a short line lacks are empty.

    Args:
        path: The file, for messages.
        text: What ``read_text`` returned of it.
        required: Columns that the heading must have, and whose cells must not be empty.
        optional: Further columns that it may have, others are refused; None leaves others out.
        unique: Columns in which no two rows may have the same cells.

    Raises:
        CapsynthError: If the heading lacks a column, has one twice or one that is not known, a cell
            has no column or is empty where it must not be, or two rows are the same.
    """
    (first, heading), *lines = _lines(path, text, required) or [(1, [])]
    _check_heading(f"{path}:{first}", [name for name in heading if name], required, optional)
    rows: list[Row] = []
    for number, cells in lines:
        if any(cell for name, cell in zip_longest(heading, cells, fillvalue="") if not name):
            raise CapsynthError(
                f"{path}:{number}: has {len(cells)} cells and the heading {len(heading)}; put "
                "cells with commas in quotes"
            )
        row = dict(zip_longest(heading, cells[: len(heading)], fillvalue=""))
        row.pop("", None)
        for name in required:
            if not row[name]:
                raise CapsynthError(f"{path}:{number}: has no {name}; write one")
        rows.append((number, row))
    if unique:
        _check_unique(path, rows, unique)
    return rows


def _lines(path: Path, text: str, required: Iterable[str]) -> list[tuple[int, list[str]]]:
    """Return number and cells, without blanks around them, of each line that has any."""
    first, wanted = text.lstrip().split("\n", 1)[0], set(required)

    def known(delimiter: str) -> int:
        return len(wanted & {cell.strip(' \t\r"') for cell in first.split(delimiter)})

    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=max(DELIMITERS, key=known),
        strict=True,
        skipinitialspace=True,
    )
    try:
        lines = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        raise CapsynthError(
            f"{path}:{reader.line_num}: {error}; put a cell that has quotes in it in "
            "quotes, and double its own"
        ) from None
    return [(number, cells) for number, cells in lines if any(cells)]


def _check_heading(
    place: str, names: Sequence[str], required: Sequence[str], optional: Collection[str] | None
) -> None:
    if optional is not None:
        for name in names:
            check_name(f"column of {place}", name, [*required, *optional])
    known = [name for name in names if optional is not None or name in required]
    if len(set(known)) < len(known) or not set(required) <= set(known):
        others = f" and, each at most once, any of {', '.join(optional)}" if optional else ""
        raise CapsynthError(
            f"{place}: the heading is {','.join(names)!r}; write {','.join(required)}{others}"
        )


def _check_unique(path: Path, rows: Sequence[Row], columns: Sequence[str]) -> None:
    first: dict[tuple[str, ...], int] = {}
    for line, row in rows:
        name = tuple(row[column] for column in columns)
        before = first.setdefault(name, line)
        if before != line:
            cells = ",".join(name)
            raise CapsynthError(f"{path}:{line}: {cells!r} is on line {before} already; remove one")


def json_value(path: Path, text: str) -> Any:
    """Return the value of a JSON document, in which no object has a key twice.

    Args:
        path: The file, for messages.
        text: What ``read_text`` returned of it.

    Raises:
        CapsynthError: If it is no JSON or has a key twice.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        for name, times in Counter(name for name, _ in pairs).items():
            if times > 1:
                raise CapsynthError(f"{path}: the key {name!r} is there twice; remove one")
        return dict(pairs)

    def refused(constant: str) -> Any:
        raise CapsynthError(f"{path}: {constant} is no JSON; write a number")

    try:
        return json.loads(text, object_pairs_hook=once, parse_constant=refused)
    except RecursionError:
        raise CapsynthError(f"{path}: is nested too deeply; write it flat") from None
    except json.JSONDecodeError as error:
        raise CapsynthError(
            f"{path}:{error.lineno}: is no JSON ({error.msg}, column {error.colno}); mend it"
        ) from None
    except ValueError as error:  # a number of thousands of digits
        raise CapsynthError(f"{path}: is no JSON ({error}); mend it") from None
