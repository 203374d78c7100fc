"""CSV files of one frozen dataclass a row: what measuring rules write and report rules read."""

import csv
import io
from collections.abc import Callable, Iterable
from dataclasses import astuple, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from capsynth.errors import CapsynthError
from capsynth.files import write_text

DECIMALS = 6
Record = TypeVar("Record")

_FROM_TEXT: dict[Any, Callable[[str], Any]] = {
    str: str,
    int: int,
    float: float,
    bool: lambda text: text == "1",
    float | None: lambda text: float(text) if text else None,
}


def _text(value: Any) -> Any:
    """Return a value as it stands in a file; adding zero turns -0.0 into 0.0."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return int(value)
    return repr(round(value, DECIMALS) + 0.0) if isinstance(value, float) else value


def write_records(path: Path, kind: type[Record], records: Iterable[Record]) -> None:
    """Write one row a record, atomically: the fields of ``kind`` are the columns."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([field.name for field in fields(kind)])  # type: ignore[arg-type]
    for record in records:
        writer.writerow([_text(value) for value in astuple(record)])  # type: ignore[call-overload]
    write_text(path, out.getvalue())


def read_records(path: Path, kind: type[Record], made_by: str) -> list[Record]:
    """Read what ``write_records`` wrote.

    Args:
        path: The file.
        kind: A dataclass of strings, numbers, truth values and numbers that may be missing.
        made_by: The rule that makes the file.

    Raises:
        CapsynthError: If the file does not exist, has other columns or a value is no number.
    """
    if not path.exists():
        raise CapsynthError(f"{path} does not exist; run {made_by} first")
    hints = get_type_hints(kind)
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if reader.fieldnames != list(hints):
            raise CapsynthError(
                f"{path}: has columns {reader.fieldnames}, not {list(hints)}; run {made_by} again"
            )
        try:
            return [
                kind(**{name: _FROM_TEXT[hint](row[name]) for name, hint in hints.items()})
                for row in reader
            ]
        except (TypeError, ValueError) as error:
            raise CapsynthError(
                f"{path}:{reader.line_num}: {error}; run {made_by} again"
            ) from error
