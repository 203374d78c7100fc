"""What a run on a cluster is told of its GPUs, what it owes afterwards, and who looks at it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from slurm_cluster import Cluster, Job
from waiting import wait_until

FAST_SNAKEMAKE = Path(__file__).parents[1] / "support" / "fast_polling.py"
PROFILE = ("--profile", "profiles/slurm", "--slurm-init-seconds-before-status-checks", "1")


def jobs_of(cluster: Cluster, folder: Path) -> list[Job]:
    return [job for job in cluster.jobs() if job.workdir == folder]


def test_looking_at_a_run_harms_no_job_that_waits_in_the_queue(
    cluster: Cluster, snakemake: Any, new_checkout: Callable[[Path], Path], tmp_path: Path
) -> None:
    folder = new_checkout(tmp_path / "checkout")
    # As in a profile of the user's own, which does not switch it off.
    cleaning = ("--slurm-delete-logfiles-older-than", "10", "--retries", "0")
    cluster.command("scontrol", "update", "partitionname=cpu", "state=down")  # jobs wait
    try:
        stamp = "results/openmoji/source/bat.json"
        run = subprocess.Popen(
            [sys.executable, FAST_SNAKEMAKE, *PROFILE, *cleaning, "--", stamp],
            cwd=folder,
            env=cluster.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        wait_until(lambda: jobs_of(cluster, folder) or run.poll() is not None, "a job")
        looked = snakemake(cluster, folder, *PROFILE, *cleaning, "--", "status")
        assert looked.returncode == 0, looked.stdout
        assert "jobs are done." in looked.stdout
    finally:
        cluster.command("scontrol", "update", "partitionname=cpu", "state=up")
    said, _ = run.communicate()
    assert run.returncode == 0, said
    assert [job.state for job in jobs_of(cluster, folder)] == ["COMPLETED"]


def test_a_finished_run_owes_nothing_after_what_is_drawn_was_changed(
    cluster: Cluster, snakemake: Any, new_checkout: Callable[[Path], Path], tmp_path: Path
) -> None:
    folder = new_checkout(tmp_path / "checkout")
    targets = ("results/openmoji/real/car-0.jsonl", "results/eval_sets/openmoji-val.jsonl")
    done = snakemake(cluster, folder, "--cores", "2", *targets)
    assert done.returncode == 0, done.stdout
    config = yaml.safe_load((folder / "config.yaml").read_text())
    for drawn in (config["dataset"], config["eval_sets"]["openmoji-val"]):
        drawn |= {"context_bias": 0.9, "images_per_class": 5}
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    # Drawing and packing in one job: the node works out the params of packing after drawing.
    grouped = ("render_openmoji=a", "pack_real=a", "render_eval_set=b", "pack_eval_set=b")
    words = (*PROFILE, "--groups", *grouped, "--", *targets)
    done = snakemake(cluster, folder, *words)
    assert done.returncode == 0, done.stdout
    assert [job.state for job in jobs_of(cluster, folder)] == ["COMPLETED"] * 2
    again = snakemake(cluster, folder, "-n", *words)
    assert "Nothing to be done" in again.stdout, again.stdout


def test_a_rule_with_a_gpu_that_torch_does_not_see_fails_at_once_and_says_so(
    cluster: Cluster, snakemake: Any, repository: Path, tmp_path: Path
) -> None:
    (tmp_path / "Snakefile").write_text(
        "rule a:\n    output: 'out'\n    log: 'a.log'\n    resources: gpu=1\n"
        "    shell: 'python ask.py 2> {log} && touch {output}'\n"
    )
    (tmp_path / "ask.py").write_text(
        f"import sys; sys.path.insert(0, {str(repository / 'workflow/scripts')!r})\n"
        "from capsynth.devices import device; device()\n"
    )
    plain = ("--executor", "slurm", "--jobs", "1", "--default-resources", "mem_mb=2000")
    quick = ("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "1")
    unseen = {"CUDA_VISIBLE_DEVICES": os.devnull, "CAPSYNTH_DEVICE": ""}
    done = snakemake(cluster, tmp_path, *plain, *quick, **unseen)
    assert done.returncode == 1, done.stdout
    assert "SLURM gave this job GPU" in (tmp_path / "a.log").read_text(), done.stdout
    assert not (tmp_path / "out").exists()
