"""Records of real runs, and the way from a score to its images."""

import contextlib
import csv
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from capsynth import provenance
from capsynth.files import read_json_lines

pytestmark = pytest.mark.slow

JOBS_OF_A_SCORE = {"train_classifier": 6, "evaluate_classifier": 6, "collect_scores": 1}


def folder(experiment: Any) -> Path:
    return Path(experiment.folder / "results" / "provenance")


def contents(experiment: Any) -> dict[Path, bytes]:
    """The records of runs and of files."""
    return {p: p.read_bytes() for p in folder(experiment).rglob("*") if p.is_file()}


def names(experiment: Any) -> list[str]:
    return provenance.run_names(folder(experiment))


def record(experiment: Any) -> dict[str, Any]:
    """The record of the latest run."""
    return provenance.read_run(names(experiment)[-1], folder(experiment))


def jobs(experiment: Any) -> list[provenance.Job]:
    """The jobs of the latest run."""
    return provenance.read_jobs(names(experiment)[-1], folder(experiment))


def test_the_run_left_one_record_of_all_that_it_did(tiny_experiment: Any) -> None:
    (name,) = names(tiny_experiment)
    found = record(tiny_experiment)
    assert found["outcome"] == "success"
    assert found["start"] < found["end"]
    assert found["command"] == ["snakemake", "--cores", "2"]
    assert (found["executor"], found["profiles"]) == ("local", ["profiles/default"])
    assert found["packages"]["torch"]
    assert found["config"]["training_seeds"] == [0, 1]
    assert found["config"]["report"]["draws"] > 0  # a default
    assert found["jobs"]["planned"] == found["jobs"]["done"]
    assert JOBS_OF_A_SCORE.items() <= found["jobs"]["done"].items()
    assert found["jobs"]["failed"] == {}
    assert "all" not in found["jobs"]["planned"]
    done = jobs(tiny_experiment)
    assert len(done) == sum(found["jobs"]["done"].values())
    assert all(job.exit_code == 0 and job.attempt == 1 and job.host for job in done)
    assert all(found["start"] <= str(job.start) <= found["end"] for job in done)
    assert all(job.peak_memory_mb and job.peak_memory_mb > 20 for job in done)
    made = {output for job in done for output in job.outputs}
    assert {"results/scores.csv", "results/openmoji/images/caption/bat-0.tar"} <= made
    assert all((tiny_experiment.folder / output).exists() for output in made)
    assert provenance.run_names(folder(tiny_experiment)) == [name]


def test_a_record_holds_nothing_of_this_machine_but_its_name(tiny_experiment: Any) -> None:
    (path,) = folder(tiny_experiment).glob("*.json")
    text = path.read_text() + repr(jobs(tiny_experiment))
    assert str(tiny_experiment.folder) not in text
    assert str(Path.home()) not in text
    values = {v for k, v in os.environ.items() if len(v) > 12 and k not in ("PWD", "OLDPWD")}
    assert [value for value in values if value in text] == []


def test_a_run_with_nothing_to_do_leaves_no_record_and_changes_none(experiment: Any) -> None:
    before = contents(experiment)
    for words in ((), ("-n", "--forceall"), ("--touch",), ("--touch", "--forceall")):
        assert experiment.snakemake(*words).returncode == 0
    assert contents(experiment) == before


def test_records_are_no_reason_to_run(experiment: Any) -> None:
    shutil.rmtree(folder(experiment))
    assert experiment.owed() == set()


def test_a_failed_run_says_what_failed(experiment: Any) -> None:
    tar = experiment.folder / "results/openmoji/real/bat-0.tar"
    tar.write_bytes(tar.read_bytes()[:1000])
    for made in (
        "captions/tiny/bat-0.jsonl",
        "prompts/caption/bat-0.jsonl",
        "images/caption/bat-0.tar",
    ):
        (experiment.folder / "results/openmoji" / made).unlink()
    done = experiment.snakemake("--keep-going", "results/openmoji/images/caption/bat-0.tar")
    assert done.returncode != 0
    found = record(experiment)
    assert found["outcome"] == "failed"
    assert found["jobs"]["planned"] == {
        "caption_images": 1,
        "write_prompts": 1,
        "generate_images": 1,
    }
    assert found["jobs"]["failed"] == {"caption_images": 1}
    assert found["jobs"]["done"] == {}
    (job,) = jobs(experiment)
    assert (job.rule, job.exit_code, job.done) == ("caption_images", 1, False)


