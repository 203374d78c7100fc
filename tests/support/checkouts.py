"""Copies of what a run needs of the repository."""

import shutil
from collections.abc import Iterable
from pathlib import Path

WORKFLOW = ("Snakefile", "workflow", "profiles", "envs", "requirements.txt")


def copy_parts(repository: Path, folder: Path, parts: Iterable[str] = WORKFLOW) -> Path:
    """Copy files and folders of the repository into ``folder``, which may exist; return it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in parts:
        source = repository / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, folder / name, ignore=ignored)
        else:
            shutil.copy(source, folder / name)
    return folder


def copy_models(folder: Path, **models: Path) -> None:
    """Copy model folders into the ``models`` folder of a checkout, each under its key."""
    for name, source in models.items():
        shutil.copytree(source, folder / "models" / name.replace("_", "-"))
