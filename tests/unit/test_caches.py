"""Caches go where they can be written."""

import os
from pathlib import Path

import pytest

from capsynth import caches


@pytest.fixture
def before(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in caches.VARIABLES:
        monkeypatch.setenv(name, "")  # put back afterwards
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("before")
def test_without_a_home_caches_are_kept_in_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "no-home"))
    monkeypatch.setenv("MPLCONFIGDIR", "mine")
    caches.keep_caches(Path("caches"))
    assert os.environ["XDG_CACHE_HOME"] == str(tmp_path / "caches")
    assert os.environ["NUMBA_CACHE_DIR"] == str(tmp_path / "caches" / "numba")
    assert os.environ["MPLCONFIGDIR"] == "mine"
    assert (tmp_path / "caches" / "numba").is_dir()
    assert not (tmp_path / "caches" / "matplotlib").exists()


@pytest.mark.usefixtures("before")
def test_with_a_home_nothing_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    caches.keep_caches(tmp_path / "caches")
    assert not set(caches.VARIABLES) & set(os.environ)
    assert not (tmp_path / "caches").exists()
