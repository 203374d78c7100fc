"""Whether results are what their jobs wrote: whatever the clock, beside a run, with bad records."""

import gzip
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import verify_results
from capsynth import provenance, verification
from capsynth.errors import CapsynthError
from capsynth.fingerprints import file_digest
from capsynth.integrity import record_file
from capsynth.job_log import PREFIX
from capsynth.provenance import Job, Run
from capsynth.verification import keep_aside, verify

DAY_S = 86_400
RECORDS = Path("results/provenance")


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def job(name: str) -> Job:
    return Job("draw", {"shard": name}, f"logs/{name}.log", (f"results/{name}.csv",))


def begin(*names: str) -> str:
    """Start a run of jobs; return its name."""
    about = {"command": ["snakemake"], "config": {}, "executor": "local", "profiles": []}
    jobs = [job(name) for name in names]
    run = Run(**about, repository=Path(), jobs=jobs, code={})  # type: ignore[arg-type]
    return provenance.start_run(run)


def work(run: str, name: str, text: str, *, is_done: bool = True) -> None:
    """Do what a job does: say that it starts, write its output, say that it ends."""
    (output,) = map(Path, job(name).outputs)
    lines = [{"host": "node1", "pid": 1, "run": run, "slurm_job_id": None, "start": "2026"}]
    output.write_text(text)
    if is_done:
        lines.append({**lines[0], "cpu_s": 2.0, "wall_s": 1.0, "peak_memory_mb": 5})  # type: ignore[dict-item]
        lines[1] |= {"gpu": None, "exit_code": 0, "sha256": {str(output): file_digest(output)}}  # type: ignore[dict-item]
    Path("logs").mkdir(exist_ok=True)
    text = "".join(f"{PREFIX}{json.dumps(line)}\n" for line in lines)
    Path(f"logs/{name}.log").write_text(text)


def run_of(**texts: str) -> str:
    """A whole run of jobs that write these texts."""
    run = begin(*texts)
    for name, text in texts.items():
        work(run, name, text)
    provenance.end_run(run, "success", [job(name) for name in texts])
    return run


def damaged() -> list[str]:
    return [str(damage.path) for damage in verify().damaged]


@pytest.mark.parametrize("logs", ["kept", "deleted"])
def test_a_run_under_a_clock_that_is_ahead_does_not_make_later_files_damaged(
    monkeypatch: pytest.MonkeyPatch, logs: str
) -> None:
    now = provenance.time.time()
    for ahead in (2 * DAY_S, 0, -DAY_S):
        monkeypatch.setattr(provenance.time, "time", lambda ahead=ahead: now + ahead)
        run_of(a=f"{ahead}", b="as before")
        if logs == "deleted":
            Path("logs/a.log").unlink()
        assert damaged() == []
    runs = provenance.run_names()
    assert len(runs) == 3
    assert provenance.read_run(runs[-1])["start"] < provenance.read_run(runs[0])["start"]
    Path("results/a.csv").write_text("0")  # what an earlier run wrote is not what the last one did
    assert damaged() == ["results/a.csv"]


def test_records_that_are_out_of_order_or_deleted_are_corrected_by_the_logs_of_jobs() -> None:
    first = run_of(a="first", b="b")
    last = run_of(a="last")
    for suffix in (".json", ".jobs.jsonl.gz"):
        (RECORDS / f"{last}{suffix}").rename(RECORDS / f"20000101T000000Z-abcdef{suffix}")
    assert damaged() == []
    for path in RECORDS.glob("20000101*"):
        path.unlink()
    assert provenance.run_names() == [first]
    assert damaged() == []
    Path("results/a.csv").write_text("first, or so")
    assert damaged() == ["results/a.csv"]


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize("suffix", [".json", ".jobs.jsonl.gz"])
def test_one_wrong_bit_in_a_record_hides_nothing_and_stops_no_run(suffix: str) -> None:
    run_of(a="a", b="b")
    last = run_of(a="other")
    path = RECORDS / f"{last}{suffix}"
    whole = path.read_bytes()
    Path("results/b.csv").write_text("not b")
    for place in range(0, len(whole), 7):
        path.write_bytes(flipped(whole, place))
        found = verify()
        assert [str(damage.path) for damage in found.damaged] == ["results/b.csv"], place
        assert all(last in problem for problem in found.damaged_records)
    path.write_bytes(flipped(whole, len(whole) // 2))
    with pytest.raises(CapsynthError, match="1 files of results are damaged"):
        verify_results.main([])
    Path("results/b.csv").write_text("b")
    with pytest.raises(CapsynthError, match=f"{last}.* is damaged"):
        verify_results.main([])
    again = begin("a")
    provenance.end_run(again, "success", [])
    assert provenance.read_run(again)["outcome"] == "success"


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "5", "null", "{}", '{"outcome": "running"}', '{"outcome": ["running"]}'),
        '{"outcome": "running", "jobs": [], "config": {}}',
        '{"outcome": "running", "jobs": {}, "config": {}}',
        pytest.param("[" * 100_000, id="deep"),
        "\xff",
    ],
)
@pytest.mark.parametrize("suffix", [".json", ".jobs.jsonl.gz"])
def test_a_record_of_any_other_content_is_left_out(text: str, suffix: str) -> None:
    name = run_of(a="a")
    content = text.encode("latin-1")
    is_packed = suffix.endswith(".gz")
    (RECORDS / f"{name}{suffix}").write_bytes(gzip.compress(content) if is_packed else content)
    assert damaged() == []
    begin("b")
    assert damaged() == []


