"""`snakemake changed` and `snakemake status` look at the run of their own command, no more."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from checkouts import copy_models

pytestmark = pytest.mark.slow

QUIET = ("--quiet", "all")
# What stages make, below the folder of the data set.
OUTPUTS = {
    "pack_real": ("real/*.tar", "real/*.jsonl"),
    "caption_images": ("captions/*/*.jsonl",),
    "generate_images": ("images/*/*.tar", "images/*/*.jsonl"),
    "train_classifier": ("checkpoints/**/*.safetensors", "checkpoints/**/*.json"),
}


def look(experiment: Any, target: str, *options: str) -> str:
    """What a target says."""
    done = experiment.snakemake(target, *QUIET, *options)
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


def facts(experiment: Any, what: str, *options: str) -> Any:
    """What a target's script says as JSON."""
    script = f"workflow/scripts/report_{what}.py"
    done = experiment.call(sys.executable, script, "--json", "--", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)


def write_config(experiment: Any, name: str, **values: Any) -> None:
    text = yaml.safe_dump({**experiment.config, **values}, sort_keys=False)
    (experiment.folder / name).write_text(text, encoding="utf-8")


def folder_state(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file, those aside that tell of the call itself."""
    own = ("logs/changed.log", "logs/status.log", ".snakemake/log/")
    return {
        name: (path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
        and "__pycache__" not in path.parts
        and not (name := str(path.relative_to(folder))).startswith(own)
    }


def test_a_finished_experiment_is_said_to_be_finished_and_nothing_is_written(
    experiment: Any,
) -> None:
    cache = experiment.folder / ".snakemake" / "iocache" / "latest.pkl"
    cache.write_bytes(b"kept for --trust-io-cache")
    look(experiment, "status")  # checksums of models that were copied here are noted once
    before = folder_state(experiment.folder)
    jobs = facts(experiment, "changes")["jobs"]
    assert look(experiment, "changed").splitlines() == ["A run would do nothing."]
    assert f"{jobs} of {jobs} jobs are done." in look(experiment, "status")
    after = folder_state(experiment.folder)
    # Each Snakemake that is no dry run drops this cache, and so does the one that we call.
    assert set(before) - set(after) <= {".snakemake/iocache/latest.pkl"}
    assert {name: state for name, state in before.items() if name in after} == after


def test_changes_are_said_in_words_and_are_those_of_a_dry_run(experiment: Any) -> None:
    folder = experiment.folder
    (folder / "results/openmoji/source/bat/bat_000001.png").unlink()
    module = folder / "workflow/scripts/capsynth/evaluation.py"
    module.write_text(module.read_text() + "\nNEW = 1\n")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["variants"]["class-name"]["guidance_scale"] = 5.0
    config["variants"]["caption"]["template"] = "{caption}, a {class_name}"
    experiment.write_config(config)
    owed = experiment.owed()
    said = look(experiment, "changed")
    assert f"A run would do {len(owed)} of " in said
    for sentence in (
        "1 class shard is packed anew (bat-0): an image of its source was added, removed or",
        "2 class shards of class-name are drawn anew (bat-0, car-0): guidance_scale: 2.0 → 5.0",
        'templates: ["a photo of a {class_name}, {caption}"] → ["{caption}, a {class_name}"]',
        "its code changed (capsynth/evaluation.py); follows from train_classifier",
        "real tiny are run anew (seed 0, seed 1): follows from pack_real",
    ):
        assert sentence in said
    jobs = facts(experiment, "changes", "--cores", "2")
    assert sum(change["jobs"] for change in jobs["changes"]) == len(owed)
    assert jobs["wall_s"] > 0
    order = [change["rule"] for change in jobs["changes"]]
    assert order.index("pack_real") < order.index("generate_images") < order.index("make_tables")


def test_an_estimate_rests_on_the_run_of_another_folder_and_says_what_it_lacks(
    experiment: Any, tmp_path: Path
) -> None:
    fresh = replace(experiment, folder=tmp_path / "fresh")
    ignored = shutil.ignore_patterns("results", ".snakemake", "logs")
    shutil.copytree(experiment.folder, fresh.folder, ignore=ignored)
    said = look(fresh, "estimate")
    assert "No time is recorded of render_openmoji, " in said
    script = "workflow/scripts/report_estimate.py"
    words = ("--json", "--gpus", "1", "2", "--recorded", str(experiment.folder), "--")
    done = fresh.call(sys.executable, script, *words, "--cores", "2")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    owed = fresh.owed()
    assert sum(stage["jobs"] for stage in found["stages"]) == len(owed)
    stages = {stage["rule"]: stage for stage in found["stages"]}
    for rule in ("pack_real", "caption_images", "generate_images", "train_classifier"):
        assert stages[rule]["unknown"] == 0
        assert stages[rule]["core_s"] > 0
        made = sum(
            path.stat().st_size
            for pattern in OUTPUTS[rule]
            for path in (experiment.folder / "results/openmoji").glob(pattern)
        )
        assert stages[rule]["new_bytes"] == pytest.approx(made)
    assert 0 < found["wall_s"]["2"] <= found["wall_s"]["1"]
    nowhere = fresh.call(sys.executable, script, "--recorded", str(tmp_path), "--")
    assert nowhere.returncode == 1
    assert "has no results/benchmarks" in nowhere.stderr


def test_a_target_looks_at_the_configuration_of_its_own_command(experiment: Any) -> None:
    write_config(experiment, "other.yaml", training_seeds=[0, 1, 7])
    other = ("--configfile", "other.yaml", "--replace-workflow-config")
    said = look(experiment, "changed", *other)
    assert "3 trainings of" in said
    assert "seed 7" in said
    assert "A run would do nothing." in look(experiment, "changed")
    template = "{class_name}, {caption}!"
    key = f'variants={{caption: {{template: "{template}"}}}}'
    assert f'→ ["{template}"]' in look(experiment, "changed", "--config", key)
    profile = experiment.folder / "shields"
    profile.mkdir()
    (profile / "config.yaml").write_text(
        "consider-ancient: [generate_images=code]\nset-resources: {generate_images: {gpu: 1}}\n"
    )
    module = experiment.folder / "workflow/scripts/capsynth/generation.py"
    module.write_text(module.read_text() + "\nNEW = 1\n")
    said = look(experiment, "changed", "--profile", "shields")
    assert "A run would do nothing." in said
    assert "generate_images: 4 results of other code, which the profile shields" in said
    forced = facts(experiment, "changes", "--profile", "shields", "--forcerun", "generate_images")
    (drawn,) = (stage for stage in forced["stages"] if stage["rule"] == "generate_images")
    assert drawn["gpu_s"] > 0


def test_a_target_works_from_another_working_directory(experiment: Any, tmp_path: Path) -> None:
    folder = experiment.folder
    words = ("snakemake", "status", "--cores", "1", *QUIET, "--directory", str(folder))
    shutil.copy(folder / "config.yaml", tmp_path / "some.yaml")
    done = subprocess.run(
        [*words, "--snakefile", str(folder / "Snakefile"), "--configfile", "some.yaml"],
        cwd=tmp_path,
        env=experiment.environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "jobs are done." in done.stdout


def test_looking_with_a_clusters_profile_leaves_the_log_folders_of_waiting_jobs(
    checkout: Callable[[], Path],
    new_experiment: Callable[..., Any],
    repository: Path,
    tiny_captioner: Path,
    tiny_generator: Path,
) -> None:
    config = yaml.safe_load((repository / "tests/configs/tiny.yaml").read_text())
    experiment = new_experiment(checkout(), config)
    experiment.write_config(config)
    copy_models(experiment.folder, tiny_captioner=tiny_captioner, tiny_generator=tiny_generator)
    # SLURM's logs where a profile names no folder, and nothing that keeps it from cleaning up.
    waiting = experiment.folder / ".snakemake/slurm_logs/rule_generate_images/class-name_bat-0"
    waiting.mkdir(parents=True)
    looks = ("status", "changed", "estimate", "verify")
    done = experiment.call("snakemake", "--executor", "slurm", "--jobs", "3", *looks)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 of" in done.stdout
    assert waiting.is_dir()


@pytest.fixture
def held_run(experiment: Any) -> Iterator[subprocess.Popen[str]]:
    """A run whose only job says how far it is, and waits for a file ``go`` to fail."""
    folder = experiment.folder
    script = folder / "workflow/scripts/generate_images.py"
    script.write_text(
        "import pathlib, sys, time\n"
        "line = '00:00:00 INFO generate bat-0: 3/4 images, 0.5 a second'\n"
        "print(line, file=sys.stderr, flush=True)\n"
        "while not pathlib.Path('go').exists():\n    time.sleep(0.05)\n"
        "sys.exit('error: asked to fail')\n"
    )
    run = subprocess.Popen(
        ["snakemake", "--cores", "2", TAR],
        cwd=folder,
        env=experiment.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = folder / "logs/generate_images/openmoji/class-name/bat-0.log"
    # The log of the last run, whose last line says 4/4, goes before the job makes its own.
    while not (log.exists() and "3/4" in log.read_text()):
        assert run.poll() is None
        time.sleep(0.1)
    yield run
    (folder / "go").touch()
    run.communicate()


TAR = "results/openmoji/images/class-name/bat-0.tar"


def test_both_look_at_a_run_that_is_under_way_and_leave_its_lock_alone(
    experiment: Any, held_run: subprocess.Popen[str]
) -> None:
    locks = experiment.folder / ".snakemake" / "locks"
    held = sorted(os.listdir(locks))
    assert held
    said = look(experiment, "status")
    (row,) = (line for line in said.splitlines() if line.startswith("generate_images"))
    assert row.split()[:3] == ["generate_images", "1", "3"] or "0.5" in row
    status = facts(experiment, "status")
    (stage,) = (s for s in status["stages"] if s["rule"] == "generate_images")
    assert stage["counts"]["running"] == 1
    assert stage["items_per_s_now"] == 0.5
    assert "class shard" in look(experiment, "changed")
    assert sorted(os.listdir(locks)) == held
    second = experiment.snakemake(TAR)
    assert second.returncode != 0
    assert "cannot be locked" in second.stdout + second.stderr
    assert held_run.poll() is None
    (experiment.folder / "go").touch()
    assert held_run.wait() != 0
    said = look(experiment, "status")
    assert "bat-0.log: error: asked to fail" in said
    status = facts(experiment, "status")
    (stage,) = (s for s in status["stages"] if s["rule"] == "generate_images")
    assert stage["counts"]["failed"] == 1
