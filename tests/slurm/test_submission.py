"""Jobs that SLURM refuses, and a silent queue: the reason, no hang, no attempt that is lost."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from slurm_cluster import Cluster, Job
from waiting import wait_until

# Stages that do next to nothing, with what the project mends of the plugin.
SNAKEFILE = """
import functools, sys
sys.path.insert(0, {scripts!r})
include: {rules!r} + "/planning.smk"
include: {rules!r} + "/scheduling.smk"
include: {rules!r} + "/submission.smk"
onstart:
    wait_for_slurm()
rule all:
    input: expand("made/{{i}}", i=range(int(config.get("jobs", 1))))
rule first:
    output: "begun/{{i}}"
    shell: "touch {{output}}"
rule second:
    input: "begun/{{i}}"
    output: "made/{{i}}"
    shell: "touch {{output}}"
"""
A_GROUP = ("--groups", "first=pair", "second=pair")
A_JOB = ("--until", "first")


@pytest.fixture
def place(tmp_path: Path, repository: Path) -> Path:
    """A folder with these stages, and the profile with short pauses and nobody's GPUs."""
    workflow = repository / "workflow"
    paths = {"scripts": str(workflow / "scripts"), "rules": str(workflow / "rules" / "common")}
    (tmp_path / "Snakefile").write_text(SNAKEFILE.format(**paths))
    profile = yaml.safe_load((repository / "profiles/slurm/config.yaml").read_text())
    for key in ("groups", "group-components", "consider-ancient"):
        del profile[key]
    profile |= {"slurm-init-seconds-before-status-checks": 1, "latency-wait": 5, "retries": 1}
    profile["default-resources"] = {"mem_mb": 200, "runtime": 5, "slurm_extra": "'-N1'"}
    (tmp_path / "profile").mkdir()
    (tmp_path / "profile/config.yaml").write_text(yaml.safe_dump(profile))
    (tmp_path / "bin").mkdir()
    return tmp_path


FAST_SNAKEMAKE = Path(__file__).parents[1] / "support" / "fast_polling.py"
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(cluster: Cluster, snakemake: Any, place: Path) -> Run:
    """``run(*words, jobs=1)`` runs the stages on the cluster."""

    def of(*words: str, jobs: int = 1) -> subprocess.CompletedProcess[str]:
        path = f"{place / 'bin'}{os.pathsep}{cluster.environment()['PATH']}"
        words = ("--profile", "profile", *words, "--config", f"jobs={jobs}")
        done: subprocess.CompletedProcess[str] = snakemake(cluster, place, *words, PATH=path)
        return done

    return of


def jobs_of(cluster: Cluster, folder: Path) -> list[Job]:
    return [job for job in cluster.jobs() if job.workdir == folder]


def shim(place: Path, name: str, script: str) -> None:
    """Put a command before the cluster's own."""
    path = place / "bin" / name
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("groups", [A_GROUP, A_JOB], ids=["a group", "a job"])
def test_a_constraint_that_no_node_has_is_said_and_tried_as_often_as_configured(
    groups: tuple[str, ...], run: Run, cluster: Cluster, place: Path
) -> None:
    done = run(*groups, "--default-resources", "mem_mb=200", "runtime=5", "constraint=nosuch")
    assert done.returncode == 1, done.stdout
    assert "message: SLURM sbatch failed" in done.stdout, done.stdout
    assert "Invalid feature specification" in done.stdout
    assert done.stdout.count("Trying to restart job") == 1
    assert jobs_of(cluster, place) == []


@pytest.mark.parametrize("groups", [A_GROUP, A_JOB], ids=["a group", "a job"])
def test_an_account_that_does_not_exist_is_said_and_waited_for_by_nobody(
    groups: tuple[str, ...], run: Run, cluster: Cluster, place: Path
) -> None:
    shim(place, "sacctmgr", "echo physics")
    words = ("--default-resources", "mem_mb=200", "runtime=5", "slurm_account=chemistry")
    done = run(*groups, *words)
    assert done.returncode == 1, done.stdout
    assert "message: Job submission failed with exception: " in done.stdout, done.stdout
    assert "The given account chemistry appears to be invalid" in done.stdout
    assert done.stdout.count("Trying to restart job") == 1
    assert jobs_of(cluster, place) == []


