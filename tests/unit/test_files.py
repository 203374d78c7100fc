"""Files that are written whole or not at all."""

import os
from pathlib import Path

from capsynth.files import write_if_changed


def test_the_same_text_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "a" / "config.yaml"
    write_if_changed(path, "one")
    os.utime(path, (1, 1))
    write_if_changed(path, "one")
    assert path.stat().st_mtime == 1
    write_if_changed(path, "two")
    assert path.read_text() == "two"
