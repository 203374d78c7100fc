"""What a run is about to make, written down so that a later one can tell what nobody noted.

Jobs of a cluster outlive a Snakemake that is killed: what they finish is complete, but has no
record of the params and the code that it was made with.
"""

import json
import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from capsynth.files import dump_json, write_text

# Between the clock of a file system and the moment that Snakemake notes.
_TOLERANCE_S = 1.0
# Snakemake's own mark of when a folder was finished.
_FOLDER_STAMP = ".snakemake_timestamp"


def read_expected(marker: Path) -> set[str]:
    """Return the files that runs were about to make and that are not known to be noted.

    A list that cannot be read is no reason not to run: it counts as empty.
    """
    try:
        paths = json.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return set()
    return {path for path in paths if isinstance(path, str)} if isinstance(paths, list) else set()


def write_expected(marker: Path, paths: Collection[str]) -> None:
    """Write such a list; an empty one is no file."""
    if paths:
        write_text(marker, f"{dump_json(sorted(paths))}\n")
    else:
        marker.unlink(missing_ok=True)


def unrecorded(paths: Iterable[str], endtime: Callable[[str], float | None]) -> list[str]:
    """Return those of the files that are there, but not as they were when they were noted.

    Args:
        paths: Files and folders.
        endtime: When a path was finished, by Snakemake's record of it; None if it has none.
    """
    return [path for path in sorted(paths) if _is_newer(path, endtime(path))]


def _is_newer(path: str, recorded_s: float | None) -> bool:
    changed_s = _changed_s(path)
    return changed_s is not None and (recorded_s is None or changed_s > recorded_s + _TOLERANCE_S)


def _changed_s(path: str) -> float | None:
    for name in (os.path.join(path, _FOLDER_STAMP), path):
        try:
            return os.stat(name).st_mtime
        except OSError:
            continue
    return None
