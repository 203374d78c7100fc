"""The profile in its three forms: who loads what, and what SLURM is asked for."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from slurm_cluster import Cluster, Job
from waiting import wait_until

CAPTIONS = "results/openmoji/captions/tiny/car-0.jsonl"
FAST_SNAKEMAKE = Path(__file__).parents[1] / "support" / "fast_polling.py"
PROMPTS = "results/openmoji/prompts/caption/car-0.jsonl"
PREDICTIONS = "results/openmoji/predictions/real/tiny/seed0/{}.parquet"
EVAL_SETS = ("openmoji-val", "openmoji-c")
# Two jobs of Snakemake in one: the parts of a name that SLURM is given.
CAPTION = ("caption", "caption_images", "write_prompts")


def jobs_of(cluster: Cluster, folder: Path) -> list[Job]:
    return [job for job in cluster.jobs() if job.workdir == folder]


@pytest.mark.parametrize(
    "profile",
    [("--profile", "profiles/slurm"), ("--profile", "slurm"), ("--workflow-profile", "slurm")],
    ids=" ".join,
)
def test_each_form_of_the_profile_applies_as_a_whole(
    profile: tuple[str, ...],
    cluster: Cluster,
    snakemake: Any,
    new_checkout: Callable[[Path], Path],
    repository: Path,
    tmp_path: Path,
) -> None:
    folder = new_checkout(tmp_path / "checkout")
    environment = {"XDG_CONFIG_HOME": str(tmp_path / "settings")}
    if profile == ("--profile", "slurm"):
        (folder / "Makefile").write_bytes((repository / "Makefile").read_bytes())
        subprocess.run(
            ["make", "slurm-profile"],
            cwd=folder,
            env={**cluster.environment(), **environment},
            check=True,
        )
    # Jobs too must take the configuration for the whole: put over this one it would be refused.
    (folder / "config.yaml").rename(folder / "mine.yaml")
    (folder / "config.yaml").write_text("dataset: {strange_key: 1}\n")
    profile += ("--configfile", "mine.yaml", "--replace-workflow-config")
    done = snakemake(cluster, folder, *profile, "--", PROMPTS, **environment)
    assert done.returncode == 0, done.stdout
    assert (folder / PROMPTS).exists()
    drawn, packed, captioned = jobs_of(cluster, folder)
    # The groups, the prefix of names, and the resources of rules and of default-resources.
    assert "render_openmoji" in drawn.comment
    assert "pack_real" in packed.comment
    assert all(part in captioned.comment for part in CAPTION), captioned.comment
    assert packed.name.startswith("capsynth")
    assert (packed.gpus, packed.mem_mb, packed.time_limit_min) == (0, 2000, 60)
    assert (drawn.gpus, drawn.mem_mb, drawn.time_limit_min) == (0, 2000, 30)
    assert (captioned.gpus, captioned.time_limit_min) == (1, 120 + 30)
    assert captioned.mem_mb > 4000
    # What was edited in a costly stage is not made again for that, unless it is forced.
    with (folder / "workflow/scripts/caption_images.py").open("a") as file:
        file.write("EDITED = True\n")

    def planned(*words: str) -> str:
        done = snakemake(cluster, folder, *words, "-n", "--", CAPTIONS, **environment)
        assert done.returncode == 0, done.stdout
        return done.stdout

    assert "rule caption_images" in planned("--cores", "1", *profile[2:])
    assert "Nothing to be done" in planned(*profile)
    assert "rule caption_images" in planned(*profile, "--forcerun", "caption_images")


NO_GPU = ("--set-resources", "train_classifier:gpu=0", "evaluate_classifier:gpu=0")
PARTITIONS = ("--slurm-partition-config", "profiles/slurm/partitions.example.yaml")


@pytest.mark.parametrize(
    ("recipe_gpus", "words", "gpus", "partition"),
    [
        (1, (), 1, "cpu"),
        (4, PARTITIONS, 4, "gpu"),
        (1, NO_GPU, 0, "cpu"),
    ],
    ids=["one GPU", "four GPUs", "no GPU"],
)
def test_a_run_and_its_evaluations_are_one_job_with_the_gpus_of_its_recipe(
    recipe_gpus: int,
    words: tuple[str, ...],
    gpus: int,
    partition: str,
    snakemake: Any,
    new_checkout: Callable[[Path], Path],
    tmp_path: Path,
) -> None:
    folder = new_checkout(tmp_path / "checkout")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["recipes"]["tiny"]["gpus"] = recipe_gpus
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    targets = [PREDICTIONS.format(name) for name in EVAL_SETS]
    with Cluster(nodes=2, gpus=4, cpus=16) as cluster:
        shards = [f"results/openmoji/real/{name}-0.jsonl" for name in ("car", "bat")]
        shards += [f"results/eval_sets/{name}.jsonl" for name in EVAL_SETS]
        assert snakemake(cluster, folder, "--cores", "2", *shards).returncode == 0
        for node in cluster.nodes:
            cluster.command(
                "scontrol", "update", f"nodename={node}", "state=drain", "reason=nothing-may-run"
            )
        command = ["--profile", "profiles/slurm", *words, "--", *targets]
        running = subprocess.Popen(
            [sys.executable, FAST_SNAKEMAKE, *command],
            cwd=folder,
            env=cluster.environment(),
        )

        def has_submitted() -> bool:
            assert running.poll() is None
            return bool(cluster.jobs())

        wait_until(has_submitted, "a job in the queue")
        (job,) = cluster.jobs()
    running.wait()  # it went with its cluster
    assert all(rule in job.comment for rule in ("train_classifier", "evaluate_classifier"))
    assert (job.gpus, job.nodes, job.partition) == (gpus, 1, partition)
    # They take turns: the memory and CPUs of the largest, the minutes of all.
    assert (job.cpus, job.mem_mb) == (recipe_gpus, 4000 * recipe_gpus)
    assert job.time_limit_min == 360 + 2 * 15


def test_the_profile_is_linked_where_snakemake_looks_and_nothing_is_overwritten(
    repository: Path, tmp_path: Path
) -> None:
    (tmp_path / "profiles" / "slurm").mkdir(parents=True)
    (tmp_path / "Makefile").write_bytes((repository / "Makefile").read_bytes())
    link = tmp_path / "settings" / "snakemake" / "slurm"

    def make() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", "slurm-profile"],
            cwd=tmp_path,
            env={**os.environ, "XDG_CONFIG_HOME": str(tmp_path / "settings")},
            capture_output=True,
            text=True,
        )

    for _ in range(2):
        done = make()
        assert done.returncode == 0, done.stderr
        assert str(link) in done.stdout
        assert link.resolve() == tmp_path / "profiles" / "slurm"
    link.unlink()
    link.mkdir()
    (link / "config.yaml").write_text("jobs: 1\n")
    done = make()
    assert done.returncode != 0
    assert f"{link} is another profile" in done.stderr
    assert (link / "config.yaml").read_text() == "jobs: 1\n"


def test_one_allocation_runs_all_jobs_and_submits_none(
    cluster: Cluster, new_checkout: Callable[[Path], Path], tmp_path: Path
) -> None:
    folder = new_checkout(tmp_path / "checkout")
    job_id = int(
        cluster.command(
            *("sbatch", "--parsable", f"--chdir={folder}", "--cpus-per-task=2", "--mem=9000"),
            *(str(folder / "profiles/slurm-single-node/job.sh"), PROMPTS),
        )
    )
    job = cluster.wait_for(job_id, "COMPLETED", "FAILED")
    log = (folder / f"capsynth-{job_id}.log").read_text()
    assert job.state == "COMPLETED", log
    assert (folder / PROMPTS).exists()
    assert "--cores 2 --resources gpu=1 mem_mb=9000" in log
    assert jobs_of(cluster, folder) == [job]