def test_a_file_is_what_its_own_record_says_whatever_is_left_of_runs() -> None:
    run = run_of(a="a", b="b")
    for name in "ab":
        record_file(Path(f"results/{name}.csv"), "draw")
    Path("results/b.csv").write_text("not b")
    for path in RECORDS.glob(f"{run}*"):
        path.unlink()
        assert damaged() == ["results/b.csv"]
    # Made again by a run that could keep no record of itself.
    Path("results/b.csv").write_text("b again")
    record_file(Path("results/b.csv"), "draw")
    run_of(a="a")
    assert damaged() == []


def test_a_file_that_cannot_be_read_is_damaged(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> str:
        raise OSError(5, "Input/output error")

    run_of(a="a", b="b")
    record_file(Path("results/b.csv"), "draw")
    monkeypatch.setattr(verification, "file_digest", fail)
    found = verify()
    assert [damage.problem for damage in found.damaged] == [
        "cannot be read (Input/output error)"
    ] * 2


def test_files_that_are_no_records_are_passed_over() -> None:
    name = run_of(a="a")
    for other in ("notes.json", f"{name} (1).json", "99999999T999999Z-abcdef.json"):
        (RECORDS / other).write_text("{}")
    assert provenance.run_names() == [name]
    assert verify().damaged_records == ()


def test_lines_of_a_log_that_no_job_says_are_passed_over() -> None:
    run = begin("a", "b")
    work(run, "a", "a")
    lines = ["5", "[]", "{}", json.dumps({"run": run}), json.dumps({"run": run, "exit_code": 0})]
    with Path("logs/a.log").open("a") as log:
        log.writelines(f"{PREFIX}{line}\n" for line in lines)
    found = verify()
    assert (found.checked, found.damaged, found.being_made) == (1, (), 0)


# ---- beside a run --------------------------------------------------------------------------------


@pytest.fixture
def while_hashing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """``while_hashing(path, step)``: a step that is done before a file is read."""
    waiting: dict[Path, Callable[[], Any]] = {}

    def digest(path: Path) -> str:
        if path in waiting:
            waiting.pop(path)()
        return file_digest(path)

    monkeypatch.setattr(verification, "file_digest", digest)
    yield lambda path, step: waiting.update({Path(path): step})
    assert not waiting


def test_a_file_that_a_run_makes_again_while_it_is_read_is_not_damaged(
    while_hashing: Callable[..., None],
) -> None:
    run_of(a="a", b="b", c="c")
    run = begin("a", "b", "c")
    while_hashing("results/a.csv", lambda: work(run, "a", "made again"))
    while_hashing("results/b.csv", lambda: work(run, "b", "half", is_done=False))
    while_hashing("results/c.csv", lambda: os.unlink("results/c.csv"))
    found = verify()
    assert found.damaged == ()
    assert (found.being_made, found.missing) == (1, 1)


def test_a_run_that_begins_while_files_are_read_is_noticed(
    while_hashing: Callable[..., None],
) -> None:
    run_of(a="a", b="b")
    Path("results/b.csv").write_text("not b")
    while_hashing("results/a.csv", lambda: work(begin("a"), "a", "made again", is_done=False))
    assert damaged() == ["results/b.csv"]


# ---- repairing -----------------------------------------------------------------------------------


def test_repair_touches_nothing_while_a_run_holds_the_folder(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_of(a="a")
    Path("results/a.csv").write_text("damaged")
    lock = Path(".snakemake/locks/0.output.lock")
    lock.parent.mkdir(parents=True)
    lock.touch()
    with pytest.raises(CapsynthError, match="lock is on this folder, so nothing is touched"):
        verify_results.main(["--repair"])
    assert Path("results/a.csv").read_text() == "damaged"
    assert not Path("results/damaged").exists()


def test_what_is_kept_aside_stays_in_place_and_replaces_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = Path("results/inner/a.csv")
    path.parent.mkdir(parents=True)
    path.write_text("first")
    kept = keep_aside(path)
    assert kept == Path("results/damaged/inner/a.csv")
    assert keep_aside(path) == kept
    assert path.read_text() == "first"
    path.unlink()
    path.write_text("second")
    again = keep_aside(path)
    assert again == Path("results/damaged/inner/a.csv.1")
    assert (kept.read_text(), again.read_text()) == ("first", "second")

    # A sub-folder that is a link to another file system; and a file of no sub-folder.
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    outside = Path("downloads/b.json")
    outside.parent.mkdir()
    outside.write_text("third")
    copy = keep_aside(outside)
    assert copy == Path("results/damaged/downloads/b.json")
    assert copy.read_text() == outside.read_text() == "third"


def test_what_cannot_be_read_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path("a.csv")
    path.mkdir()  # reading it fails, as on a broken disk
    assert keep_aside(path) is None