# What sbatch says when a user has as many jobs as an association may have (MaxSubmitJobs=3).
AT_MOST_THREE = """
exec 9> lock; flock 9
if [ "$(squeue --noheader --states=PENDING,RUNNING,COMPLETING | wc -l)" -ge 3 ]; then
  echo refused >> refusals
  echo "sbatch: error: AssocMaxSubmitJobLimit" >&2
  echo "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy" \\
    "(job submit limit, user's size and/or time limits)" >&2
  exit 1
fi
"""


def test_five_jobs_of_which_three_may_be_submitted_all_run_at_their_first_attempt(
    run: Run, cluster: Cluster, place: Path
) -> None:
    real = cluster.real("sbatch")
    shim(place, "sbatch", f'{AT_MOST_THREE}{real} "$@"')
    done = run(*A_JOB, "--retries", "0", jobs=5)
    assert done.returncode == 0, done.stdout
    assert len(list((place / "begun").iterdir())) == 5
    assert len((place / "refusals").read_text().splitlines()) > 0
    assert "SLURM takes no job now" in done.stdout
    assert "AssocMaxSubmitJobLimit" in done.stdout
    assert {job.state for job in jobs_of(cluster, place)} == {"COMPLETED"}


def test_a_partition_that_is_drained_is_waited_for(run: Run, cluster: Cluster, place: Path) -> None:
    # It is drained before the first try, and open again before the third.
    update = "scontrol update partitionname=urgent state"
    shim(
        place,
        "sbatch",
        "echo >> tries; n=$(wc -l < tries)\n"
        f"[ $n = 1 ] && {update}=drain; [ $n = 3 ] && {update}=up\n"
        f'exec {cluster.real("sbatch")} "$@"',
    )
    words = ("--default-resources", "mem_mb=200", "runtime=5", "slurm_partition=urgent")
    done = run(*words, *A_JOB, "--retries", "0")
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("SLURM takes no job now") == 2
    assert "Required partition not available (inactive or drain)" in done.stdout


def test_no_job_is_forgotten_while_squeue_fails(run: Run, cluster: Cluster, place: Path) -> None:
    # More often in a row than any setting says: then the plugin takes its jobs for gone.
    shim(
        place,
        "squeue",
        "echo >> asked; [ $(wc -l < asked) -le 100 ] && exit 1\n"
        f'exec {cluster.real("squeue")} "$@"',
    )
    (place / "bin" / "sacct").symlink_to(place / "bin" / "squeue")
    done = run(*A_JOB)
    assert done.returncode == 0, done.stdout
    assert len((place / "asked").read_text().splitlines()) > 100


def test_ctrl_c_while_slurm_takes_no_job_ends_the_run_and_submits_nothing(
    cluster: Cluster, place: Path
) -> None:
    # It would take one the second time.
    shim(
        place,
        "sbatch",
        "echo >> tries; [ $(wc -l < tries) = 1 ] && { echo standby mode >&2; exit 1; }\n"
        f'exec {cluster.real("sbatch")} "$@"',
    )
    path = f"{place / 'bin'}{os.pathsep}{cluster.environment()['PATH']}"
    pause = ("--slurm-init-seconds-before-status-checks", "300")
    command = [sys.executable, FAST_SNAKEMAKE, "--profile", "profile", *A_JOB, *pause]
    with (place / "log").open("w") as log:
        run = subprocess.Popen(
            command, cwd=place, env={**cluster.environment(), "PATH": path}, stdout=log, stderr=log
        )
    wait_until(lambda: "SLURM takes no job now" in (place / "log").read_text(), "a refusal")
    run.send_signal(signal.SIGINT)
    assert run.wait() == 1, (place / "log").read_text()
    assert jobs_of(cluster, place) == []
