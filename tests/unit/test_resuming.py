"""Resuming: batches are fixed, work of another configuration is never used."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from capsynth.resuming import PartialWork, batches


@given(st.lists(st.integers()), st.integers(1, 20))
def test_batches_hold_every_item_once_and_in_order(items: list[int], size: int) -> None:
    found = list(batches(items, size))
    assert [number for number, _ in found] == list(range(len(found)))
    assert [item for _, batch in found for item in batch] == items
    assert all(len(batch) == size for _, batch in found[:-1])


def test_finished_work_is_found_again(tmp_path: Path) -> None:
    PartialWork(tmp_path / "a.tar", "one").path(3, ".txt").write_text("x")
    assert PartialWork(tmp_path / "a.tar", "one").path(3, ".txt").read_text() == "x"


def test_work_of_another_fingerprint_is_deleted(tmp_path: Path) -> None:
    old = PartialWork(tmp_path / "a.tar", "one").path(0, ".txt")
    old.write_text("x")
    assert not PartialWork(tmp_path / "a.tar", "two").path(0, ".txt").exists()
    assert not old.exists()


def test_work_of_another_output_is_left_alone(tmp_path: Path) -> None:
    other = PartialWork(tmp_path / "b.tar", "one").path(0, ".txt")
    other.write_text("x")
    PartialWork(tmp_path / "a.tar", "one").clear()
    assert other.exists()
