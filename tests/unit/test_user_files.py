"""Files that a user writes: what spreadsheets make of them, and what is refused with its line."""

from pathlib import Path

import pytest

from capsynth.errors import CapsynthError
from capsynth.user_files import csv_rows, json_value, read_text

HERE = Path("t.csv")


def test_blanks_empty_lines_and_lost_cells_are_no_trouble() -> None:
    text = '\n a , b ,\n\n1, "x, ""y""",\n 2 \n,,\n'
    assert csv_rows(HERE, text, ["a"], ["b"]) == [
        (4, {"a": "1", "b": 'x, "y"'}),
        (5, {"a": "2", "b": ""}),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,a\n1,2\n", r"t\.csv:1: the heading is 'a,a'; write a and, each at most once, any of b"),
        ("b\n1\n", r"t\.csv:1: the heading is 'b'"),
        ("a,c\n1,2\n", "unknown column"),
        ("a,b\n1,2,3\n", r"t\.csv:2: has 3 cells and the heading 2"),
        ("a,,b\n1,2,3\n", r"t\.csv:2: has 3 cells"),
        ("a,b\n1,2\n,2\n", r"t\.csv:3: has no a"),
        ("a,b\n1,2\n1,3\n", r"t\.csv:3: '1' is on line 2 already"),
        ('a,b\n1,"2\n3,4\n', r"t\.csv:3: unexpected end of data"),
    ],
)
def test_what_is_ambiguous_or_missing_is_refused_with_its_line(text: str, message: str) -> None:
    with pytest.raises(CapsynthError, match=message):
        csv_rows(HERE, text, ["a"], ["b"], unique=["a"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": {"b": 1, "b": 2}}', "the key 'b' is there twice"),
        ('{"a": 1,\n}', r"t\.csv:2: is no JSON"),
        ("NaN", "NaN is no JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("1" * 5_000, "is no JSON"),
    ],
)
def test_what_is_no_json_or_says_two_things_of_one_key_is_refused(text: str, message: str) -> None:
    with pytest.raises(CapsynthError, match=message):
        json_value(HERE, text)


@pytest.mark.parametrize(
    "data", [b"caf\xe9", b"\xff\xfea", b"a\0b", "a".encode("utf-16-le")], ids=str
)
def test_what_is_no_text_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(data)
    with pytest.raises(CapsynthError, match=r"t\.csv cannot be read \(it "):
        read_text(path)


def test_a_folder_or_a_missing_file_is_named(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.csv"):
        with pytest.raises(CapsynthError, match=f"{path} cannot be read"):
            read_text(path)
