"""Class folders that were packed."""

from collections.abc import Mapping
from pathlib import Path

from capsynth.datasets.folder import FolderReads


def write_index(index: Path, folders: Mapping[str, Path], token: str) -> None:
    """Record class folders as packing does."""
    reads = FolderReads()
    for label, folder in folders.items():
        for file in reads.list(label, folder):
            reads.read(label, folder, file.name)
    reads.write_index(index, token)
