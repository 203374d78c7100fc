"""Inputs of jobs that the workflow itself writes as its Snakefile is read.

Any command reads the Snakefile, `snakemake status` beside a run too, and Snakemake takes the
checksum of a job's inputs when the job has ended. What such a file is called therefore says what
is in it, ``{name}-{digest}{suffix}``: other content is another file, and the one that a job was
planned with stays as it is.
"""

import hashlib
import re
import shutil
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

from capsynth.files import write_recorded
from capsynth.integrity import drop_record

# Code digests of scripts, and lists of arguments.
CODE, ARGUMENTS = Path("results/.code"), Path("results/.arguments")
FOLDERS = (CODE, ARGUMENTS)
# Below ARGUMENTS: what is told of each evaluation set.
VIEWS = "views"
EVAL_SETS = Path("results/eval_sets")
# Of each file so many earlier ones are kept: code that results of other configurations were made
# with, for `snakemake changed` to say which module is another by now.
KEPT = 20
# Behind the name of a file of code digests, in records of jobs beside which the code was edited.
EDITED = ".edited"
_DIGITS = 16
_NAME = re.compile(rf"(?P<name>.+)-[0-9a-f]{{{_DIGITS}}}(?P<suffix>\.\w+)")


def write_input(folder: Path, name: str, suffix: str, text: str) -> Path:
    """Write ``text`` below ``folder``, unless it is there; return the file.

    Args:
        folder: One of ``FOLDERS``.
        name: What the file is, without its digest; may have folders in it.
        suffix: With its dot.
        text: What it is to hold.
    """
    path = input_path(folder, name, suffix, text)
    write_recorded(path, text, "Snakemake")
    return path


def input_path(folder: Path, name: str, suffix: str, text: str) -> Path:
    """Return where ``write_input`` writes ``text``."""
    digest = hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
    return folder / f"{name}-{digest}{suffix}"


def written_name(path: str | Path) -> str | None:
    """Return what a file of ``write_input`` is, whatever is in it; None of any other file.

    Names of before their digest was part of them count too.
    """
    file = Path(path)
    if not any(file.is_relative_to(folder) for folder in FOLDERS):
        return None
    match = _NAME.fullmatch(file.name)
    return str(file.with_name(f"{match['name']}{match['suffix']}") if match else file)


def is_code(path: str | Path) -> bool:
    """Return whether a file holds the code digests of a script."""
    return Path(path).is_relative_to(CODE)


def eval_set_of(path: str | Path) -> str | None:
    """Return the evaluation set of which an input of evaluations is a file; None of any other."""
    file = Path(path)
    if file.parent == EVAL_SETS:
        return file.stem
    if file.parent == ARGUMENTS / VIEWS:
        return Path(str(written_name(file))).stem
    return None


def serves(path: str | Path, predictions: str | Path) -> bool:
    """Return whether an input of an evaluation is one of the predictions on one evaluation set.

    All are but the files of other sets, and what is told of those.
    """
    return eval_set_of(path) in (None, Path(predictions).stem)


def clear_written_inputs(used: Collection[Path], kept: int = KEPT) -> None:
    """Delete files that nothing reads any more; for a time at which no job runs.

    Args:
        used: What stays.
        kept: How many more of each name stay, the latest.
    """
    for folder in FOLDERS:
        versions: dict[str | None, list[Path]] = defaultdict(list)
        for path in folder.rglob("*"):
            if path.is_file() and path not in used:
                versions[written_name(path) if _NAME.fullmatch(path.name) else None].append(path)
        for name, paths in versions.items():
            paths.sort(key=lambda path: path.stat().st_mtime, reverse=True)
            # One without a digest in its name is of an earlier release.
            for path in paths[kept if name else 0 :]:
                path.unlink(missing_ok=True)
                drop_record(path)
    shutil.rmtree(CODE / "versions", ignore_errors=True)  # likewise
