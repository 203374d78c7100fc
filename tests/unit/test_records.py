"""CSV files of one dataclass a row."""

import math
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from capsynth.errors import CapsynthError
from capsynth.records import read_records, write_records


@dataclass(frozen=True)
class Measured:
    name: str
    n: int
    held: bool
    value: float | None


NUMBERS = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False, width=32))
ROWS = st.lists(
    st.builds(Measured, st.text("ab,\" '-", max_size=5), st.integers(), st.booleans(), NUMBERS)
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(ROWS)
def test_rows_are_read_as_written_to_six_decimals(tmp_path: Path, rows: list[Measured]) -> None:
    path = tmp_path / "rows.csv"
    write_records(path, Measured, rows)
    read = read_records(path, Measured, "measure")
    assert [(r.name, r.n, r.held) for r in read] == [(r.name, r.n, r.held) for r in rows]
    for made, row in zip(read, rows, strict=True):
        assert made.value == (None if row.value is None else pytest.approx(row.value, abs=6e-7))


def test_what_does_not_exist_is_empty_and_zero_has_no_sign(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    write_records(
        path, Measured, [Measured("a", 1, True, math.nan), Measured("b", 2, False, -1e-9)]
    )
    assert path.read_text() == "name,n,held,value\na,1,1,\nb,2,0,0.0\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "run measure first"),
        ("name,n\n", r"has columns \['name', 'n'\]"),
        ("name,n,held,value\na,b,0,1\n", "rows.csv:2: .* run measure again"),
        ("name,n,held,value\na\n", "rows.csv:2: .* run measure again"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "rows.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(CapsynthError, match=said):
        read_records(path, Measured, "measure")
