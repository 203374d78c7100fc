import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import slurm_cluster
from slurm_cluster import MARK, Cluster
from waiting import wait_until


@pytest.fixture(scope="module")
def small() -> Iterator[Cluster]:
    """A cluster of this module's own, of two nodes: its tests crash them."""
    with Cluster(nodes=2, cpus=4, mem_mb=4000, node_timeout_s=4) as cluster:
        yield cluster


def processes_of(folder: Path) -> list[str]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == str(folder):
                found.append(process.name())
        except psutil.Error:
            continue
    return found


def test_a_job_runs_on_a_node_and_says_what_it_asked_for(small: Cluster) -> None:
    asked = (
        "--gpus=1",
        "--mem=300",
        "--cpus-per-task=2",
        "--time=7",
        "--comment=rule a",
        "-p",
        "gpu",
    )
    job_id = small.submit("echo $SLURMD_NODENAME > where", *asked)
    job = small.wait_for(job_id, "COMPLETED")
    assert (small.folder / "where").read_text().strip() == job.node
    assert (job.gpus, job.mem_mb, job.cpus, job.time_limit_min) == (1, 300, 2, 7)
    assert (job.comment, job.partition, job.workdir) == ("rule a", "gpu", small.folder)
    assert job_id in small.job_ids()


def test_jobs_never_hold_more_gpus_than_there_are(small: Cluster) -> None:
    before = small.job_ids()
    job_ids = [small.submit("sleep 1.2", "--gpus=1") for _ in range(4)]
    for job_id in job_ids:
        small.wait_for(job_id, "COMPLETED")
    assert small.job_ids() - before == set(job_ids)
    assert small.most_gpus_at_once() == 2


def test_a_job_on_a_crashed_node_dies_and_runs_again_elsewhere(small: Cluster) -> None:
    script = "echo $$ $SLURMD_NODENAME >> {}/pids; sleep 2; echo done >> {}/ends"
    job_id = small.submit(script.replace("{}", str(small.folder)), "--requeue", "--gpus=1")
    node = small.wait_for(job_id, "RUNNING").node
    # A job is RUNNING before its first command is.
    wait_until(
        lambda: (small.folder / "pids").exists() and "\n" in (small.folder / "pids").read_text()
    )
    small.crash(node)
    pid = (small.folder / "pids").read_text().split()[0]
    assert not psutil.pid_exists(int(pid)) or psutil.Process(int(pid)).status() == "zombie"
    job = small.wait_for(job_id, "COMPLETED")
    assert (job.restarts, (small.folder / "ends").read_text()) == (1, "done\n")
    assert job.node != node
    small.revive(node)
    assert small.job(small.submit("true")).id


def test_a_job_outlives_its_slurmd(small: Cluster) -> None:
    job_id = small.submit("sleep 1; touch outlived", "--gpus=1")
    node = small.wait_for(job_id, "RUNNING").node
    small.kill_daemon(node)
    wait_until((small.folder / "outlived").exists, "the end of the job")
    small.revive(node)
    small.wait_for(job_id, "COMPLETED")


def test_an_urgent_job_pushes_another_back_into_the_queue(small: Cluster) -> None:
    pushed = [small.submit("sleep 30", "--requeue", "--gpus=1") for _ in small.nodes]
    for job_id in pushed:
        small.wait_for(job_id, "RUNNING")
    urgent = small.submit("true", "--partition=urgent", "--gpus=1")
    small.wait_for(urgent, "COMPLETED")
    assert sum(small.job(job_id).restarts for job_id in pushed) == 1
    small.command("scancel", *map(str, pushed))


def test_the_controller_comes_back_with_all_it_knew(small: Cluster) -> None:
    job_id = small.submit("sleep 1", "--gpus=1")
    small.wait_for(job_id, "RUNNING")
    small.stop_controller()
    with pytest.raises(RuntimeError, match="squeue"):
        small.jobs()
    small.start_controller()
    small.wait_for(job_id, "COMPLETED")


def wait_for_processes(folder: Path, names: set[str]) -> None:
    """Wait until all of a cluster's processes run: a job is RUNNING before its first command is."""
    wait_until(
        lambda: names <= set(processes_of(folder)),
        f"processes {names}",
        instead=lambda: processes_of(folder),
    )


def test_nothing_is_left_of_a_cluster_that_was_stopped() -> None:
    with Cluster(nodes=1) as cluster:
        job_id = cluster.submit("sleep 1000 & sleep 1000")
        cluster.wait_for(job_id, "RUNNING")
        wait_for_processes(cluster.folder, {"slurmctld", "slurmd", "munged", "sleep"})
    assert processes_of(cluster.folder) == []
    assert not cluster.folder.exists()


def test_nothing_is_left_of_a_cluster_whose_tests_were_killed() -> None:
    script = (
        "import sys; from pathlib import Path; from slurm_cluster import Cluster\n"
        "cluster = Cluster(nodes=1); cluster.start(); job = cluster.submit('sleep 1000')\n"
        "cluster.wait_for(job, 'RUNNING'); print(cluster.folder, flush=True); sys.stdin.read()"
    )
    support = str(Path(slurm_cluster.__file__).parent)
    tests = subprocess.Popen(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": support},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert tests.stdout
    folder = Path(tests.stdout.readline().strip())
    wait_for_processes(folder, {"sleep"})
    tests.send_signal(signal.SIGKILL)
    tests.wait()
    wait_until(
        lambda: not processes_of(folder) and not folder.exists(),
        "an end of all processes",
        instead=lambda: processes_of(folder),
    )
