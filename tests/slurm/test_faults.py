"""Faults of a cluster while an experiment runs: the same bytes, and no finished batch made again.

Each fault strikes a job that has finished some of its batches and still has others to do; the log
of batches that the stages keep (CAPSYNTH_BATCH_LOG) says when, and afterwards what was made twice.
"""

import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import psutil
import pytest
import waiting
import yaml
from batch_log import Note, begun_again, begun_batches, read_batch_log
from slurm_cluster import Cluster, Job
from waiting import BACKSTOP_S

pytestmark = pytest.mark.slow

POLLING = Path(__file__).parents[1] / "support" / "fast_polling.py"
CAPTIONS = "results/openmoji/captions/tiny/{}-0.jsonl"
IMAGES = "results/openmoji/images/{}/{}-0.tar"
CHECKPOINT = "results/openmoji/checkpoints/{}/tiny/seed0.safetensors"
TARGETS = [
    *(IMAGES.format(variant, c) for variant in ("class-name", "caption") for c in ("car", "bat")),
    *(CHECKPOINT.format(name) for name in ("real", "real+caption")),
]
OUTAGE_S = 30
TOO_LITTLE_MB = 100


# A controller that is down is asked again.
wait_until = partial(waiting.wait_until, retried=(RuntimeError,))


class Place:
    """A checkout with an experiment, and what happens in it."""

    def __init__(self, folder: Path, cluster: Cluster | None = None) -> None:
        self.folder, self.cluster = folder, cluster
        self._log = folder / "batches.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What Snakemake and its jobs run in."""
        own = self.cluster.environment() if self.cluster else dict(os.environ)
        tools = os.pathsep.join([os.fspath(Path(sys.executable).parent), own.pop("PATH")])
        # The cluster knows its processes by the last of these variables.
        return {"PATH": tools, "CAPSYNTH_BATCH_LOG": os.fspath(self._log)} | own

    def supervise(self, targets: Iterable[str], *options: str, idle_s: int = 600) -> psutil.Process:
        """Start Snakemake on the cluster, under a supervisor that looks often.

        Where a hang is to be noticed it has little patience: a hang that is none, on a busy
        machine, then costs one more start, and no result.
        """
        quick = ["--poll-s=0.5", f"--idle-s={idle_s}", "--pause-s=1", "--grace-s=5"]
        snakemake = [
            *(sys.executable, POLLING, "--profile", "profiles/slurm"),
            *("--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "20"),
        ]
        self.targets = list(targets)
        words = [*quick, "--", *snakemake, *options, "--", *self.targets]
        with (self.folder / "output.log").open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "workflow/scripts/supervise.py", *words],
                cwd=self.folder,
                env=self.environment,
                stdout=output,
                stderr=output,
            )
        return psutil.Process(self._process.pid)

    def await_end(self) -> None:
        """Wait until the supervisor ends well."""
        assert self._process
        assert self._process.wait(BACKSTOP_S) == 0, self.supervisor_log

    def stop(self) -> None:
        """Kill what still runs."""
        if self._process:
            self._process.kill()
            self._process.wait()

    @property
    def supervisor_log(self) -> str:
        """What the supervisor has said."""
        path = self.folder / "logs" / "supervise.log"
        return path.read_text() if path.exists() else ""

    @property
    def notes(self) -> list[Note]:
        """The log of batches."""
        return read_batch_log(self._log)

    def finished(self, output: str) -> list[Note]:
        """Return the batches of an output that are finished."""
        return [n for n in self.notes if (n.output, n.event) == (output, "finished")]

    def job_amid(self, output: str) -> tuple[int, int]:
        """Wait until a job has finished two batches of an output; its SLURM job and process."""
        self._await_progress(lambda: len(self.finished(output)) >= 2, f"two batches of {output}")
        pid = self.finished(output)[-1].pid
        assert not (self.folder / output).exists(), f"{output} was finished before its fault"
        for process in [psutil.Process(pid), *psutil.Process(pid).parents()]:
            if job_id := process.environ().get("SLURM_JOB_ID"):
                return int(job_id), pid
        raise AssertionError(f"process {pid} belongs to no job")

    def await_begin(self, output: str) -> int:
        """Wait until a job that is alive has begun a batch of an output; its process."""

        def begun() -> list[int]:
            notes = [note for note in self.notes if (note.output, note.event) == (output, "begun")]
            return [note.pid for note in notes if is_there(note.pid)]

        self._await_progress(begun, f"a batch of {output}")
        return begun()[-1]

    def _await_progress(self, condition: Callable[[], object], what: str) -> None:
        def has_come() -> object:
            assert self._process
            assert self._process.poll() is None, f"{what}: the run has ended"
            return condition()

        wait_until(has_come, what)

    def batches(self) -> set[tuple[str, str]]:
        """Return the batches that were begun."""
        return begun_batches(self.notes)

    def digests(self) -> dict[str, str]:
        """Return the checksums of all results."""
        root = self.folder / "results" / "openmoji"
        return {
            os.fspath(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for stage in ("real", "captions", "prompts", "images", "checkpoints")
            for path in sorted((root / stage).rglob("*"))
            if path.is_file() and not path.name.startswith(".")
        }


def is_there(pid: int) -> bool:
    """Return whether a process is alive."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster of this module's own: its nodes crash."""
    with Cluster(nodes=5, node_timeout_s=4) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def experiment(
    new_checkout: Callable[[Path], Path], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], Path]:
    """``experiment()`` is a fresh checkout whose jobs have a dozen batches or more."""

    def make() -> Path:
        folder = new_checkout(tmp_path_factory.mktemp("checkout"))
        config = yaml.safe_load((folder / "config.yaml").read_text())
        config["dataset"]["images_per_class"] = 24
        config["captioners"]["tiny"] |= {"batch_size": 1, "max_new_tokens": 16}
        config["generators"]["tiny"] |= {"num_inference_steps": 20}
        config["variants"]["class-name"]["images_per_class"] = 24
        config["recipes"]["tiny"] |= {"batch_size": 8, "epochs": 40}
        (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        return folder

    return make


@pytest.fixture(scope="module")
def undisturbed(experiment: Callable[[], Path]) -> Place:
    """The experiment as it is without faults, made on this machine."""
    place = Place(experiment())
    warm = [sys.executable, "workflow/scripts/warm.py", "serve", "--"]
    done = subprocess.run(
        [*warm, "snakemake", "--cores", "2", "--", *TARGETS],
        cwd=place.folder,
        env=place.environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return place


@pytest.fixture
def place(cluster: Cluster, experiment: Callable[[], Path]) -> Iterator[Place]:
    """The experiment on the cluster."""
    place = Place(experiment(), cluster)
    yield place
    place.stop()


def check_results(place: Place, undisturbed: Place) -> None:
    """The same bytes, each batch made, none made again, nothing left over."""
    digests = place.digests()
    assert digests == {name: undisturbed.digests()[name] for name in digests}
    assert all((place.folder / target).exists() for target in place.targets)
    made, owed = place.batches(), undisturbed.batches()
    assert made >= {batch for batch in owed if (place.folder / batch[0]).exists()}
    # A training that is told to end saves amid an epoch; its next start begins a batch there.
    assert all("/checkpoints/" in output for output, _ in made - owed)
    assert begun_again(place.notes) == []
    assert not list(place.folder.rglob(".*.partial"))


class Faults:
    """Blows that strike one job each, while others go on; each says how long its mending took."""

    def __init__(self, cluster: Cluster, place: Place) -> None:
        self._cluster, self._place = cluster, place
        self._preempted = threading.Event()

    def scancel(self, output: str) -> None:
        """Cancel a job."""
        job, _ = self._place.job_amid(output)
        began = time.monotonic()
        self._cluster.command("scancel", str(job))
        self._await_state(job, "CANCELLED")
        self._await_mended("scancel", output, began)

    def requeue(self, output: str) -> None:
        """Put a job back into the queue."""
        job, _ = self._place.job_amid(output)
        began = time.monotonic()
        self._cluster.command("scontrol", "requeue", str(job))
        self._await_requeue(job)
        self._await_mended("scontrol requeue", output, began)

    def crash_node(self, output: str) -> None:
        """Cut the power of a job's node."""
        job, pid = self._place.job_amid(output)
        node = self._cluster.job(job).node
        began = time.monotonic()
        self._cluster.crash(node)
        assert not is_there(pid)
        self._await_requeue(job)
        self._cluster.revive(node)
        self._await_mended("node crash", output, began)

    def double(self, output: str) -> None:
        """Kill a node's slurmd alone: its job lives on, and is started again elsewhere."""
        job, old = self._place.job_amid(output)
        os.kill(old, signal.SIGSTOP)  # a slow copy, which the other one catches up with
        node = self._cluster.job(job).node
        began = time.monotonic()
        self._cluster.kill_daemon(node)
        self._await_requeue(job)
        wait_until(
            lambda: any(note.pid != old for note in self._place.finished(output)),
            "a batch of the second copy",
        )
        assert is_there(old)
        before = len(self._place.finished(output))
        os.kill(old, signal.SIGCONT)
        self._await_mended("slurmd killed, two copies", output, began)
        # Both worked at once.
        assert old in {note.pid for note in self._place.finished(output)[before:]}
        self._cluster.revive(node)

    def preempt(self, output: str) -> None:
        """Push a job out by one of a higher partition."""
        job, _ = self._place.job_amid(output)
        node = self._cluster.job(job).node
        began = time.monotonic()
        where = ("--partition=urgent", "--exclusive", f"--nodelist={node}")
        urgent = self._cluster.submit("sleep 3", *where)
        self._await_requeue(job)
        self._preempted.set()
        self._await_mended("preemption", output, began)
        self._cluster.command("scancel", str(urgent))  # on a slow machine it may still wait

    def silence_controller(self, output: str) -> None:
        """Take the controller away for half a minute, in which a job ends."""
        _, pid = self._place.job_amid(output)
        os.kill(pid, signal.SIGSTOP)
        assert self._preempted.wait(BACKSTOP_S)
        self._cluster.stop_controller()
        ends = time.monotonic() + OUTAGE_S
        os.kill(pid, signal.SIGCONT)
        wait_until((self._place.folder / output).exists, output)
        time.sleep(max(0, ends - time.monotonic()))
        assert "queue: does not answer" in self._place.supervisor_log
        began = time.monotonic()
        self._cluster.start_controller()
        self._await_mended("controller down", CHECKPOINT.format("real+caption"), began)

    def starve(self, output: str) -> None:
        """Let a job run out of memory."""
        wait_until(lambda: self._ended("FAILED"), "the end of its memory")
        ended = time.monotonic()
        assert [job.mem_mb for job in self._ended("FAILED")] == [TOO_LITTLE_MB]
        self._await_mended("over its memory", output, ended)

    def overrun(self, output: str) -> None:
        """Let a job run out of time."""
        pid = self._place.await_begin(output)
        # On a slow machine it may have run out of time before it began.
        if not self._ended("TIMEOUT"):
            os.kill(pid, signal.SIGSTOP)
            wait_until(lambda: self._ended("TIMEOUT"), "the time limit")
        self._await_mended("time limit", output, time.monotonic())

    def _ended(self, state: str) -> list[Job]:
        return [job for job in self._cluster.jobs() if job.state == state]

    def _await_state(self, job: int, state: str) -> None:
        wait_until(lambda: self._cluster.job(job).state == state, f"job {job} {state}")

    def _await_requeue(self, job: int) -> None:
        wait_until(lambda: self._cluster.job(job).restarts == 1, f"the requeue of job {job}")

    def _await_mended(self, fault: str, output: str, began: float) -> None:
        wait_until((self._place.folder / output).exists, output)
        print(f"{fault}: {output} was there after {time.monotonic() - began:.1f} s")


def test_what_slurm_and_snakemake_mend_leaves_no_trace_in_the_results(
    cluster: Cluster, place: Place, undisturbed: Place
) -> None:
    faults = Faults(cluster, place)
    first = "wildcards.training_set == '{}' and attempt == 1"
    memory, runtime = first.format("real"), first.format("real+caption")
    place.supervise(
        TARGETS,
        "--set-resources",
        f"train_classifier:mem_mb={TOO_LITTLE_MB} if {memory} else 4000",
        f"train_classifier:runtime=1 if {runtime} else 30",
        "train_classifier:slurm_extra='--nice=0'",  # no warning before the time is up
    )
    with ThreadPoolExecutor() as pool:
        blows = [
            pool.submit(faults.scancel, CAPTIONS.format("car")),
            pool.submit(faults.requeue, CAPTIONS.format("bat")),
            pool.submit(faults.crash_node, IMAGES.format("class-name", "car")),
            pool.submit(faults.double, IMAGES.format("class-name", "bat")),
            pool.submit(faults.preempt, IMAGES.format("caption", "car")),
            pool.submit(faults.silence_controller, IMAGES.format("caption", "bat")),
            pool.submit(faults.starve, CHECKPOINT.format("real")),
            pool.submit(faults.overrun, CHECKPOINT.format("real+caption")),
        ]
        for blow in blows:
            blow.result()
    place.await_end()
    check_results(place, undisturbed)
    assert "starting it again" not in place.supervisor_log


def test_the_supervisor_mends_what_snakemake_cannot(
    cluster: Cluster, place: Place, undisturbed: Place
) -> None:
    captions, images = CAPTIONS.format("car"), IMAGES.format("caption", "car")
    checkpoint = CHECKPOINT.format("real+caption")
    options = ("--set-resources", "train_classifier:slurm_extra='--no-requeue'")
    supervisor = place.supervise([checkpoint], *options, idle_s=8)

    # Snakemake is killed.
    place.job_amid(captions)
    began = time.monotonic()
    snakemake_of(supervisor).kill()
    wait_until((place.folder / captions).exists, captions)
    print(f"Snakemake killed: {captions} was there after {time.monotonic() - began:.1f} s")
    assert "Snakemake was ended by signal 9; starting it again" in place.supervisor_log

    # The supervisor is killed, and called again when a job of its has ended unseen.
    job, _ = place.job_amid(images)
    snakemake = snakemake_of(supervisor)
    place.stop()
    wait_until(lambda: not is_there(snakemake.pid), "the end of Snakemake")
    wait_until(lambda: cluster.job(job).state == "COMPLETED", "the end of the orphan")
    began = time.monotonic()
    place.supervise([checkpoint], *options, idle_s=8)

    # A job is pushed out and not requeued: Snakemake waits for it for ever.
    job, _ = place.job_amid(checkpoint)
    print(f"supervisor killed: its next stage was under way after {time.monotonic() - began:.1f} s")
    began = time.monotonic()
    node = cluster.job(job).node
    cluster.submit("sleep 3", "--partition=urgent", "--exclusive", f"--nodelist={node}")
    wait_until(lambda: cluster.job(job).state == "PREEMPTED", "the preemption")
    place.await_end()
    print(f"preempted without requeue: the run was done after {time.monotonic() - began:.1f} s")
    assert "Snakemake hung" in place.supervisor_log
    check_results(place, undisturbed)


def snakemake_of(supervisor: psutil.Process) -> psutil.Process:
    """Return the Snakemake that a supervisor watches."""
    return next(child for child in supervisor.children() if POLLING.name in str(child.cmdline()))
