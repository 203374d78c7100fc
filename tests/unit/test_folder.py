"""Source folders: what counts as a change of a class folder, and what does not."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from folders import write_index

from capsynth.datasets.folder import NEVER_PACKED, drawn_token, list_images, source_token
from capsynth.datasets.openmoji.folders import render_folders
from capsynth.errors import CapsynthError


@pytest.fixture
def packed(tmp_path: Path, draw_folder: Callable[..., Path]) -> tuple[dict[str, Path], Path]:
    folders = {"bat": draw_folder(tmp_path / "bat", 3)}
    index = tmp_path / "index.json"
    write_index(index, folders, NEVER_PACKED)
    return folders, index


def test_before_the_first_packing_nothing_is_read(tmp_path: Path) -> None:
    assert source_token({"bat": tmp_path / "no"}, tmp_path / "none.json") == NEVER_PACKED


def test_a_folder_that_did_not_change_keeps_its_token(
    packed: tuple[dict[str, Path], Path],
) -> None:
    assert source_token(*packed) == NEVER_PACKED


def test_the_same_bytes_with_another_time_are_no_change(
    packed: tuple[dict[str, Path], Path],
) -> None:
    folders, index = packed
    image = folders["bat"] / "bat_000001.png"
    copy = image.with_suffix(".bak")
    shutil.copy(image, copy)
    os.replace(copy, image)
    os.utime(image, (1, 1))
    assert source_token(folders, index) == NEVER_PACKED


@pytest.mark.parametrize("change", ["add", "remove", "rename", "rewrite", "truncate"])
def test_other_names_or_bytes_are_a_change(
    packed: tuple[dict[str, Path], Path], change: str
) -> None:
    folders, index = packed
    image = folders["bat"] / "bat_000001.png"
    other = folders["bat"] / "bat_000002.png"
    if change == "add":
        shutil.copy(image, folders["bat"] / "new.png")
    elif change == "remove":
        image.unlink()
    elif change == "rename":
        image.rename(folders["bat"] / "new.png")
    elif change == "rewrite":
        image.write_bytes(other.read_bytes())
    else:
        image.write_bytes(image.read_bytes()[:100])
    token = source_token(folders, index)
    assert token != NEVER_PACKED
    write_index(index, folders, token)
    assert source_token(folders, index) == token


def test_files_that_are_no_images_are_left_out(packed: tuple[dict[str, Path], Path]) -> None:
    folders, index = packed
    (folders["bat"] / "notes.txt").write_text("x")
    assert [f.name for f in list_images(folders["bat"])] == [f"bat_{i:06d}.png" for i in range(3)]
    assert source_token(folders, index) == NEVER_PACKED


def test_a_missing_or_empty_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CapsynthError, match=r"no/bat does not exist; create it"):
        list_images(tmp_path / "no" / "bat")
    with pytest.raises(CapsynthError, match="holds no image"):
        list_images(tmp_path)


def test_what_was_drawn_has_one_name_before_and_after_it_is_drawn_anew(tmp_path: Path) -> None:
    root, stamp, index = tmp_path / "source", tmp_path / "bat.json", tmp_path / "index.json"

    def draw(count: int, context_bias: float) -> str:
        render_folders(root, stamp, "train", ["bat"], count, 1, context_bias)
        return drawn_token(root, stamp, index)

    def pack(token: str) -> str:
        write_index(index, {"bat": root / "bat"}, token)
        return drawn_token(root, stamp, index)

    first = drawn_token(root, stamp, index)
    assert draw(2, 0.5) == first
    assert pack(first) == first
    # Whoever asked before the second drawing packs in the name of what is there after it.
    assert draw(2, 0.9) == first
    assert draw(3, 0.9) == first
    assert pack(first) == first
    image = root / "bat" / "bat_000001.png"
    drawn = image.read_bytes()
    image.write_bytes((root / "bat" / "bat_000002.png").read_bytes())
    edited = drawn_token(root, stamp, index)
    assert edited != first
    assert pack(edited) == edited
    image.write_bytes(drawn)
    assert drawn_token(root, stamp, index) == first


def test_an_edit_before_the_first_packing_is_no_change_after_it(tmp_path: Path) -> None:
    root, stamp, index = tmp_path / "source", tmp_path / "bat.json", tmp_path / "index.json"
    render_folders(root, stamp, "train", ["bat"], 2, 1, 0.5)
    (root / "bat" / "bat_000001.png").unlink()
    token = drawn_token(root, stamp, index)
    write_index(index, {"bat": root / "bat"}, token)
    assert drawn_token(root, stamp, index) == token
