"""Resuming a stage: what is finished lies beside its output until the whole run has succeeded.

Snakemake deletes the declared outputs of a job that failed or starts again, so finished work is
kept under an undeclared name, ``.{first output}.partial/``:

    owner               the mark of the start that may publish
    {mark}/000012.tar   a finished batch
    {mark}/000012.sha256  the checksums of its files
    {mark}/finished/    the outputs themselves, once they are complete

The mark names all that the bytes depend on: settings, inputs, code. Work of another mark is never
used. Outputs are hard links to what lies in ``finished``: they cost no space twice, and a job that
is started again after it had finished (its node was thought dead, it ran over its time while it
ended, its Snakemake was killed) takes them from there. ``clear_leftovers`` clears them away, but
for what ``stays``, which lies in ``.{first output}.kept/``.
"""

import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from capsynth.errors import Superseded
from capsynth.files import (
    atomic_path,
    dump_json,
    flush,
    put_in_place,
    read_json,
    write_json,
    write_text,
)
from capsynth.fingerprints import file_digest
from capsynth.integrity import Damaged
from capsynth.kept import kept_folder, output_of_kept
from capsynth.progress import Progress
from capsynth.stopping import StopFlag, deferred_stop

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Ready = TypeVar("Ready")
Made = TypeVar("Made")
# A batch and its number.
Numbered = tuple[int, Sequence[Item]]

# Beside an output: what its job keeps, a new one that is not whole, an old one that gives way.
_LEFTOVER = re.compile(r"\.(?P<name>.+?)\.(partial|[^./]+\.(tmp|old))")

# Of the files of a batch: its checksums, and the mark of the copy that makes it.
SEAL, CLAIM = ".sha256", ".claim"

# Names a file to which each batch adds a line when it is begun and when it is finished; for audits.
BATCH_LOG_VARIABLE = "CAPSYNTH_BATCH_LOG"


def batches(items: Sequence[Item], size: int) -> Iterator[tuple[int, Sequence[Item]]]:
    """Yield numbered batches of ``items``; their bounds depend on nothing but ``size``."""
    for number, start in enumerate(range(0, len(items), size)):
        yield number, items[start : start + size]


def code_mark(digests: Path | None) -> str | None:
    """Return a name of the code whose digests a file holds; None if no file is given."""
    return None if digests is None else file_digest(digests)


def partial_folder(output: Path) -> Path:
    """Return the folder that holds what is finished of a job whose first output is ``output``."""
    return output.with_name(f".{output.name}.partial")


def is_leftover(path: Path) -> bool:
    """Return whether ``path`` lies in what a job keeps, or a killed one left, beside its outputs.

    Their names begin with a dot, so no pattern of a stage takes them for results.
    """
    return any(_LEFTOVER.fullmatch(part) for part in path.parts)


def clear_leftovers(files: Iterable[Path], folders: Iterable[Path] = ()) -> None:
    """Delete what was kept to resume jobs, and what killed ones left beside their files.

    For a time at which none of these jobs runs.

    Args:
        files: What the jobs make; of folders, what is in them too.
        folders: In these everything that a killed process left goes, whosever it is.
    """
    names: dict[Path, set[str]] = {}
    whole = [*folders]
    for file in files:
        if file.is_dir():
            whole.append(file)
        # A stage may keep hidden files beside an output, named after it, or write its folder whole.
        names.setdefault(file.parent, set()).update((file.name, f".{file.stem}"))
        names.setdefault(file.parent.parent, set()).add(file.parent.name)
    places: dict[Path, set[str] | None] = {**names, **dict.fromkeys(whole)}
    for folder, known in places.items():
        for path in list(folder.iterdir()) if folder.is_dir() else []:
            if output_of_kept(path) is not None:
                # It stays, but not what a killed process left in it.
                clear_leftovers((), [path, *(p for p in path.rglob("*") if p.is_dir())])
                continue
            match = _LEFTOVER.fullmatch(path.name)
            if match is None or (known and known.isdisjoint(_owners(match["name"]))):
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _owners(name: str) -> set[str]:
    """Return ``name`` and, for a hidden one, all that it may be named after."""
    ends = [i for i, letter in enumerate(name) if letter == "." and i > 0]
    return {name, *(name[:end] for end in ends if name.startswith("."))}


