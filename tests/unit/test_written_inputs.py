"""Inputs that the workflow writes as it is read: never again under the same name, and no heap."""

import os
from pathlib import Path

import pytest

from capsynth.written_inputs import (
    ARGUMENTS,
    CODE,
    VIEWS,
    clear_written_inputs,
    is_code,
    serves,
    write_input,
    written_name,
)


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_other_content_is_another_file_and_equal_content_the_same() -> None:
    first = write_input(ARGUMENTS, "scored/real/a", ".txt", "1\n")
    time = first.stat().st_mtime_ns
    second = write_input(ARGUMENTS, "scored/real/a", ".txt", "2\n")
    assert first != second
    assert (first.read_text(), second.read_text()) == ("1\n", "2\n")
    assert write_input(ARGUMENTS, "scored/real/a", ".txt", "1\n") == first
    assert first.stat().st_mtime_ns == time
    first.write_bytes(b"\xff")
    assert write_input(ARGUMENTS, "scored/real/a", ".txt", "1\n").read_text() == "1\n"


def test_names_tell_what_a_file_is_whatever_is_in_it() -> None:
    code = write_input(CODE, "pack_real", ".json", "{}")
    assert written_name(code) == written_name(CODE / "pack_real.json")
    assert written_name(code) != written_name(write_input(CODE, "pack", ".json", "{}"))
    assert written_name("results/scores.csv") is None
    assert is_code(str(code))
    assert not is_code(write_input(ARGUMENTS, "costs", ".txt", ""))


def test_predictions_rest_on_the_files_of_their_own_evaluation_set() -> None:
    predictions = "results/d/predictions/real/r/seed0/val-2.1.parquet"
    own = write_input(ARGUMENTS, f"{VIEWS}/val-2.1", ".json", "{}")
    other = write_input(ARGUMENTS, f"{VIEWS}/val-2", ".json", "{}")
    assert serves(own, predictions)
    assert not serves(other, predictions)
    sets = [f"results/eval_sets/{name}" for name in ("val-2.1.tar", "val-2.1.jsonl", "val-2.tar")]
    assert [serves(path, predictions) for path in sets] == [True, True, False]
    assert serves("results/d/checkpoints/real/r/seed0.json", predictions)
    assert serves(write_input(CODE, "evaluate_on_sets", ".json", "{}"), predictions)


def test_old_files_go_but_for_those_in_use_and_the_latest_of_each() -> None:
    files = [write_input(CODE, "s", ".json", str(number)) for number in range(5)]
    others = [write_input(ARGUMENTS, "inner/a", ".txt", str(number)) for number in range(2)]
    for number, path in enumerate((*files, *others)):
        os.utime(path, (number, number))
    for old in (CODE / "s.json", CODE / "versions" / "a.json", ARGUMENTS / "inner" / "a.txt"):
        old.parent.mkdir(exist_ok=True)
        old.write_text("of an earlier release")
    clear_written_inputs({files[0]}, kept=2)
    left = {path for folder in (CODE, ARGUMENTS) for path in folder.rglob("*") if path.is_file()}
    assert left == {files[0], *files[3:], *others}
    assert not (CODE / "versions").exists()
