"""A folder that is another user's is refused in words, before anything is written."""

import os
from pathlib import Path

import pytest

from capsynth.errors import CapsynthError
from capsynth.working_folder import check_folder


def forbid(monkeypatch: pytest.MonkeyPatch, *paths: Path) -> None:
    """Let the system refuse to write in these, as it does with those of another user."""
    monkeypatch.setattr(os, "access", lambda path, _: Path(path) not in paths)


@pytest.mark.parametrize("name", ["results", ".snakemake/locks", "logs", "results/provenance"])
def test_what_another_user_has_made_is_named_with_the_owner_and_a_remedy(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for made in ("results/provenance", "logs/pack", ".snakemake/locks"):
        (tmp_path / made).mkdir(parents=True)
    check_folder(tmp_path)
    forbid(monkeypatch, tmp_path / name, tmp_path)  # nothing is to be made in the folder itself
    with pytest.raises(CapsynthError) as caught:
        check_folder(tmp_path)
    said = str(caught.value)
    assert f"may not write in {name} (of " in said
    assert "work in a copy of your own" in said


def test_a_folder_in_which_nothing_can_be_made_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "results").mkdir()
    check_folder(tmp_path)
    forbid(monkeypatch, tmp_path)
    with pytest.raises(CapsynthError, match=r"may not write in \. \(of "):
        check_folder(tmp_path)


def test_results_may_be_a_link_to_a_folder_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    for made in (here / "logs", here / ".snakemake", tmp_path / "disk"):
        made.mkdir(parents=True)
    (here / "results").symlink_to(tmp_path / "disk")
    forbid(monkeypatch, here)
    check_folder(here)
