"""A real SLURM cluster on this machine: one slurmd a node, fake GPUs, no database, no systemd."""

import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from waiting import wait_until

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol")
PACKAGES = "munge slurmctld slurmd slurm-client"
SBIN = ("/usr/sbin", "/sbin")
# SLURM counts a GPU only if it has a device file; these are on every machine.
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty")
# In the environment of every daemon and client, and so of every job: whose process it is. Not
# SLURM_CONF: Snakemake takes every SLURM_* from its jobs.
MARK = "TEST_CLUSTER"
ENDED = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "TIMEOUT"}

CONFIGURATION = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# The life of a credential also is how long a requeued job waits: 120 s where nothing is said.
AuthInfo=socket={folder}/munge.socket,cred_expire=10
SlurmctldPort={port}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
# No cgroups: a job's processes are found by their parents, its memory is measured now and then.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
JobAcctGatherParams=OverMemoryKill
MpiDefault=none
SwitchType=switch/none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2,bf_continue
PriorityType=priority/basic
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
SlurmdTimeout={node_timeout_s}
SlurmctldTimeout=30
InactiveLimit=0
KillWait=3
JobRequeue=1
# A requeued job goes on in its log.
JobFileAppend=1
# Without it, a job that names no memory takes a whole node.
DefMemPerCPU=200
BatchStartTimeout=10
MessageTimeout=10
CompleteWait=0
# squeue shows finished jobs for so long.
MinJobAge=3600
MaxJobCount=20000
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/ended-jobs.log
# Nodes may claim more than this machine has.
SlurmdParameters=config_overrides
GresTypes=gpu
{nodes}
PartitionName=cpu Nodes=ALL MaxTime=1440 DefaultTime=10 PriorityTier=1 Default=YES
PartitionName=gpu Nodes=ALL MaxTime=1440 DefaultTime=10 PriorityTier=1
PartitionName=urgent Nodes=ALL MaxTime=1440 DefaultTime=10 PriorityTier=10 PreemptMode=OFF
"""


def why_unavailable() -> str:
    """Return why no cluster can be started here; nothing if one can."""
    if sys.platform != "linux":
        return "SLURM runs on Linux only"
    if missing := [name for name in PROGRAMS if not _found(name)]:
        return f"{', '.join(missing)} missing; as root on Debian: apt install {PACKAGES}"
    return "" if os.geteuid() == 0 else "only root can start SLURM's daemons"


def available() -> bool:
    """Return whether a cluster can be started here."""
    return not why_unavailable()


@dataclass(frozen=True)
class Job:
    """A job that the controller knows, in its queue or ended.

    Attributes:
        id: Number of the job.
        name: Name that it was submitted under.
        state: ``PENDING``, ``RUNNING``, ``COMPLETED``, ...
        reason: Why it waits, or why it ended.
        partition: Its partition.
        node: Where it runs or ran; empty before.
        workdir: Its working directory.
        comment: What Snakemake says it is.
        restarts: How often it was requeued.
        run_time_s: How long it has run, since it was last requeued.
        time_limit_min: How long it may run.
        nodes: How many nodes it asked for.
        gpus: GPUs that it asked for.
        cpus: CPUs that it asked for.
        mem_mb: Memory that it asked for.
    """

    id: int
    name: str
    state: str
    reason: str
    partition: str
    node: str
    workdir: Path
    comment: str
    restarts: int
    run_time_s: int
    time_limit_min: int
    nodes: int
    gpus: int
    cpus: int
    mem_mb: int

    @property
    def has_ended(self) -> bool:
        """Whether it will not run any more."""
        return self.state in ENDED


@dataclass(frozen=True)
class Run:
    """A stretch of time that a job ran; a job that was requeued has several.

    Attributes:
        id: Number of the job.
        state: How it ended.
        node: Where it ran.
        start: When it began.
        end: When it ended.
    """

    id: int
    state: str
    node: str
    start: datetime
    end: datetime


class Cluster:
    """A cluster whose nodes ``node1``, ``node2``, ... all are this machine.

    Partitions: ``cpu``, where a job names none; ``gpu``; and ``urgent``, whose jobs push those of
    the others back into the queue. A context manager.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        nodes: int = 3,
        cpus: int = 8,
        gpus: int = 1,
        mem_mb: int = 64000,
        base_port: int | None = None,
        node_timeout_s: int = 12,
    ):
        """Describe a cluster; ``start`` starts it.

        Args:
            folder: Where its files lie; a new one that goes with the cluster if not given. Its path
                must be short, for it holds a socket.
            nodes: How many nodes.
            cpus: CPUs that each claims to have.
            gpus: Fake GPUs of each.
            mem_mb: Memory that each claims to have.
            base_port: First of ``nodes + 1`` free ports; found if not given.
            node_timeout_s: After so long, a node that does not answer counts as down.

        Raises:
            ValueError: If there are more GPUs than a node can have.
        """
        if gpus > len(DEVICES):
            raise ValueError(f"{gpus} fake GPUs a node: at most {len(DEVICES)} are possible")
        self.nodes = [f"node{i + 1}" for i in range(nodes)]
        self.gpus = gpus
        self.cpus = cpus
        self.mem_mb = mem_mb
        self._base_port = base_port
        self._node_timeout_s = node_timeout_s
        self._goes_with_it = folder is None
        # Not in $TMPDIR, which may be long.
        self.folder = folder or Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._guard: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "Cluster":
        """Start the cluster."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the cluster."""
        self.stop()

    def start(self) -> None:
        """Start all daemons; return when every node is ready."""
        self._write_files()
        # It outlives this process, however that ends, and then sweeps up.
        words = [sys.executable, __file__, str(self.folder), *["--remove"] * self._goes_with_it]
        self._guard = subprocess.Popen(words, stdin=subprocess.PIPE, start_new_session=True)
        try:
            self._start_munge()
            self.start_controller()
            for node in self.nodes:
                self._start_daemon(node, "slurmd", "-D", "-N", node)
            wait_until(self._nodes_are_ready, "nodes that are ready")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End all daemons, jobs and clients; nothing of the cluster is left."""
        if self._guard and self._guard.stdin:
            self._guard.stdin.close()
            self._guard.wait()
        for daemon in self._daemons.values():
            daemon.wait()
        self._daemons.clear()

    def environment(self) -> dict[str, str]:
        """Return the environment in which SLURM's commands, and Snakemake, know this cluster."""
        python = str(Path(sys.executable).parent)  # jobs run the Python of the tests
        path = [str(self.folder / "bin"), python, os.environ["PATH"], *SBIN]
        return {
            **os.environ,
            # Its GPUs are names only.
            "CAPSYNTH_DEVICE": "cpu",
            "PATH": os.pathsep.join(path),
            "SLURM_CONF": str(self.folder / "slurm.conf"),
            MARK: str(self.folder),  # the last: slurmd writes its title over the first ones
        }

    def command(self, *words: str, cwd: Path | None = None) -> str:
        """Run one of SLURM's commands, in a folder, and return what it prints.

        Raises:
            RuntimeError: If it fails; the message is what it says.
        """
        environment = self.environment()
        done = subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{words[0]}: {done.stderr.strip()}")
        return done.stdout

    def real(self, program: str) -> str:
        """Return the path of one of SLURM's commands, for a stand-in before it on PATH."""
        path = shutil.which(program, path=self.environment()["PATH"])
        if path is None:
            raise ValueError(f"{program} is none of SLURM's commands here")
        return path

    def submit(self, script: str, *options: str) -> int:
        """Submit a shell script and return the number of its job."""
        words = ["sbatch", "--parsable", f"--chdir={self.folder}", *options, f"--wrap={script}"]
        return int(self.command(*words))

    def jobs(self) -> list[Job]:
        """Return all jobs that the controller knows, those that ended too.

        Raises:
            RuntimeError: If the controller does not answer.
        """
        answer = json.loads(self.command("squeue", "--states=all", "--json"))
        if answer["errors"]:  # the exit code says nothing of them
            raise RuntimeError(f"squeue: {answer['errors']}")
        return sorted(map(_job_of, answer["jobs"]), key=lambda job: job.id)

    def job(self, job_id: int) -> Job:
        """Return one of the jobs that the controller knows."""
        return next(job for job in self.jobs() if job.id == job_id)

    def wait_for(self, job_id: int, *states: str) -> Job:
        """Return a job as soon as it is in one of the states."""
        wait_until(
            lambda: self.job(job_id).state in states,
            f"job {job_id} {' or '.join(states)}",
            instead=lambda: self.job(job_id),
        )
        return self.job(job_id)

    def runs(self) -> list[Run]:
        """Return when each job ran that has ended or was requeued, by its end."""
        log = self.folder / "ended-jobs.log"
        lines = log.read_text().splitlines() if log.exists() else []
        return [run for line in lines if (run := _run_of(line))]

    def job_ids(self) -> set[int]:
        """Return the jobs that ever ran to an end of any kind."""
        return {run.id for run in self.runs()}

    def most_gpus_at_once(self) -> int:
        """Return how many GPUs the jobs that ended held together at most.

        SLURM writes whole seconds; one that begins in the second in which another ends follows it.
        """
        gpus = {job.id: job.gpus for job in self.jobs()}
        changes = sorted(
            change
            for run in self.runs()
            for change in ((run.start, gpus[run.id]), (run.end, -gpus[run.id]))
            if run.end > run.start
        )
        held = most = 0
        for _, change in changes:  # at equal times those that give back come first
            held += change
            most = max(most, held)
        return most

    def crash(self, node: str) -> None:
        """Cut a node's power: its slurmd and all that runs there die at once."""
        doomed = [process for step in self._steps(node) for process in _family(step)]
        self.kill_daemon(node)
        _kill(doomed)

    def kill_daemon(self, node: str) -> None:
        """Kill a node's slurmd alone; its jobs live on."""
        daemon = self._daemons.pop(node)
        daemon.kill()
        daemon.wait()

    def revive(self, node: str) -> None:
        """Start a node's slurmd again and wait until the controller knows."""
        self._start_daemon(node, "slurmd", "-D", "-N", node)
        # The controller may be away meanwhile.
        wait_until(lambda: self._is_ready(node), f"the return of {node}")

    def stop_controller(self) -> None:
        """End the controller; jobs run on, and nobody answers questions."""
        controller = self._daemons.pop("slurmctld")
        controller.terminate()
        controller.wait()

    def start_controller(self) -> None:
        """Start the controller; it knows what it knew when it was stopped."""
        self._start_daemon("slurmctld", "slurmctld", "-D", "-i")
        wait_until(self._controller_answers, f"a controller; see {self.folder}/slurmctld.log")

    def _start_daemon(self, name: str, *words: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as output:
            self._daemons[name] = subprocess.Popen(
                words,
                env=self.environment(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # Ctrl-C in the terminal is for the tests alone
            )

    def _start_munge(self) -> None:
        self._start_daemon(
            "munged",
            *("munged", "--foreground", f"--socket={self.folder}/munge.socket"),
            *(f"--key-file={self.folder}/munge.key", f"--pid-file={self.folder}/munged.pid"),
            *(f"--log-file={self.folder}/munged.log", f"--seed-file={self.folder}/munge.seed"),
        )
        wait_until((self.folder / "munge.socket").is_socket, f"munge; see {self.folder}/munged.out")

    def _write_files(self) -> None:
        for name in ("state", "bin", *(f"spool/{node}" for node in self.nodes)):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        # munge wants folders into which no one else writes, slurmd lets jobs' users through.
        self.folder.chmod(0o755)
        host = socket.gethostname().split(".")[0]
        ports = _free_ports(len(self.nodes) + 1, self._base_port)
        nodes = [
            f"NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} "
            f"CPUs={self.cpus} RealMemory={self.mem_mb} Gres=gpu:{self.gpus}"
            for node, port in zip(self.nodes, ports[1:], strict=True)
        ]
        values = {"host": host, "folder": self.folder, "port": ports[0]}
        values |= {"nodes": "\n".join(nodes), "node_timeout_s": self._node_timeout_s}
        (self.folder / "slurm.conf").write_text(CONFIGURATION.format(**values))
        devices = ",".join(DEVICES[: self.gpus])
        gpus = [f"NodeName={node} Name=gpu File={devices}\n" for node in self.nodes if self.gpus]
        (self.folder / "gres.conf").write_text("".join(gpus))
        key = self.folder / "munge.key"
        key.touch(0o600)
        key.write_bytes(os.urandom(128))
        # Snakemake takes SLURM_CONF from the environment before it calls srun in a job: a cluster
        # whose configuration does not lie in /etc needs this.
        self._write_shim("srun", f'SLURM_CONF={self.folder}/slurm.conf exec {_found("srun")} "$@"')
        # A cluster has accounting, as a rule; the plugin asks it when the controller is silent. The
        # controller knows the same here. This is the only thing that the plugin asks.
        self._write_shim(
            "sacct",
            'name=; for word in "$@"; do [ "$last" = --name ] && name=$word; last=$word; done\n'
            "exec squeue --noheader --states=all --format='%i|%T' --name \"$name\"",
        )

    def _write_shim(self, name: str, script: str) -> None:
        shim = self.folder / "bin" / name
        shim.write_text(f"#!/bin/sh\n{script}\n")
        shim.chmod(0o755)

    def _controller_answers(self) -> bool:
        try:
            return " is UP" in self.command("scontrol", "ping")
        except RuntimeError:
            return False

    def _is_ready(self, node: str) -> bool:
        try:
            state = self.command("sinfo", "--noheader", f"--nodes={node}", "--format=%t")
        except RuntimeError:
            return False  # the controller is away
        return set(state.split()) <= {"idle", "mix", "alloc"}

    def _nodes_are_ready(self) -> bool:
        if ended := [name for name, daemon in self._daemons.items() if daemon.poll() is not None]:
            raise RuntimeError(f"{', '.join(ended)} ended at once; see the logs in {self.folder}")
        return all(map(self._is_ready, self.nodes))

    def _steps(self, node: str) -> list[psutil.Process]:
        log = str(self.folder / f"slurmd.{node}.log")
        return [p for p in psutil.process_iter() if _is_step(p) and _has_open(p, log)]


def sweep(folder: Path) -> None:
    """Kill all processes of the cluster in a folder: daemons, jobs, clients."""
    # Jobs of a daemon that was just asked for one may still be starting: look again until none is.
    while found := list(_processes_of(folder)):
        _kill(found)


def _processes_of(folder: Path) -> Iterator[psutil.Process]:
    mark = f"{MARK}={folder}\0".encode()
    for process in psutil.process_iter():
        try:
            if mark in Path(f"/proc/{process.pid}/environ").read_bytes():
                yield process
            elif _is_step(process) and _has_open(process, f"{folder}/"):
                yield from _family(process)
        except (OSError, psutil.Error):
            continue  # it ended while it was looked at


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    # A zombie is gone, though nobody may collect it where there is no init.
    wait_until(lambda: not any(map(_is_alive, processes)), "the end of processes")


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _is_step(process: psutil.Process) -> bool:
    try:
        return process.name() == "slurmstepd"
    except psutil.NoSuchProcess:
        return False


def _has_open(process: psutil.Process, path: str) -> bool:
    try:
        return any(file.path.startswith(path) for file in process.open_files())
    except psutil.Error:
        return False


def _family(process: psutil.Process) -> list[psutil.Process]:
    try:
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _job_of(record: dict[str, Any]) -> Job:
    asked = dict(pair.split("=") for pair in record["tres_req_str"].split(",") if pair)
    asked |= dict(pair.split("=") for pair in record["tres_alloc_str"].split(",") if pair)
    gpus = re.search(
        r"gpu(?::[a-z]\w*)?[:=](\d+)", record["tres_per_job"] + record["tres_per_node"]
    )
    return Job(
        id=record["job_id"],
        name=record["name"],
        state=record["job_state"],
        reason=record["state_reason"],
        partition=record["partition"],
        node=record["nodes"],
        workdir=Path(record["current_working_directory"]),
        comment=record["comment"],
        restarts=record["restart_cnt"],
        run_time_s=_run_time(record),
        time_limit_min=record["time_limit"],
        nodes=record["node_count"],
        gpus=int(gpus[1]) if gpus else 0,
        cpus=int(asked["cpu"]),
        mem_mb=_megabytes(asked["mem"]),
    )


def _run_time(record: dict[str, Any]) -> int:
    if record["job_state"] == "PENDING":
        return 0
    end = min(record["end_time"] or time.time(), time.time())  # of running jobs: their limit
    return int(end - record["start_time"])


def _megabytes(amount: str) -> int:
    units = {"M": 1, "G": 1024, "T": 1024**2}
    return round(float(amount[:-1]) * units[amount[-1]])


def _run_of(line: str) -> Run | None:
    fields = dict(re.findall(r"(\w+)=(\S*)", line))
    try:
        start, end = (datetime.fromisoformat(fields[key]) for key in ("StartTime", "EndTime"))
    except ValueError:
        return None  # it was cancelled before it began
    return Run(int(fields["JobId"]), fields["JobState"], fields["NodeList"], start, end)


def _found(program: str) -> str | None:
    return shutil.which(program, path=os.pathsep.join([os.environ["PATH"], *SBIN]))


def _free_ports(count: int, base: int | None) -> list[int]:
    """Return ports in a row. Below 32768, where outgoing connections do not take them."""
    while True:
        ports = range(base or random.randrange(20500, 32000), 65536)[:count]
        try:
            with ExitStack() as stack:
                for port in ports:
                    probe = stack.enter_context(socket.socket())
                    # As SLURM does: connections of an earlier cluster that still time out are fine.
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", port))
            return list(ports)
        except OSError:
            if base:
                raise


if __name__ == "__main__":
    sys.stdin.read()  # nothing comes; it ends with the process that started this
    sweep(Path(sys.argv[1]))
    if "--remove" in sys.argv:
        shutil.rmtree(sys.argv[1])
