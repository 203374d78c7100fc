"""Batches of images, read in this process or by workers."""

import math
import mmap
import signal
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, default_collate, get_worker_info

from capsynth.datasets.images import Place, Sample, ShardedImages
from capsynth.errors import CapsynthError

# A batch: pixels, class indices and keys.
Batch = tuple[torch.Tensor, list[int], list[str]]
# Batches that a worker is asked for before they are wanted.
AHEAD = 2


def collate(samples: Sequence[Sample]) -> Batch | None:
    """Return a batch, None of no samples: its pixels have the shape (n, 3, height, width).

    They lie in memory pixel by pixel (``channels_last``), as images are decoded. Class indices are
    no tensor: a worker would need a second piece of shared memory for it.
    """
    if not samples:
        return None
    # Stacks in shared memory, in a worker.
    pixels = default_collate([pixels.permute(1, 2, 0) for pixels, _, _ in samples])
    targets, keys = [target for _, target, _ in samples], [key for _, _, key in samples]
    return pixels.permute(0, 3, 1, 2), targets, keys


class _Slots:
    """Memory that workers put pixels into and the process that forked them reads.

    A new piece of shared memory for each batch has to be cleared and mapped page by page, in both
    processes: two milliseconds for two megabytes, in which twenty small images are decoded. This
    one is mapped once. It is no file, so the limit of ``/dev/shm`` does not count.

    A worker is asked for ``AHEAD`` batches beyond the one that is in use; it has a slot for each.
    """

    def __init__(self, workers: int, size: int, height: int, width: int) -> None:
        shape = (workers, AHEAD + 1, size, height, width, 3)
        memory = mmap.mmap(-1, math.prod(shape))
        self._pixels = torch.frombuffer(memory, dtype=torch.uint8).view(shape)
        self._turn = 0

    def put(self, samples: Sequence[Sample]) -> Any:
        """Put a batch into the next slot of this worker; return what ``take`` finds it by."""
        if not samples:
            return None
        info = get_worker_info()
        assert info is not None, "only workers have slots"
        place = (info.id, self._turn)
        self._turn = (self._turn + 1) % (AHEAD + 1)
        slot = self._pixels[place][: len(samples)]
        torch.stack([pixels.permute(1, 2, 0) for pixels, _, _ in samples], out=slot)
        return place, [target for _, target, _ in samples], [key for _, _, key in samples]

    def take(self, handed: Any) -> Batch | None:
        """Return the batch that a worker has put; its pixels are the slot itself."""
        if handed is None:
            return None
        place, targets, keys = handed
        return self._pixels[place][: len(keys)].permute(0, 3, 1, 2), targets, keys


def load_batches(
    images: ShardedImages,
    batches: Iterable[Sequence[Place]],
    size: int,
    workers: int,
    pin_memory: bool = False,
) -> Generator[Batch | None, None, None]:
    """Yield batches of images, in order; None for an empty one.

    A batch is to be used before the next is asked for: its memory is used again. The generator is
    to be closed: a worker that is left over would keep the process from ending.

    Raises:
        CapsynthError: If an image cannot be read, in the words of whichever process read it.

    Args:
        images: What is read; all of one shape once they are transformed.
        batches: Places of the images of each batch.
        size: Most images of a batch.
        workers: Processes that read; 0 reads in this one.
        pin_memory: Whether pixels are copied, by a thread, to where a GPU fetches them.
    """
    # A loader with workers asks for batches before they are wanted.
    batches = _announced(images, batches, 0 if workers else 1)
    if not workers and not pin_memory:
        for batch in batches:
            yield collate([images[place] for place in batch])
        return
    slots = None
    if workers and not pin_memory:
        height, width = images[(0, 0)][0].shape[1:]
        slots = _Slots(workers, size, height, width)
    loader: DataLoader[Sample] = DataLoader(
        images,
        batch_sampler=batches,  # type: ignore[arg-type]  # any iterable does
        num_workers=workers,
        collate_fn=collate if slots is None else slots.put,
        pin_memory=pin_memory,
        prefetch_factor=AHEAD if workers else None,
        worker_init_fn=_ignore_sigterm,
        # The transform is a function inside a function: only forked workers have it.
        multiprocessing_context="fork" if workers else None,
    )
    read: Any = iter(loader)
    try:
        for handed in read:
            yield handed if slots is None else slots.take(handed)
    except CapsynthError as error:
        raise type(error)(_own_words(error)) from None
    finally:
        # Of an error in a worker the traceback holds what would end the workers when it is dropped.
        if workers:
            read._shutdown_workers()


def _own_words(error: CapsynthError) -> str:
    """Return what an error says, without the traceback that torch puts before that of a worker."""
    kind = type(error)
    return str(error).rpartition(f"\n{kind.__module__}.{kind.__qualname__}: ")[2].strip()


def _announced(
    images: ShardedImages, batches: Iterable[Sequence[Place]], ahead: int
) -> Iterator[Sequence[Place]]:
    """Yield batches of which all images, and those of ``ahead`` further batches, are announced."""
    waiting: deque[Sequence[Place]] = deque()
    for batch in batches:
        images.announce(batch)
        waiting.append(batch)
        if len(waiting) > ahead:
            yield waiting.popleft()
    yield from waiting


def _ignore_sigterm(worker: int) -> None:
    """Let the process that reads decide when to stop: SLURM's SIGTERM goes to all processes."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
