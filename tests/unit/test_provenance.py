"""Records of runs: what goes in, what stays out, what logs of jobs add."""

import gzip
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from capsynth import provenance
from capsynth.errors import CapsynthError
from capsynth.fingerprints import file_digest
from capsynth.job_log import PREFIX
from capsynth.provenance import Job, Run

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def job(name: str, **values: Any) -> Job:
    return Job("draw", {"shard": name}, f"{name}.log", (f"{name}.tar",), **values)


def start(*jobs: Job, **values: Any) -> str:
    about: dict[str, Any] = {
        "command": ["/tools/snakemake"],
        "config": {},
        "executor": "local",
        "profiles": [],
        "repository": ROOT,
        "code": {},
    }
    return provenance.start_run(Run(**{**about, **values}, jobs=jobs))


def say(name: str, run: str, pid: int = 1, **end: Any) -> None:
    """Write the lines of a process into the log of a job; no end if it was killed."""
    first = {"host": "node1", "pid": pid, "run": run, "slurm_job_id": "7", "start": "2026"}
    ended = {"cpu_s": 2.0, "wall_s": 1.0, "peak_memory_mb": 5, "gpu": None, **end}
    with Path(f"{name}.log").open("a") as log:
        log.write(f"a warning\n{PREFIX}{json.dumps(first)}\n")
        if end:
            log.write(f"some words\n{PREFIX}{json.dumps({**first, **ended})}\n")


def test_a_run_is_running_until_it_ends() -> None:
    jobs = [job("a"), job("b"), job("c")]
    name = start(*jobs)
    record = provenance.read_run(name)
    assert record["outcome"] == "running"
    assert record["end"] is None
    assert record["jobs"] == {"planned": {"draw": 3}, "done": {}, "failed": {}}
    assert provenance.read_jobs(name) == jobs
    say("a", name, exit_code=0)
    say("b", name, exit_code=1)
    provenance.end_run(name, "failed", jobs)
    record = provenance.read_run(name)
    assert record["outcome"] == "failed"
    assert record["start"] <= record["end"]
    assert record["jobs"] == {"planned": {"draw": 3}, "done": {"draw": 1}, "failed": {"draw": 1}}
    a, b = provenance.read_jobs(name)
    assert (a.done, a.host, a.slurm_job_id, a.exit_code) == (True, "node1", "7", 0)
    assert (b.done, b.exit_code) == (False, 1)


def test_a_run_that_was_killed_is_completed_by_the_next_one() -> None:
    first = start(job("a"), job("b"), job("c"))
    say("a", first, exit_code=0)
    say("b", first)
    second = start(job("b"), job("c"))
    record = provenance.read_run(first)
    assert record["outcome"] == "killed"
    assert record["end"] is None
    assert record["jobs"] == {"planned": {"draw": 3}, "done": {"draw": 1}, "failed": {"draw": 1}}
    assert [(j.outputs, j.done) for j in provenance.read_jobs(first)] == [
        (("a.tar",), True),
        (("b.tar",), False),
    ]
    assert provenance.read_run(second)["outcome"] == "running"


def test_a_log_of_another_run_and_damaged_lines_say_nothing() -> None:
    name = start(job("a"), job("b"))
    say("a", "another", exit_code=0)
    Path("b.log").write_text(f'{PREFIX}{{"run": "{name}", "ho\n{PREFIX}\n')
    gathered = provenance.gather(name, [job("a"), job("b"), job("without-log")])
    assert gathered == [job("a"), job("b"), job("without-log")]


def test_the_end_of_a_long_log_is_read() -> None:
    name = start(job("a"))
    say("a", name)
    with Path("a.log").open("a") as log:
        log.write("step 1 of many\n" * 50_000)
    say("a", name, exit_code=0)
    assert provenance.gather(name, [job("a")])[0].exit_code == 0


def test_processes_of_one_job_count_together() -> None:
    name = start(job("a"), job("b"))
    say("a", name, 1, exit_code=0, wall_s=2.0, peak_memory_mb=9)
    say("a", name, 2, exit_code=0, wall_s=3.0, gpu="H100")
    say("b", name, 1, exit_code=0)
    say("b", name, 2)  # killed
    a, b = provenance.gather(name, [job("a"), job("b")])
    assert (a.done, a.wall_s, a.cpu_s, a.peak_memory_mb, a.gpu) == (True, 3.0, 4.0, 9, "H100")
    assert (b.done, b.start, b.exit_code) == (False, "2026", None)


def test_a_record_has_no_home_no_secret_and_no_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home" / "ada"
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("HF_TOKEN", "hf_abcdef")
    here = Path.cwd()
    command = [
        f"{home}/.venv/bin/snakemake",
        f"--directory={here}",
        "--configfile",
        f"{home}/my.yaml",
        "--storage-s3-secret-key",
        "s3cr3t",
        "--config",
        "token=t0ken",
        "seed=1",
    ]
    config = {"dataset": {"path": f"{home}/photos"}, "other": f"{home}-not/x", "model": f"{here}/m"}
    where = Job("draw", {}, f"{home}/x.log", (f"{here}/results/a.tar",))
    name = start(where, command=command, config=config, profiles=[f"{home}/p"])
    provenance.end_run(name, "success", [where, job("b", done=True)])
    record = provenance.read_run(name)
    assert record["command"] == [
        *("snakemake", "--directory=.", "--configfile", "~/my.yaml"),
        *("--storage-s3-secret-key", "<hidden>", "--config", "token=<hidden>", "seed=1"),
    ]
    assert record["config"] == {
        "dataset": {"path": "~/photos"},
        "other": f"{home}-not/x",
        "model": "./m",
    }
    text = json.dumps([record["command"], record["profiles"], record["packages"], record["code"]])
    text += repr(provenance.read_jobs(name))
    for private in ("ada", "hf_abcdef", "s3cr3t", "t0ken", str(here), "HF_TOKEN"):
        assert private not in text


