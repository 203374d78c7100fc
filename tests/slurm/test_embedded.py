"""The embedded experiment through SLURM, against the same on this machine alone."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml
from checkouts import WORKFLOW, copy_parts
from slurm_cluster import Cluster

SCORES = "results/scores.csv"
GPU_RULES = ("caption_images", "generate_images", "train_classifier", "evaluate_classifier")
# A SLURM job costs some ten seconds of a core before its first rule, and here all nodes share two
# cores: groups are larger than the profile's, and each job with a GPU imports torch only once.
GROUPS = {
    "pack": ("render_openmoji", "pack_real"),
    "eval": ("render_eval_set", "pack_eval_set"),
    "caption": ("caption_images", "write_prompts"),
    "generate": ("generate_images",),
    "train": ("train_classifier", "evaluate_classifier"),
}
MEMBERS = {"pack": 3, "eval": 2, "caption": 3, "generate": 2, "train": 3}

# Submits a job with a GPU so that it runs beside a warm server of its own, on its node.
WARM_SBATCH = """\
#!/bin/bash
words=()
for word; do
  words+=("${{word/#--wrap=/--wrap=python workflow/scripts/warm.py serve -- }}")
done
if [[ " $* " == *" --gpus="* ]]; then set -- "${{words[@]}}"; fi
exec {sbatch} "$@"
"""


def warm_path(folder: Path, cluster: Cluster) -> str:
    """Put the sbatch above into a folder; return PATH with it as the first."""
    folder.mkdir()
    shim = folder / "sbatch"
    path = cluster.environment()["PATH"]
    shim.write_text(WARM_SBATCH.format(sbatch=shutil.which("sbatch", path=path)))
    shim.chmod(0o755)
    return f"{folder}{os.pathsep}{path}"


def test_the_embedded_experiment_scores_the_same_bytes_through_slurm(
    cluster: Cluster, snakemake: Any, repository: Path, tmp_path: Path
) -> None:
    local, remote = tmp_path / "local", tmp_path / "remote"
    for folder in (local, remote):
        copy_parts(repository, folder, (*WORKFLOW, "config.yaml", "models"))
        config = yaml.safe_load((folder / "config.yaml").read_text())
        # All classes, sets and seeds take many times as long and show nothing new.
        config["training_seeds"] = [0]
        config["dataset"]["classes"] = ["car", "bat", "mouse"]
        for name in ("openmoji-v2", "openmoji-sketch", "openmoji-r", "openmoji-a"):
            del config["eval_sets"][name]
        (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    before = {job.id for job in cluster.jobs()}
    began = time.monotonic()
    grouped = [f"{rule}={group}" for group, rules in GROUPS.items() for rule in rules]
    sizes = [f"{group}={size}" for group, size in MEMBERS.items()]
    profile = ("--profile", "profiles/slurm", "--groups", *grouped, "--group-components", *sizes)
    path = warm_path(tmp_path / "bin", cluster)
    done = snakemake(cluster, remote, SCORES, *profile, PATH=path)
    assert done.returncode == 0, done.stdout[-5000:]
    print(f"through SLURM: {time.monotonic() - began:.0f} s")

    jobs = [job for job in cluster.jobs() if job.id not in before]
    assert {job.state for job in jobs} == {"COMPLETED"}
    assert cluster.job_ids() >= {job.id for job in jobs}
    # Every rule's logs and results were written in one of SLURM's jobs, and those of a model with
    # a GPU; at no time more of them than GPUs, though more were waiting.
    said = {rule for rules in GROUPS.values() for rule in rules}
    assert all(any(rule in job.comment for job in jobs) for rule in said if rule in GPU_RULES)
    for job in jobs:
        assert job.gpus == any(rule in job.comment for rule in GPU_RULES), job
    assert sum(job.gpus for job in jobs) > len(cluster.nodes)
    # How many at once is a matter of time; more than there are would be a fault.
    assert 1 <= cluster.most_gpus_at_once() <= len(cluster.nodes)
    assert {job.node for job in jobs} <= set(cluster.nodes)
    assert "localrule " not in done.stdout
    again = snakemake(cluster, remote, SCORES, "-n", *profile)
    assert "Nothing to be done" in again.stdout

    began = time.monotonic()
    words = ["workflow/scripts/warm.py", "serve", "--", "snakemake", "--cores", "2", SCORES]
    subprocess.run(
        [sys.executable, *words],
        cwd=local,
        env={**cluster.environment(), "HF_HUB_OFFLINE": "1"},
        check=True,
        capture_output=True,
    )
    print(f"on this machine alone: {time.monotonic() - began:.0f} s")
    assert (remote / SCORES).read_bytes() == (local / SCORES).read_bytes()
