"""Two Snakemakes in one folder: the second is refused, with the remedy, and nothing is damaged."""

import os
import platform
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_cluster import Cluster
from waiting import BACKSTOP_S, wait_until

pytestmark = pytest.mark.slow

POLLING = Path(__file__).parents[1] / "support" / "fast_polling.py"
SUPERVISE = Path(__file__).parents[2] / "workflow" / "scripts" / "supervise.py"
SNAKEFILE = """
rule all:
    input: "made",

rule make:
    output: "made",
    shell: "touch begun; until test -e go; do sleep 0.1; done; date >> made"
"""
PROFILE = """
executor: slurm
jobs: 2
latency-wait: 20
default-resources: {slurm_partition: cpu, slurm_account: none, mem_mb: 500, runtime: 5}
slurm-status-command: squeue
slurm-init-seconds-before-status-checks: 1
slurm-jobname-prefix: capsynth
"""


class Place:
    """A folder with a workflow of one job, which ends when it is told to."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self.folder, self._cluster = folder, cluster
        (folder / "Snakefile").write_text(SNAKEFILE)
        (folder / "profile").mkdir()
        (folder / "profile" / "config.yaml").write_text(PROFILE)
        # A Snakemake under the name that it has for its users, that asks for its jobs every second.
        (folder / "bin").mkdir()
        (folder / "bin" / "snakemake").write_bytes(
            f"#!{sys.executable}\n".encode() + POLLING.read_bytes()
        )
        (folder / "bin" / "snakemake").chmod(0o755)
        self.started: list[subprocess.Popen[str]] = []

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a command in the folder."""
        environment = self._cluster.environment()
        path = os.pathsep.join([os.fspath(self.folder / "bin"), environment.pop("PATH")])
        process = subprocess.Popen(
            words,
            cwd=self.folder,
            env={"PATH": path} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(process)
        return process

    def await_job(self) -> None:
        """Wait until the job has begun."""

        def has_begun() -> bool:
            assert self.started[0].poll() is None, self.started[0].communicate()
            return (self.folder / "begun").exists()

        wait_until(has_begun, "the job")

    def refused(self, *words: str) -> str:
        """Run a command that is refused, and return what it says."""
        process = self.start(*words)
        said, _ = process.communicate(timeout=BACKSTOP_S)
        assert process.returncode == 1
        return " ".join(said.split())

    def check_the_first_is_unharmed(self) -> None:
        """Let the job end: the first command made its output, once and in one job."""
        first = self.started[0]
        assert first.poll() is None
        (self.folder / "go").touch()
        said, _ = first.communicate(timeout=BACKSTOP_S)
        assert first.returncode == 0, said
        assert len((self.folder / "made").read_text().splitlines()) == 1
        jobs = [job for job in self._cluster.jobs() if job.workdir == self.folder]
        assert [job.state for job in jobs] == ["COMPLETED"]
        assert not list(self.folder.glob(".snakemake/locks/*"))


PLAIN = ("snakemake", "--profile", "profile")
SUPERVISED = (sys.executable, os.fspath(SUPERVISE), "--poll-s=1", "--", *PLAIN)


@pytest.fixture
def place(tmp_path: Path, cluster: Cluster) -> Iterator[Place]:
    place = Place(tmp_path, cluster)
    yield place
    for process in place.started:
        process.kill()
        process.communicate()


def test_a_second_snakemake_is_refused_by_snakemakes_own_lock(place: Place) -> None:
    place.start(*PLAIN)
    place.await_job()
    said = place.refused(*PLAIN)
    assert "Directory cannot be locked" in said
    assert "--unlock" in said
    place.check_the_first_is_unharmed()


def test_a_second_supervisor_is_refused_with_who_holds_the_folder(place: Place) -> None:
    first = place.start(*SUPERVISED)
    place.await_job()
    said = place.refused(*SUPERVISED)
    assert f"host {platform.node()}, process {first.pid}, since " in said
    assert f"`kill -INT {first.pid}`" in said
    place.check_the_first_is_unharmed()


def test_a_supervisor_is_refused_beside_a_plain_snakemake(place: Place) -> None:
    first = place.start(*PLAIN)
    place.await_job()
    said = place.refused(*SUPERVISED)
    assert f"Snakemake works in this folder already (process {first.pid})" in said
    assert f"`kill -INT {first.pid}`" in said
    place.check_the_first_is_unharmed()


def test_a_plain_snakemake_is_refused_beside_a_supervisor(place: Place) -> None:
    place.start(*SUPERVISED)
    place.await_job()
    assert "Directory cannot be locked" in place.refused(*PLAIN)
    place.check_the_first_is_unharmed()


def test_ctrl_c_leaves_no_job_and_no_lock_and_the_same_command_goes_on(
    place: Place, cluster: Cluster
) -> None:
    first = place.start(*SUPERVISED)
    place.await_job()
    first.send_signal(signal.SIGINT)
    assert first.wait(BACKSTOP_S) == 130
    jobs = [job for job in cluster.jobs() if job.workdir == place.folder]
    assert [job.state for job in jobs] == ["CANCELLED"]
    assert not list(place.folder.glob(".snakemake/locks/*"))
    (place.folder / "go").touch()
    again = place.start(*SUPERVISED)
    said, _ = again.communicate(timeout=BACKSTOP_S)
    assert again.returncode == 0, said
    assert (place.folder / "made").exists()
