"""Rows of tidy CSV files."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from capsynth.errors import CapsynthError
from capsynth.reporting.rows import read_rows, write_rows


@dataclass(frozen=True)
class Measured:
    name: str
    n: int
    value: float | None


NUMBERS = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False, width=32))
ROWS = st.lists(
    st.builds(Measured, st.text("ab,\" '-", max_size=5), st.integers(0, 10**9), NUMBERS)
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(ROWS)
def test_rows_are_read_as_written_to_six_digits(tmp_path: Path, rows: list[Measured]) -> None:
    path = tmp_path / "rows.csv"
    write_rows(path, Measured, rows)
    read = read_rows(path, Measured, "measure")
    assert [(row.name, row.n) for row in read] == [(row.name, row.n) for row in rows]
    for made, row in zip(read, rows, strict=True):
        assert made.value == (None if row.value is None else pytest.approx(row.value, rel=1e-5))


def test_what_does_not_exist_is_empty_and_zero_has_no_sign(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    write_rows(path, Measured, [Measured("a", 1, float("nan")), Measured("b", 2, -0.0)])
    assert path.read_text() == "name,n,value\na,1,\nb,2,0\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "run measure first"),
        ("name,n\n", r"has columns \['name', 'n'\]"),
        ("name,n,value\na,b,1\n", "rows.csv:2: .* run measure again"),
        ("name,n,value\na\n", "rows.csv:2: .* run measure again"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "rows.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(CapsynthError, match=said):
        read_rows(path, Measured, "measure")
