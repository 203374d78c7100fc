"""What SLURM and Snakemake's plugin do, where the profile rests on it."""

import os
import signal
from pathlib import Path
from typing import Any

from checkouts import copy_parts
from slurm_cluster import Cluster
from waiting import wait_until

from capsynth.folder_lock import find_snakemakes, locks_left

# A stage that saves when it is told to end, and is done when it finds what it saved.
STAGE = """\
import signal, sys
from pathlib import Path
def save(*_):
    Path("saved").touch()
    sys.exit(1)
signal.signal(signal.SIGTERM, save)
if Path("saved").exists():
    Path(sys.argv[1]).touch()
else:
    Path("started").touch()
    signal.pause()
"""
PLAIN = ("--executor", "slurm", "--jobs", "3", "--default-resources", "mem_mb=1000")


def test_array_jobs_still_lose_results(cluster: Cluster, snakemake: Any, tmp_path: Path) -> None:
    # Each task of an array takes itself for the first. That of output 2 fails, and deletes what
    # another had finished. If this test fails, the plugin has mended it: the profile may use
    # slurm-array-jobs then, and its last line on SLURM's answers and this test can go.
    (tmp_path / "Snakefile").write_text(
        "rule all:\n    input: expand('out/{i}', i=range(3))\n"
        "rule a:\n    output: 'out/{i}'\n"
        "    shell: 'sh stage.sh {wildcards.i} {output}'\n"
    )
    (tmp_path / "stage.sh").write_text(
        "if [ $1 = 2 ]; then\n"
        "  until [ -e out/0 ] && [ -e out/1 ]; do sleep 0.2; done\n"
        "  sleep 5; exit 1\n"
        "fi\n"
        "touch $2\n"
    )
    done = snakemake(cluster, tmp_path, *PLAIN, "--keep-going", "--slurm-array-jobs", "all")
    assert done.stdout.count("Finished jobid") == 2, done.stdout
    assert "Submitted array job" in done.stdout
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert left < {"0", "1"}, "array jobs keep finished results now: see the comment above"


def test_a_stage_is_warned_before_its_time_is_up_and_goes_on_in_a_retry(
    cluster: Cluster, snakemake: Any, tmp_path: Path
) -> None:
    (tmp_path / "Snakefile").write_text(
        "rule a:\n    output: 'out'\n"
        "    resources: runtime=lambda wildcards, attempt: 3 * attempt\n"
        "    shell: 'python stage.py {output}'\n"
    )
    (tmp_path / "stage.py").write_text(STAGE)
    signal = "slurm_extra='--signal=TERM@120 -N1'"
    done = snakemake(cluster, tmp_path, *PLAIN, signal, "--retries", "1")
    assert done.returncode == 0, done.stdout
    assert (tmp_path / "started").exists()
    assert (tmp_path / "saved").exists()
    first, second = [job for job in cluster.jobs() if job.workdir == tmp_path]
    assert (first.state, first.time_limit_min) == ("FAILED", 3)
    assert (second.state, second.time_limit_min) == ("COMPLETED", 6)


def test_the_end_of_an_allocation_reaches_the_stages_in_it(
    cluster: Cluster, repository: Path, tmp_path: Path
) -> None:
    copy_parts(repository, tmp_path, ("profiles", "workflow"))
    rule = "rule a:\n    output: 'out'\n    shell: 'python stage.py {output}'\n"
    (tmp_path / "Snakefile").write_text(rule)
    (tmp_path / "stage.py").write_text(STAGE)
    asked = ("--parsable", f"--chdir={tmp_path}", "--cpus-per-task=1", "--mem=2000")
    words = ("sbatch", *asked, "profiles/slurm-single-node/job.sh", "--retries", "0")
    first = int(cluster.command(*words, cwd=tmp_path))
    wait_until((tmp_path / "started").exists, "the stage", instead=lambda: cluster.job(first))
    # What SLURM does two minutes before the time is up.
    cluster.command("scancel", "--batch", "--signal=TERM", str(first))
    cluster.wait_for(first, "FAILED")
    assert (tmp_path / "saved").exists()
    second = int(cluster.command(*words, cwd=tmp_path))
    cluster.wait_for(second, "COMPLETED", "FAILED")
    assert (tmp_path / "out").exists(), (tmp_path / f"capsynth-{second}.log").read_text()


def test_a_job_for_everything_is_submitted_again_after_it_was_killed_but_not_beside_a_living_one(
    cluster: Cluster, repository: Path, tmp_path: Path
) -> None:
    copy_parts(repository, tmp_path, ("profiles", "workflow"))
    (tmp_path / "Snakefile").write_text(
        "rule a:\n    output: 'out'\n"
        "    shell: 'touch started; until test -e go; do sleep 0.1; done; touch {output}'\n"
    )
    asked = ("--parsable", f"--chdir={tmp_path}", "--cpus-per-task=1", "--mem=2000")
    words = ("sbatch", *asked, "profiles/slurm-single-node/job.sh")

    def submit() -> int:
        return int(cluster.command(*words, cwd=tmp_path))

    def log(job: int) -> str:
        return (tmp_path / f"capsynth-{job}.log").read_text()

    first = submit()
    wait_until((tmp_path / "started").exists, "the stage", instead=lambda: cluster.job(first))
    second = submit()
    cluster.wait_for(second, "FAILED")
    assert f"job {first} works in this folder already" in log(second)
    assert f"`scancel {first}`" in log(second)
    # As at the end of its time, or of its memory: Snakemake cannot remove its lock.
    for pid in find_snakemakes(tmp_path):
        os.kill(pid, signal.SIGKILL)
    cluster.wait_for(first, "FAILED")
    assert locks_left(tmp_path)
    (tmp_path / "go").touch()
    third = submit()
    job = cluster.wait_for(third, "COMPLETED", "FAILED")
    assert job.state == "COMPLETED", log(third)
    assert (tmp_path / "out").exists()
    assert not locks_left(tmp_path)
