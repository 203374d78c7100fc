"""CSV files of one frozen dataclass a row: what measuring rules write and report rules read."""

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
from capsynth.integrity import read_checked, unreadable

# More would show the noise of another machine's arithmetic.
DECIMALS = 6
Record = TypeVar("Record")


def known(value: float | None) -> float | None:
    """Return a number; None where it does not exist."""
    return None if value is None or math.isnan(value) else float(value)


def write_records(path: Path, kind: type[Record], records: Iterable[Record]) -> None:
    """Write one row a record, atomically.

    Args:
        path: File to write.
        kind: A dataclass whose fields are the columns: strings, numbers, truth values.
        records: The rows, in the order of the file. None and NaN become empty cells.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]  # any dataclass
    writer.writerow(names)
    writer.writerows([_text(getattr(record, name)) for name in names] for record in records)
    write_text(path, out.getvalue())


def _text(value: object) -> str:
    """Return a value as it stands in a file; adding zero turns -0.0 into 0.0."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return repr(round(float(value), DECIMALS) + 0.0) if isinstance(value, float) else str(value)


def read_records(path: Path, kind: type[Record], made_by: str) -> list[Record]:
    """Read what ``write_records`` wrote.

    Args:
        path: The file.
        kind: What a row is.
        made_by: The rule that makes the file, for messages.

    Raises:
        CapsynthError: If the file does not exist, is not what its job wrote, has other columns or a
            value is no number.
    """
    if not path.exists():
        raise CapsynthError(f"{path} does not exist; run {made_by} first")
    readers = {name: _reader(hint) for name, hint in get_type_hints(kind).items()}
    lines = csv.DictReader(csv_text(path))
    try:
        if lines.fieldnames != list(readers):
            raise CapsynthError(
                f"{path}: has columns {lines.fieldnames}, not {list(readers)}; run {made_by} again"
            )
        return [
            kind(**{name: read(line[name]) for name, read in readers.items()}) for line in lines
        ]
    except (TypeError, ValueError, csv.Error) as error:
        raise CapsynthError(f"{path}:{lines.line_num}: {error}; run {made_by} again") from error


def csv_text(path: Path) -> io.StringIO:
    """Return the text of a CSV file, as the csv module reads it.

    Raises:
        Damaged: If it is no text, or not what its job wrote.
    """
    data = read_checked(path)
    try:
        return io.StringIO(data.decode(), newline="")
    except UnicodeDecodeError as error:
        raise unreadable(path, error) from None


def _reader(hint: Any) -> Callable[[str], Any]:
    """Return what turns a cell into a value of a type, or of a type or None."""
    if isinstance(hint, types.UnionType):
        of = next(kind for kind in get_args(hint) if kind is not type(None))
        return lambda text: of(text) if text else None
    if hint is bool:
        return lambda text: bool(int(text))
    reader: Callable[[str], Any] = hint
    return reader