def test_a_record_names_python_packages_code_and_commit(tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "requirements.txt").write_text("pillow==1.0\nno-such-package==2\n# x==3\n")
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "requirements.txt"], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "x"], check=True)
    Path("code.json").write_text("{}")
    code = {"pack_real": Path("code.json")}
    record = provenance.read_run(start(repository=tmp_path, code=code))
    assert record["packages"]["pillow"].count(".") == 2
    assert record["packages"]["no-such-package"] is None
    assert record["packages"].keys() == {"pillow", "no-such-package"}
    assert record["code"] == {"pack_real": file_digest(Path("code.json"))}
    assert len(record["git"]["commit"]) == 40
    assert record["git"]["dirty"] is False
    (tmp_path / "requirements.txt").write_text("pillow==2.0\n")
    assert provenance.git_state(tmp_path) == {"commit": record["git"]["commit"], "dirty": True}


def why_no_commit(folder: Path) -> str:
    state = provenance.git_state(folder)
    assert (state["commit"], state["dirty"]) == (None, None)
    return str(state["why"])


def test_a_commit_that_is_not_known_has_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "not a git repository" in why_no_commit(tmp_path)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    assert "HEAD" in why_no_commit(tmp_path)
    # As where the folder is another user's; git has this for its own tests.
    with monkeypatch.context() as other:
        other.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
        why = why_no_commit(ROOT)
    assert "dubious ownership" in why
    assert "git config --global --add safe.directory" in why
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "git" in why_no_commit(ROOT)


def test_the_commit_is_that_of_the_workflow_and_of_no_other_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    own = provenance.git_state(ROOT)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))  # in a hook of that repository
    assert provenance.git_state(ROOT) == own
    copy = tmp_path / "unpacked"
    copy.mkdir()
    assert why_no_commit(copy) == "the workflow lies in a repository that does not hold it"


@pytest.mark.parametrize(
    ("written", "recorded"),
    [
        ("https://ada:s3cr3t@host/x", "https://<hidden>@host/x"),
        ("s3://s3cr3t@bucket", "s3://<hidden>@bucket"),
        ("a={b: 'ftp://ada:s3@cr3t@host'}", "a={b: 'ftp://<hidden>@host'}"),
        ("https://h/x?X-Amz-Signature=s3cr3t&v=1", "https://h/x?X-Amz-Signature=<hidden>&v=1"),
        ("https://h/x?v=1&sig=s3cr3t", "https://h/x?v=1&sig=<hidden>"),
        ("https://host/x@v1", "https://host/x@v1"),
        ("ada@host", "ada@host"),
    ],
)
def test_addresses_are_recorded_without_what_gives_access(written: str, recorded: str) -> None:
    assert provenance.hide_secrets([written]) == [recorded]
    where = Job("draw", {"shard": written}, None, ("a.tar",))
    name = start(where, command=["snakemake", "--x", written], config={"a": [written]})
    provenance.end_run(name, "success", [where])
    for path in Path("results/provenance").iterdir():
        data = path.read_bytes()
        assert b"s3cr3t" not in (gzip.decompress(data) if path.suffix == ".gz" else data)
    record = provenance.read_run(name)
    assert (record["command"][-1], record["config"]["a"]) == (recorded, [recorded])


def test_a_path_that_is_no_utf8_has_a_record() -> None:
    path = os.fsdecode(b"a\xff")
    where = Job("draw", {}, f"{path}.log", (f"{path}.tar",))
    name = start(where, command=["snakemake", "--snakefile", path])
    provenance.end_run(name, "success", [where])
    assert provenance.read_run(name)["command"][-1] == "a\\udcff"


@pytest.mark.parametrize(
    ("words", "variable", "expected"),
    [
        ([], None, ["profiles/default"]),
        (["--profile", "a", "--profile=b"], "c", ["a", "b", "profiles/default"]),
        ([], "c", ["c", "profiles/default"]),
        (["--workflow-profile", "slurm", "--profile", "none"], None, ["slurm"]),
        (["--workflow-profile", "none"], None, []),
    ],
)
def test_profiles_are_those_that_snakemake_takes(
    words: list[str], variable: str | None, expected: list[str], tmp_path: Path
) -> None:
    (tmp_path / "profiles" / "default").mkdir(parents=True)
    assert provenance.profile_names(["snakemake", *words], variable, [tmp_path]) == expected


def test_damaged_records_are_named() -> None:
    name = start(job("a"))
    Path(f"results/provenance/{name}.jobs.jsonl.gz").write_bytes(b"\x1f\x8b")
    with pytest.raises(CapsynthError, match=r"jobs\.jsonl\.gz is damaged"):
        provenance.read_jobs(name)
    Path(f"results/provenance/{name}.json").write_text("{")
    with pytest.raises(CapsynthError, match=r"\.json is damaged"):
        provenance.read_run(name)