def test_a_job_that_is_tried_again_says_which_attempt_it_was(experiment: Any) -> None:
    tar = experiment.folder / "results/openmoji/real/bat-0.tar"
    tar.write_bytes(tar.read_bytes()[:1000])
    captions = "results/openmoji/captions/tiny/bat-0.jsonl"
    (experiment.folder / captions).unlink()
    assert experiment.snakemake("--retries", "2", captions).returncode != 0
    assert [job.attempt for job in jobs(experiment)] == [3]


def test_a_killed_run_is_completed_by_the_next_one(
    checkout: Callable[[], Path], experiment: Any, new_experiment: Any
) -> None:
    fresh = new_experiment(checkout(), experiment.config)
    shutil.copytree(experiment.folder / "models", fresh.folder / "models")
    fresh.write_config(experiment.config)
    target = "results/openmoji/captions/tiny/bat-0.jsonl"
    # The first two jobs end; the third loads its model, and is killed with the run.
    tools = Path(sys.executable).parent
    with subprocess.Popen(
        ["snakemake", "--cores", "1", target],
        cwd=fresh.folder,
        env={**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as run:
        packed = fresh.folder / "results/openmoji/real/bat-0.jsonl"
        while not packed.exists() or not _runs(run.pid, "caption_images.py"):
            assert run.poll() is None
            time.sleep(0.05)
        os.killpg(run.pid, signal.SIGKILL)
    assert record(fresh)["outcome"] == "running"
    assert len(jobs(fresh)) == 3  # what was planned
    (killed,) = names(fresh)
    assert "render_openmoji in run" in trace(fresh, "results/openmoji/source/bat.json")[1]
    assert fresh.snakemake("--unlock").returncode == 0
    assert fresh.snakemake(target).returncode == 0
    found = provenance.read_run(killed, folder(fresh))
    assert found["outcome"] == "killed"
    assert found["end"] is None
    assert found["jobs"]["done"] == {"render_openmoji": 1, "pack_real": 1}
    assert len(provenance.read_jobs(killed, folder(fresh))) == 2
    assert record(fresh)["outcome"] == "success"
    assert record(fresh)["jobs"]["done"] == {"caption_images": 1}
    assert killed in trace(fresh, "results/openmoji/source/bat.json")[1]


def _runs(group: int, script: str) -> bool:
    """Return whether a process of a group runs a script."""
    for process in Path("/proc").glob("[0-9]*"):
        # Processes end while they are looked at.
        with contextlib.suppress(OSError):
            is_of_group = os.getpgid(int(process.name)) == group
            if is_of_group and script.encode() in (process / "cmdline").read_bytes():
                return True
    return False


# ---- the way from a score to its images ----------------------------------------------------------


def trace(experiment: Any, *words: str) -> list[str]:
    """The lines that ``trace.py`` prints."""
    done = _trace(experiment, words)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def _trace(experiment: Any, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "workflow/scripts/trace.py", *words]
    return subprocess.run(command, cwd=experiment.folder, capture_output=True, text=True)


def of_run(training_set: str = "real+caption", seed: int = 0) -> list[str]:
    words = f"--training-set {training_set} --recipe tiny --seed {seed} --eval-set openmoji-val"
    return words.split()


def values(lines: Sequence[str], label: str) -> list[str]:
    return [line[14:] for line in lines if line[:14].strip() == label]


def test_a_score_is_followed_to_its_images(tiny_experiment: Any, tmp_path: Path) -> None:
    root = tiny_experiment.folder
    with (root / "results/scores.csv").open() as file:
        row = next(
            row
            for row in csv.DictReader(file)
            if (row["training_set"], row["seed"], row["eval_set"], row["metric"])
            == ("real+caption", "0", "openmoji-val", "top1")
        )
    said = trace(
        tiny_experiment, *of_run(), "--key", "bat_000002", "--extract", str(tmp_path / "out")
    )
    assert values(said, "score") == [
        f"top1 = {row['value']} [{row['ci_low']}, {row['ci_high']}] of 8 images"
    ]
    assert len(values(said, "checked")) == 3
    assert not any("NOT SO" in line for line in said)
    assert values(said, "trained on") == [
        "1 of results/openmoji/real/, 2 shards",
        "1 of results/openmoji/images/caption/, 2 shards",
    ]
    (name,) = names(tiny_experiment)
    assert all(f"in run {name}" in line for line in values(said, "made by"))
    images = {
        row["key"]: row
        for row in read_json_lines(root / "results/openmoji/images/caption/bat-0.jsonl")
    }
    drawn = images["bat_000002"]
    assert values(said, "seed") == [str(drawn["seed"])]
    assert values(said, "prompt") == [drawn["prompt"]]
    assert values(said, "generator") == [f"tiny, fingerprint {drawn['fingerprint']}"]
    assert values(said, "source") == ["results/openmoji/source/bat/bat_000002.png"]
    shards = {
        "asked": "results/eval_sets/openmoji-val.tar",
        "real": "results/openmoji/real/bat-0.tar",
        "caption": "results/openmoji/images/caption/bat-0.tar",
    }
    for kind, shard in shards.items():
        with tarfile.open(root / shard) as tar:
            member = next(m for m in tar if re.fullmatch(r"(bat_)?bat_000002\.png", m.name))
            packed = tar.extractfile(member)
            assert packed is not None
            assert (tmp_path / f"out/{kind}-bat_000002.png").read_bytes() == packed.read()
    source = root / "results/openmoji/source/bat/bat_000002.png"
    assert source.read_bytes() == (tmp_path / "out/real-bat_000002.png").read_bytes()


def test_a_shard_that_was_changed_afterwards_is_told(experiment: Any, tmp_path: Path) -> None:
    manifest = experiment.folder / "results/openmoji/images/caption/bat-0.jsonl"
    manifest.write_text(manifest.read_text().replace("a photo of", "a drawing of"))
    said = trace(experiment, *of_run())
    assert [line for line in values(said, "checked") if line.startswith("NOT SO")] == [
        "NOT SO: the shards are what it was trained on"
    ]
    tar = manifest.with_suffix(".tar")
    tar.write_bytes(tar.read_bytes().replace(b"IDAT", b"IDAX"))
    done = _trace(experiment, [str(tar.relative_to(experiment.folder)), "--key", "bat_000001"])
    assert done.returncode == 0
    words = [str(tar.relative_to(experiment.folder)), "--key", "bat_000001"]
    done = _trace(experiment, [*words, "--extract", str(tmp_path)])
    assert done.returncode == 1
    assert "bat_000001 has other bytes than its manifest says" in done.stderr
    assert list(tmp_path.glob("caption-*")) == []


def test_another_checkpoint_than_the_scored_one_is_told(experiment: Any) -> None:
    folder = experiment.folder / "results/openmoji/checkpoints/real+caption/tiny"
    shutil.copy(folder / "seed1.safetensors", folder / "seed0.safetensors")
    said = values(trace(experiment, *of_run()), "checked")
    assert [line.startswith("NOT SO") for line in said] == [True, True, True]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (of_run("reel"), "no predictions at results/*/predictions/reel/tiny/seed0/openmoji-val"),
        ([*of_run(), "--key", "bat_999999"], "no image 'bat_999999': neither openmoji-val nor"),
        ([*of_run(), "--metric", "top2"], "unknown metric 'top2'; did you mean 'top1'?"),
        (["results/scores.csv", "--key", "x"], "is no shard"),
        (["results/openmoji/real/bat-0.tar", "--key", "x"], "has no image 'x'"),
        (["--seed", "0"], "give a path, or --training-set"),
    ],
)
def test_what_is_not_there_is_named(tiny_experiment: Any, words: list[str], message: str) -> None:
    done = _trace(tiny_experiment, words)
    assert done.returncode != 0
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_record_the_trace_says_what_it_lacks(experiment: Any) -> None:
    shutil.rmtree(folder(experiment))
    assert values(trace(experiment, "results/scores.csv"), "made by") == [
        "no record tells which run made it"
    ]
    done = _trace(experiment, of_run())
    assert done.returncode == 1
    assert "error: results/provenance has no record of a run" in done.stderr


def test_the_commands_of_the_guide_run(repository: Path, experiment: Any) -> None:
    text = (repository / "docs/provenance.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines()]
    traces = [shlex.split(line)[2:] for line in commands if "trace.py" in line]
    assert len(traces) == 4
    # The tiny experiment's names for what the default one calls otherwise.
    names = {"caption": "real+caption", "cpu-tiny": "tiny"}
    for words in traces:
        assert len(trace(experiment, *(names.get(word, word) for word in words))) >= 2
    assert len(list((experiment.folder / "traced").iterdir())) == 3
    queries = [line for line in commands if "jq" in line]
    assert len(queries) == 2
    if shutil.which("jq"):
        for line in queries:
            subprocess.run(
                ["bash", "-euo", "pipefail", "-c", line], cwd=experiment.folder, check=True
            )