class PartialWork:
    """What is finished of one job.

    Several copies of a job may run at once, on several hosts: each batch is taken by one of them
    as long as there are others, and the first complete result is the result of all.
    """

    def __init__(self, outputs: Sequence[Path], mark: str, stays: bool = False) -> None:
        """Take over the outputs.

        Args:
            outputs: All that the job writes, in the order in which it is written.
            mark: Name of all that the outputs' bytes depend on.
            stays: Whether it is kept when the run has succeeded.
        """
        self.outputs = outputs
        self._mark = mark
        self._root = (kept_folder if stays else partial_folder)(outputs[0])
        self.folder = self._root / mark
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self._root / "owner", mark)
        for other in self._root.iterdir():
            if other.is_dir() and other.name != mark:
                shutil.rmtree(other, ignore_errors=True)
        self.drop_damaged()
        if self.is_finished() and not self._is_intact():
            self._record.unlink(missing_ok=True)

    def path(self, number: int, suffix: str) -> Path:
        """Return the path of a batch's file; the file exists when the batch is complete."""
        return self.folder / f"{number:06d}{suffix}"

    def numbers(self, suffix: str) -> list[int]:
        """Return the numbers of the files of this suffix that are complete, in order."""
        return sorted(int(path.stem) for path in self.folder.glob(f"[0-9]*{suffix}"))

    def unfinished(
        self, items: Sequence[Item], size: int, suffix: str, progress: Progress
    ) -> Iterator[tuple[int, Sequence[Item]]]:
        """Yield the batches that no start has finished; the block that takes one finishes it.

        Args:
            items: What the batches are made of.
            size: How many are in a batch.
            suffix: Of the file of a batch that is written last.
            progress: Is told of batches finished before and now.

        Raises:
            Stopped: Between two batches, if SIGTERM came.
            Superseded: Between two batches, if another start has taken over.
        """
        with deferred_stop() as stop:
            for number, batch, _ in self._taken(items, size, suffix, progress, stop):
                yield number, batch
                self.seal(number)
                self.note(number, "finished")
                progress.advance(len(batch))

    def make_all(
        self,
        items: Sequence[Item],
        size: int,
        suffix: str,
        progress: Progress,
        *,
        prepare: Callable[[Sequence[Item]], Ready],
        make: Callable[[Sequence[Item], Ready], Made],
        write: Callable[[int, Sequence[Item], Made], object],
    ) -> None:
        """Make and write the batches that no start has finished.

        While a batch is made, the one before it is written and the one after it is prepared, each
        in a thread of its own; never more than one batch waits to be written. What is made was
        claimed first, and is written whatever stops the stage meanwhile.

        Args:
            items: What the batches are made of.
            size: How many are in a batch.
            suffix: Of the file of a batch that is written last.
            progress: Is told of batches finished before and now.
            prepare: Reads what a batch is made from. The first batch is prepared in the calling
                thread; another copy may take a batch that was prepared in vain.
            make: Makes a batch, in the calling thread.
            write: Writes a batch, given its number; the last file is the one of ``suffix``.

        Raises:
            Stopped: Between two batches, if SIGTERM came; all batches begun are written.
            Superseded: Between two batches, if another start has taken over.
        """

        def finish(number: int, batch: Sequence[Item], made: Made) -> int:
            write(number, batch, made)
            self.seal(number)
            self.note(number, "finished")
            return len(batch)

        writing: list[Future[int]] = []  # one at most
        preparing: dict[int, Future[Ready]] = {}  # one at most

        def settle() -> None:
            """Wait until the batch before is written."""
            if not writing:
                return
            try:
                progress.advance(writing.pop().result())
            except FileNotFoundError:
                self.check_owner()  # the start that has taken over has cleared the folder away
                raise

        with (
            deferred_stop() as stop,
            ThreadPoolExecutor(1) as reader,
            ThreadPoolExecutor(1) as writer,
        ):
            try:
                for number, batch, following in self._taken(items, size, suffix, progress, stop):
                    early = preparing.pop(number, None)
                    ready = prepare(batch) if early is None else early.result()
                    preparing.clear()
                    if following is not None:
                        preparing[following[0]] = reader.submit(prepare, following[1])
                    made = make(batch, ready)
                    settle()
                    writing.append(writer.submit(finish, number, batch, made))
            finally:
                settle()  # also on the way out of an error: what was made is not made again

    def _taken(
        self, items: Sequence[Item], size: int, suffix: str, progress: Progress, stop: StopFlag
    ) -> Iterator[tuple[int, Sequence[Item], Numbered[Item] | None]]:
        """Yield the batches that this copy is to make, and with each the one that may be next."""
        waiting = list(batches(items, size))
        claimed: list[Numbered[Item]] = []
        # Batches that another copy has begun come last: it may have finished them by then.
        for turn, mine in ((waiting, self._claim), (claimed, lambda number: True)):
            for place, (number, batch) in enumerate(turn):
                looked = time.time_ns()
                if self.path(number, suffix).exists() or self.is_finished():
                    progress.skip(len(batch))
                    continue
                stop.check()
                self.check_owner()
                if not mine(number):
                    claimed.append((number, batch))
                else:
                    self.note(number, "begun", looked)
                    later = (b for b in turn[place + 1 :] if not self.path(b[0], suffix).exists())
                    yield number, batch, next(later, None)

    def _claim(self, number: int) -> bool:
        """Return whether this copy is the first to begin a batch."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self.path(number, CLAIM).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def seal(self, number: int) -> None:
        """Keep the checksums of the files of a finished batch: what is kept for days may rot."""
        files = [p for p in self.folder.glob(f"{number:06d}.*") if p.suffix not in (SEAL, CLAIM)]
        try:
            digests = {path.name: file_digest(path) for path in files}
        except FileNotFoundError:
            return  # another copy has finished, and cleared the batches away
        with atomic_path(self.path(number, SEAL), durable=False) as temporary:
            temporary.write_text(dump_json(digests), encoding="utf-8")

    def drop(self, number: int) -> None:
        """Delete all that is kept of a batch."""
        for path in self.folder.glob(f"{number:06d}.*"):
            path.unlink(missing_ok=True)

    def drop_damaged(self) -> list[Path]:
        """Delete the batches that are not as they were finished; return their damaged files.

        They are made anew; a file that is not there any more was not needed any more.
        """
        damaged = []
        for number in self.numbers(SEAL):
            try:
                seal = read_json(self.path(number, SEAL))
                rotten = [
                    self.folder / name
                    for name, sha256 in seal.items()
                    if (self.folder / name).exists() and file_digest(self.folder / name) != sha256
                ]
            except Damaged:
                rotten = [self.path(number, SEAL)]
            except FileNotFoundError:
                continue  # another copy has taken it away
            if rotten:
                log.warning("%s is damaged: its batch is made anew", rotten[0])
                self.drop(number)
                damaged += rotten
        return damaged

    def require_intact(self) -> None:
        """Check all finished batches, before they become the outputs.

        Raises:
            Damaged: If one is not as it was finished; it is deleted.
        """
        if damaged := self.drop_damaged():
            raise Damaged(
                f"{damaged[0]}: a finished batch is not what was written, and was deleted; start "
                "again: it alone is made anew"
            )

    def note(self, number: int, event: str, at: int | None = None) -> None:
        """Add a line to the log of batches, if there is one.

        Args:
            number: The batch.
            event: ``begun`` or ``finished``.
            at: Nanoseconds since the epoch, now if not given. For ``begun`` the time just before
                the last look for finished batches: another copy may finish the batch after it.
        """
        if path := os.environ.get(BATCH_LOG_VARIABLE):
            with open(path, "a", encoding="utf-8") as file:
                time_ns = time.time_ns() if at is None else at
                file.write(f"{self.outputs[0]}\t{number}\t{os.getpid()}\t{event}\t{time_ns}\n")

    def publish(self, write: Callable[..., object], keeping: Sequence[str] = ()) -> None:
        """Call ``write`` with a path for each output, and make of them the outputs.

        ``write`` is not called, or may fail on a missing batch, if another copy has finished.

        Args:
            write: Writes the outputs.
            keeping: Names of files in ``folder`` that stay beside them.

        Raises:
            Superseded: If another start has taken over.
        """
        self.check_owner()
        if not self.is_finished():
            kept = self._kept()
            try:
                write(*kept)
            except FileNotFoundError:
                if not self.is_finished():
                    raise
            else:
                write_json(self._record, {path.name: file_digest(path) for path in kept})
        self.restore()
        for path in self.folder.iterdir():
            # Hidden files are what another copy writes at this moment.
            if path.name in keeping or path == self._record or path.name.startswith("."):
                continue
            if path.is_file():
                path.unlink(missing_ok=True)

    def publish_lines(self, count: int, size: int) -> None:
        """Publish the JSON Lines of all batches of ``count`` items as the one output.

        Raises:
            Superseded: If another start has taken over.
        """
        parts = [self.path(number, ".jsonl") for number, _ in batches(range(count), size)]

        def join(path: Path) -> None:
            self.require_intact()
            write_text(path, "".join(part.read_text(encoding="utf-8") for part in parts))

        self.publish(join)

    def is_finished(self) -> bool:
        """Return whether some start has completed the outputs."""
        return self._record.exists()

    def restore(self) -> None:
        """Put the outputs that some start has completed in place.

        Raises:
            Superseded: If another start has taken over.
        """
        self.check_owner()
        for path, output in zip(self._kept(), self.outputs, strict=True):
            _link(path, output)

    @property
    def _record(self) -> Path:
        """The checksums of the complete outputs; written last."""
        return self.folder / "finished.json"

    def _is_intact(self) -> bool:
        """Whether the complete outputs are as they were written: they may be edited in place."""
        try:
            digests = read_json(self._record)
        except Damaged:
            return False
        kept = self._kept()
        return all(path.exists() and file_digest(path) == digests.get(path.name) for path in kept)

    def _kept(self) -> list[Path]:
        return [self.folder / "finished" / output.name for output in self.outputs]

    def check_owner(self) -> None:
        """Raise Superseded if another start has taken over."""
        try:
            owner = (self._root / "owner").read_text(encoding="utf-8")
        except FileNotFoundError:
            owner = None
        if owner != self._mark:
            raise Superseded(self.outputs)


def _link(source: Path, target: Path) -> None:
    """Make ``target`` a hard link to ``source``, atomically; a copy where there are no links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
    try:
        try:
            os.link(source, temporary / "file")
        except OSError:
            shutil.copyfile(source, temporary / "file")
            flush(temporary / "file")
        put_in_place(temporary / "file", target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
