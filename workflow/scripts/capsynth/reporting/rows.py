"""Rows of a tidy CSV, each a frozen dataclass of names, counts and numbers."""

import csv
import io
import math
import types
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from capsynth.errors import CapsynthError
from capsynth.files import write_text

Row = TypeVar("Row")
DIGITS = 6


def number(value: float | None) -> float | None:
    """Return a number; None where it does not exist."""
    return None if value is None or math.isnan(value) else float(value)


def _text(value: object) -> str:
    """Return a value as it stands in the file: numbers with six significant digits."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value + 0.0:.{DIGITS}g}"
    return "" if value is None else str(value)


def write_rows(path: Path, kind: type[Row], rows: Iterable[Row]) -> None:
    """Write rows as CSV, atomically; what is None or NaN is empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]  # any dataclass
    writer.writerow(names)
    writer.writerows([_text(getattr(row, name)) for name in names] for row in rows)
    write_text(path, out.getvalue())


def read_rows(path: Path, kind: type[Row], maker: str) -> list[Row]:
    """Read what ``write_rows`` wrote.

    Args:
        path: The file.
        kind: What a row is.
        maker: The rule that makes the file, for messages.

    Raises:
        CapsynthError: If the file does not exist, has other columns or a value is no number.
    """
    if not path.exists():
        raise CapsynthError(f"{path} does not exist; run {maker} first")
    readers = {name: _reader(hint) for name, hint in get_type_hints(kind).items()}
    with path.open(encoding="utf-8", newline="") as file:
        lines = csv.DictReader(file)
        if lines.fieldnames != list(readers):
            raise CapsynthError(
                f"{path}: has columns {lines.fieldnames}, not {list(readers)}; run {maker} again"
            )
        try:
            return [kind(**{name: readers[name](text) for name, text in r.items()}) for r in lines]
        except (TypeError, ValueError, KeyError) as error:
            raise CapsynthError(f"{path}:{lines.line_num}: {error}; run {maker} again") from error


def _reader(hint: Any) -> Callable[[str], Any]:
    """Return what turns a text into a value of a type, or of a type or None."""
    if isinstance(hint, types.UnionType):
        of = next(kind for kind in get_args(hint) if kind is not type(None))
        return lambda text: of(text) if text else None
    reader: Callable[[str], Any] = hint
    return reader
