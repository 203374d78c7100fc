"""Resuming a stage: finished batches lie beside its output until the output is complete.

Snakemake deletes the declared outputs of a failed job, so finished work is kept under an
undeclared name: ``.{output name}.partial/{fingerprint}/``. The fingerprint covers everything that
the batches depend on; work of another fingerprint is never used.
"""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")


def batches(items: Sequence[Item], size: int) -> Iterator[tuple[int, Sequence[Item]]]:
    """Yield numbered batches of ``items``; their bounds depend on nothing but ``size``."""
    for number, start in enumerate(range(0, len(items), size)):
        yield number, items[start : start + size]


class PartialWork:
    """The folder that holds the finished batches of one output."""

    def __init__(self, output: Path, fingerprint: str) -> None:
        self._root = output.with_name(f".{output.name}.partial")
        self.folder = self._root / fingerprint
        self.folder.mkdir(parents=True, exist_ok=True)
        for other in self._root.iterdir():
            if other.name != fingerprint:
                shutil.rmtree(other, ignore_errors=True)

    def path(self, number: int, suffix: str) -> Path:
        """Return the path of a batch's file; the file exists when the batch is complete."""
        return self.folder / f"{number:06d}{suffix}"

    def clear(self) -> None:
        """Delete all batches, once the output is complete."""
        shutil.rmtree(self._root, ignore_errors=True)
