"""Resuming: batches are fixed, finished work is kept, and copies of a job do no harm."""

import errno
import os
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from batch_log import begun_again, read_batch_log
from hypothesis import given
from hypothesis import strategies as st
from waiting import BACKSTOP_S

from capsynth import resuming
from capsynth.errors import Stopped, Superseded
from capsynth.files import write_text
from capsynth.integrity import Damaged
from capsynth.progress import Progress
from capsynth.resuming import (
    BATCH_LOG_VARIABLE,
    PartialWork,
    batches,
    clear_leftovers,
    is_leftover,
    partial_folder,
)

ITEMS = "abcdefgh"


@given(st.lists(st.integers()), st.integers(1, 20))
def test_batches_hold_every_item_once_and_in_order(items: list[int], size: int) -> None:
    found = list(batches(items, size))
    assert [number for number, _ in found] == list(range(len(found)))
    assert [item for _, batch in found for item in batch] == items
    assert all(len(batch) == size for _, batch in found[:-1])


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "a.txt"


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "batches.log"
    monkeypatch.setenv(BATCH_LOG_VARIABLE, str(path))
    return path


def do_batches(work: PartialWork, most: int = 100, after: Callable[[int], None] = id) -> list[int]:
    """Finish batches of two items, at most ``most``; return their numbers."""
    done = []
    with Progress("test", len(ITEMS), "letter") as progress:
        for number, batch in work.unfinished(ITEMS, 2, ".txt", progress):
            if len(done) == most:
                break
            work.path(number, ".txt").write_text("".join(batch))
            done.append(number)
            after(number)
    return done


def join(work: PartialWork) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        numbers = [number for number, _ in batches(ITEMS, 2)]
        text = "".join(work.path(number, ".txt").read_text() for number in numbers)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)

    return write


def not_again(path: Path) -> None:
    pytest.fail("it was finished before")


def test_a_second_start_does_what_the_first_left(output: Path) -> None:
    assert do_batches(PartialWork([output], "one"), most=2) == [0, 1]
    work = PartialWork([output], "one")
    # Of the batch that was begun and not finished the claim is left: it comes last.
    assert do_batches(work) == [3, 2]
    work.publish(join(work))
    assert output.read_text() == ITEMS


def test_work_of_another_mark_is_never_used(output: Path) -> None:
    do_batches(PartialWork([output], "one"))
    work = PartialWork([output], "two")
    assert do_batches(work) == [0, 1, 2, 3]
    assert [path.name for path in partial_folder(output).iterdir() if path.is_dir()] == ["two"]


def test_what_was_finished_is_taken_over_when_the_output_is_deleted(output: Path) -> None:
    work = PartialWork([output], "one")
    do_batches(work)
    work.publish(join(work))
    assert output.stat().st_nlink == 2  # it takes no space twice
    output.unlink()  # as Snakemake does before a job starts
    again = PartialWork([output], "one")
    assert do_batches(again) == []
    again.publish(not_again)
    assert output.read_text() == ITEMS


def test_finished_batches_take_no_space_beside_the_output(output: Path) -> None:
    work = PartialWork([output], "one")
    do_batches(work)
    work.publish(join(work))
    assert {p.name for p in work.folder.rglob("*")} == {"finished", "a.txt", "finished.json"}
    clear_leftovers([output])
    assert [path.name for path in output.parent.iterdir()] == ["a.txt"]


def test_an_output_that_was_edited_in_place_is_made_anew(output: Path) -> None:
    work = PartialWork([output], "one")
    do_batches(work)
    work.publish(join(work))
    with output.open("r+") as file:
        file.write("X")
    again = PartialWork([output], "one")
    assert do_batches(again) == [0, 1, 2, 3]
    again.publish(join(again))
    assert output.read_text() == ITEMS


