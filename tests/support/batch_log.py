"""The log of batches that stages keep for audits: ``capsynth.resuming.PartialWork.note``."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Note:
    """A line of the log of batches.

    Attributes:
        output: First output of the job.
        number: The batch.
        pid: The process.
        event: ``begun`` or ``finished``.
        time: Nanoseconds since the epoch; of ``begun`` when finished batches were looked for last.
    """

    output: str
    number: str
    pid: int
    event: str
    time: int

    @property
    def batch(self) -> tuple[str, str]:
        """The output and the number."""
        return self.output, self.number


def read_batch_log(log: Path) -> list[Note]:
    """Return what was noted, in that order; nothing if no batch was begun."""
    lines = log.read_text().splitlines() if log.exists() else []
    fields = [line.split("\t") for line in lines]
    return [Note(output, n, int(pid), event, int(at)) for output, n, pid, event, at in fields]


def begun_batches(notes: Iterable[Note]) -> set[tuple[str, str]]:
    """Return the batches that were begun.

    A process that is killed just after it finished a batch has not noted its end; that the results
    are whole shows that a batch was finished.
    """
    return {note.batch for note in notes if note.event == "begun"}


def begun_again(notes: Iterable[Note]) -> list[Note]:
    """Return the beginnings of batches that were finished when their process last looked.

    A batch that another copy finishes between the look and the beginning is made twice, in vain
    but not wrongly.
    """
    notes = list(notes)
    finished: dict[tuple[str, str], int] = {}
    for note in notes:
        if note.event == "finished":
            finished[note.batch] = min(note.time, finished.get(note.batch, note.time))
    return [
        note
        for note in notes
        if note.event == "begun" and note.batch in finished and note.time > finished[note.batch]
    ]