def test_a_file_system_without_hard_links_gets_a_copy(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*paths: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    work = PartialWork([output], "one")
    do_batches(work)
    work.publish(join(work))
    assert output.read_text() == ITEMS
    assert output.stat().st_nlink == 1


def test_two_copies_share_the_batches(output: Path, log: Path) -> None:
    one, two = PartialWork([output], "one"), PartialWork([output], "one")
    by_two: list[int] = []

    def run_the_other(number: int) -> None:
        if number == 1:  # finished by the first copy, not yet noted
            by_two.extend(do_batches(two, most=1))

    by_one = do_batches(one, after=run_the_other)
    assert (by_one, by_two) == ([0, 1, 3], [2])
    finished = [line.split("\t")[1] for line in log.read_text().splitlines() if "finished" in line]
    assert sorted(finished) == ["0", "1", "2", "3"]
    one.publish(join(one))
    two.publish(not_again)
    assert output.read_text() == ITEMS


def test_the_log_tells_a_batch_made_again_from_one_that_ended_after_the_last_look(
    output: Path, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = PartialWork([output], "one"), PartialWork([output], "one")
    for number, _ in batches(ITEMS, 2):
        one.path(number, ".claim").touch()  # of a copy that was killed
    asked = 0

    def overtaken() -> None:
        """Let the other copy run between the last look for batch 0 and its beginning."""
        nonlocal asked
        asked += 1
        if asked == 5:
            do_batches(two)

    monkeypatch.setattr(one, "check_owner", overtaken)
    assert do_batches(one) == [0]
    begun = [note.number for note in read_batch_log(log) if note.event == "begun"]
    assert begun == ["0", "1", "2", "3", "0"]
    assert begun_again(read_batch_log(log)) == []
    one.path(2, ".txt").unlink()
    assert do_batches(two) == [2]
    assert [note.number for note in begun_again(read_batch_log(log))] == ["2"]


def test_a_copy_whose_batches_another_copy_has_cleared_takes_its_result(output: Path) -> None:
    slow = PartialWork([output], "one")

    def overtaken(number: int) -> None:
        if number == 1:
            quick = PartialWork([output], "one")
            do_batches(quick)
            quick.publish(join(quick))

    assert do_batches(slow, after=overtaken) == [0, 1]
    slow.publish(not_again)
    assert output.read_text() == ITEMS


def test_an_orphan_with_other_settings_stops_and_touches_nothing(output: Path) -> None:
    orphan = PartialWork([output], "old")

    def superseded(number: int) -> None:
        if number == 1:
            new = PartialWork([output], "new")
            do_batches(new)
            new.publish(join(new))

    with pytest.raises(Superseded, match="other settings") as caught:
        do_batches(orphan, after=superseded)
    assert caught.value.complete
    with pytest.raises(Superseded):
        orphan.publish(not_again)
    assert output.read_text() == ITEMS


def test_an_orphan_of_a_run_that_has_succeeded_touches_nothing(output: Path) -> None:
    orphan = PartialWork([output], "one")
    do_batches(orphan)
    clear_leftovers([output])
    with pytest.raises(Superseded) as caught:
        orphan.publish(join(orphan))
    assert not caught.value.complete
    assert not output.exists()


def test_sigterm_ends_after_the_batch_that_runs(output: Path) -> None:
    work = PartialWork([output], "one")
    before = signal.getsignal(signal.SIGTERM)

    def terminate(number: int) -> None:
        if number == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped):
        do_batches(work, after=terminate)
    assert signal.getsignal(signal.SIGTERM) == before
    assert do_batches(PartialWork([output], "one")) == [2, 3]


def test_sigterm_in_the_last_batch_stops_nothing(output: Path) -> None:
    work = PartialWork([output], "one")

    def terminate(number: int) -> None:
        if number == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    assert do_batches(work, after=terminate) == [0, 1, 2, 3]


def test_work_of_another_output_is_left_alone(tmp_path: Path) -> None:
    do_batches(PartialWork([tmp_path / "b.txt"], "one"))
    clear_leftovers([tmp_path / "a.txt"])
    assert do_batches(PartialWork([tmp_path / "b.txt"], "one")) == []


def test_what_killed_jobs_left_beside_their_files_is_cleared_and_nothing_else(
    tmp_path: Path,
) -> None:
    left = [".bat-0.tar.x8_a.tmp", ".bat-0.tar.0f.old", "..bat-0.sources.json.q2.tmp"]
    kept = [".bat-0.sources.json", ".bat-1.tar.x8_a.tmp", ".bat-0.tar.tmp", "bat-0.tar.x8_a.tmp"]
    for name in [*left, *kept, "bat-0.tar", ".bat-0.jsonl.partial"]:
        (tmp_path / name).write_text(name)
    (tmp_path / ".bat-0.tar.partial").mkdir()
    (tmp_path / ".bat-0.tar.link.tmp").mkdir()
    (tmp_path / ".bat-0.tar.link.tmp" / "file").touch()
    clear_leftovers([tmp_path / "bat-0.tar", tmp_path / "missing" / "a.csv"])
    there = sorted(path.name for path in tmp_path.iterdir())
    assert there == sorted([*kept, "bat-0.tar", ".bat-0.jsonl.partial"])
    (tmp_path.parent / f".{tmp_path.name}.y4.tmp").mkdir()  # the folder, written as a whole
    clear_leftovers([tmp_path / "bat-0.tar"])
    assert not (tmp_path.parent / f".{tmp_path.name}.y4.tmp").exists()
    clear_leftovers([tmp_path])  # a folder that is an output itself
    there = sorted(path.name for path in tmp_path.iterdir())
    assert there == [".bat-0.sources.json", "bat-0.tar", "bat-0.tar.x8_a.tmp"]
    assert is_leftover(tmp_path / ".bat-0.tar.link.tmp" / "file")
    assert not is_leftover(tmp_path / ".bat-0.sources.json")


def test_a_copy_where_there_are_no_links_is_flushed_before_it_counts(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    flushed = []
    work = PartialWork([output], "one")
    do_batches(work)
    monkeypatch.setattr(os, "link", refuse)
    monkeypatch.setattr(resuming, "flush", lambda path: flushed.append(path.read_text()))
    work.publish(join(work))
    assert flushed == [ITEMS]


# ---- batches that are prepared, made and written at once ----------------------------------------


class Factory:
    """Makes batches of two letters, upper case; remembers what it did, and in which threads.

    Each hook is called with the number of the batch before the work is done.
    """

    def __init__(self, work: PartialWork, **hooks: Callable[[int], object]) -> None:
        self.work, self.hooks = work, hooks
        self.prepared: list[int] = []
        self.made: list[int] = []
        self.written: list[int] = []
        self.threads: dict[str, set[int]] = {"prepare": set(), "make": set(), "write": set()}

    def prepare(self, batch: Sequence[str]) -> str:
        number = ITEMS.index(batch[0]) // 2
        self._begin("prepare", number)
        self.prepared.append(number)
        return "".join(batch)

    def make(self, batch: Sequence[str], ready: str) -> str:
        number = ITEMS.index(batch[0]) // 2
        self._begin("make", number)
        self.made.append(number)
        return ready.upper()

    def write(self, number: int, batch: Sequence[str], made: str) -> None:
        self._begin("write", number)
        write_text(self.work.path(number, ".txt"), made)
        self.written.append(number)

    def _begin(self, step: str, number: int) -> None:
        self.threads[step].add(threading.get_ident())
        self.hooks.get(step, id)(number)

    def run(self) -> "Factory":
        with Progress("test", len(ITEMS), "letter") as progress:
            self.work.make_all(
                ITEMS, 2, ".txt", progress, prepare=self.prepare, make=self.make, write=self.write
            )
        return self


def test_batches_that_are_made_at_once_are_made_in_order_and_each_once(
    output: Path, log: Path
) -> None:
    factory = Factory(PartialWork([output], "one")).run()
    assert factory.prepared == factory.made == factory.written == [0, 1, 2, 3]
    assert factory.threads["make"] == {threading.get_ident()}
    events = [line.split("\t")[1:4:2] for line in log.read_text().splitlines()]
    assert sorted(events) == sorted([str(n), e] for n in range(4) for e in ("begun", "finished"))
    factory.work.publish(join(factory.work))
    assert output.read_text() == ITEMS.upper()


def test_a_batch_is_written_and_the_next_but_one_prepared_while_one_is_made(output: Path) -> None:
    written, prepared = threading.Event(), threading.Event()

    def wait(number: int) -> None:
        # Batch 1 is made only when batch 0 is written and batch 2 prepared.
        if number == 1:
            assert written.wait(BACKSTOP_S)
            assert prepared.wait(BACKSTOP_S)

    factory = Factory(
        PartialWork([output], "one"),
        make=wait,
        write=lambda number: written.set(),
        prepare=lambda number: prepared.set() if number == 2 else None,
    ).run()
    assert factory.written == [0, 1, 2, 3]


def test_never_more_than_one_batch_waits_to_be_written(output: Path) -> None:
    begun = [threading.Event() for _ in range(5)]
    begun[4].set()  # the last batch waits for no other
    waiting = []

    def make(number: int) -> None:
        waiting.append(len(factory.made) - len(factory.written))
        begun[number].set()

    def write(number: int) -> None:
        assert begun[number + 1].wait(BACKSTOP_S)

    factory = Factory(PartialWork([output], "one"), make=make, write=write)
    factory.run()
    assert waiting == [0, 1, 1, 1]


def test_sigterm_while_one_batch_is_made_and_one_is_written_loses_neither(
    output: Path, log: Path
) -> None:
    def terminate(number: int) -> None:
        if number == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Stopped):
        Factory(PartialWork([output], "one"), make=terminate).run()
    assert log.read_text().count("begun") == log.read_text().count("finished") == 2
    again = Factory(PartialWork([output], "one")).run()
    assert again.prepared == again.made == [2, 3]


def test_what_was_made_before_an_error_is_written(output: Path) -> None:
    def fail(number: int) -> None:
        if number == 2:
            raise ValueError("no such image")

    for step in ("prepare", "make"):
        with pytest.raises(ValueError, match="no such image"):
            Factory(PartialWork([output], step), **{step: fail}).run()
        assert Factory(PartialWork([output], step)).run().made == [3, 2]


def test_an_error_in_writing_ends_the_stage_and_the_batch_is_made_anew(output: Path) -> None:
    def fill_the_disk(number: int) -> None:
        if number == 1:
            raise OSError(errno.ENOSPC, "no space left")

    first = Factory(PartialWork([output], "one"), write=fill_the_disk)
    with pytest.raises(OSError, match="no space left"):
        first.run()
    # Batch 2 was made meanwhile, and could not be handed over.
    assert (first.made, first.written) == ([0, 1, 2], [0])
    assert sorted(Factory(PartialWork([output], "one")).run().made) == [1, 2, 3]


def test_two_copies_that_make_at_once_share_the_batches(output: Path, log: Path) -> None:
    one, two = PartialWork([output], "one"), PartialWork([output], "one")
    other = Factory(two)

    def run_the_other(number: int) -> None:
        if number == 1:
            other.run()

    first = Factory(one, make=run_the_other).run()
    # The second copy ends with what the first had begun and not finished: it might be dead.
    assert sorted({*first.made, *other.made}) == [0, 1, 2, 3]
    assert first.made == [0, 1]
    one.publish(join(one))
    two.publish(not_again)
    assert output.read_text() == ITEMS.upper()


def test_a_superseded_copy_that_makes_at_once_stops(output: Path) -> None:
    def supersede(number: int) -> None:
        if number == 1:
            PartialWork([output], "new")

    old = Factory(PartialWork([output], "old"), make=supersede)
    with pytest.raises(Superseded):
        old.run()
    assert old.made == [0, 1]


def test_a_finished_batch_that_rots_is_made_anew(output: Path) -> None:
    do_batches(PartialWork([output], "one"), most=3)
    kept = PartialWork([output], "one").path(1, ".txt")
    kept.write_text("X" + kept.read_text()[1:])
    again = PartialWork([output], "one")
    assert sorted(do_batches(again)) == [1, 3]
    again.publish(join(again))
    assert output.read_text() == ITEMS


def test_a_batch_that_rots_before_its_end_is_not_published(output: Path) -> None:
    work = PartialWork([output], "one")
    do_batches(work)
    work.path(2, ".txt").write_text("")
    with pytest.raises(Damaged, match=r"000002\.txt: a finished batch is not what was written"):
        work.require_intact()
    assert do_batches(PartialWork([output], "one")) == [2]


@pytest.mark.parametrize("size", [0, 5])
def test_finished_outputs_whose_checksums_are_cut_are_made_anew(output: Path, size: int) -> None:
    work = PartialWork([output], "one")
    do_batches(work)
    work.publish(join(work))
    os.truncate(work.folder / "finished.json", size)
    assert do_batches(PartialWork([output], "one")) == [0, 1, 2, 3]
