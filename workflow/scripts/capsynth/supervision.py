"""What the supervisor of Snakemake on SLURM decides, as functions of plain values.

``supervisor`` asks and acts; nothing here runs a command, reads a file or looks at a clock.
"""

import re
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from capsynth.submission import will_pass

PREFIX = "capsynth"
PREFIX_OPTION = "--slurm-jobname-prefix"

# States that a job does not leave by itself. Any other, one of a future SLURM included, may still
# become something: it never makes a run look lost.
ENDED = frozenset(
    "BOOT_FAIL CANCELLED COMPLETED DEADLINE FAILED NODE_FAIL OUT_OF_MEMORY PREEMPTED REVOKED "
    "TIMEOUT".split()
)
# Ends that are no fault of the job: somebody or something took it away.
LOST = frozenset("BOOT_FAIL CANCELLED NODE_FAIL PREEMPTED REVOKED".split())
# Why a job waits although nobody holds it, and what ends that: `scontrol release`, or nothing.
RELEASABLE = frozenset({"launch_failed_requeued_held", "jobholdmaxrequeue"})
HOPELESS = frozenset({"dependencyneversatisfied"})
RELEASES = 3  # of one job: what fails a fourth time to start is resubmitted

# The plugin asks for the states of its jobs through these: they are no work of Snakemake's.
SLURM_CLIENTS = frozenset({"squeue", "sacct", "scontrol", "sbatch", "scancel", "sinfo"})
BUSY_SHARE = 0.1  # of a core, above which Snakemake is at work; waiting for jobs takes 0.01


@dataclass(frozen=True)
class Job:
    """One job of SLURM's queue.

    Attributes:
        job_id: Its number.
        state: Its state, long form.
        reason: Why it is in this state.
        name: Its name; Snakemake's plugin takes one for all jobs of a start.
        folder: Its working directory.
    """

    job_id: str
    state: str
    reason: str
    name: str
    folder: str

    @property
    def active(self) -> bool:
        """Whether the job may still do something."""
        return self.state not in ENDED


QUEUE_FORMAT = "%i|%T|%r|%j|%Z"


def parse_queue(text: str) -> list[Job]:
    """Return the jobs of ``squeue --noheader --format=QUEUE_FORMAT``."""
    return [Job(*line.split("|", 4)) for line in text.splitlines() if line.count("|") >= 4]


def own_jobs(jobs: Iterable[Job], prefix: str, folder: str) -> list[Job]:
    """Return the jobs that a Snakemake of ``folder`` submitted under ``prefix``."""
    return [job for job in jobs if job.name.startswith(f"{prefix}_") and job.folder == folder]


def describe(jobs: Iterable[Job]) -> str:
    """Return the active jobs in words: ``3 running, 2 pending (Priority)``."""
    counts = Counter(
        f"{job.state.lower()} ({job.reason})"
        if job.state == "PENDING" and job.reason != "None"
        else job.state.lower()
        for job in jobs
        if job.active
    )
    words = [f"{n} {what}" for what, n in sorted(counts.items(), key=lambda item: item[0])]
    return ", ".join(words) or "no job"


def is_busy(cpu_s: float, elapsed_s: float, children: Iterable[str]) -> bool:
    """Return whether Snakemake itself works: builds its graph, runs a local rule, hashes files.

    Args:
        cpu_s: CPU time it took since the last look.
        elapsed_s: Time since the last look.
        children: Names of all its descendant processes.
    """
    return cpu_s > BUSY_SHARE * elapsed_s or not set(children) <= SLURM_CLIENTS


@dataclass
class Watch:
    """Notices that one start of Snakemake waits for jobs that are not there any more.

    Attributes:
        idle_s: How long it must have had nothing to wait for. More than the longest pause between
            two looks of the plugin at the queue, 180 s, and than the latency of the file system.
    """

    idle_s: float
    _begun: bool = False
    _idle_since: float | None = None
    _released: Counter[str] = field(default_factory=Counter)

    def to_release(self, jobs: Sequence[Job]) -> list[str]:
        """Return the ids of held jobs to release now, each at most ``RELEASES`` times."""
        held = [
            job.job_id
            for job in jobs
            if job.state == "PENDING"
            and _plain(job.reason) in RELEASABLE
            and self._released[job.job_id] < RELEASES
        ]
        self._released.update(held)
        return held

    def is_hung(
        self, now_s: float, jobs: Sequence[Job] | None, busy: bool, begun: bool = False
    ) -> bool:
        """Take one look at the queue and return whether Snakemake waits in vain.

        Args:
            now_s: Time of the look.
            jobs: This start's jobs, ended ones included; None if the queue could not be read,
                which says nothing about them.
            busy: Whether Snakemake itself has worked since the last look.
            begun: Whether Snakemake says that it has begun to start jobs. SLURM may have lost or
                refused the first of them before anybody looked.
        """
        self._begun |= begun or bool(jobs)
        # Before its first job there is nothing that it could have lost: it reads rules and files,
        # which on a slow file system takes next to no time of the CPU.
        if jobs is None or busy or not self._begun or any(self._may_go_on(job) for job in jobs):
            self._idle_since = None
            return False
        if self._idle_since is None:
            self._idle_since = now_s
        return now_s - self._idle_since >= self.idle_s

    def _may_go_on(self, job: Job) -> bool:
        reason = _plain(job.reason) if job.state == "PENDING" else ""
        given_up = reason in RELEASABLE and self._released[job.job_id] >= RELEASES
        return job.active and not given_up and reason not in HOPELESS


def _plain(reason: str) -> str:
    # "launch failed requeued held" of SLURM 22 is launch_failed_requeued_held in 23.
    return reason.strip("()").replace(" ", "_").lower()


@dataclass(frozen=True)
class Failure:
    """A job of Snakemake's that failed and was not made by a later attempt.

    Attributes:
        rule: Its rule.
        logs: Where to look.
    """

    rule: str
    logs: str


@dataclass(frozen=True)
class Story:
    """What the log of one start of Snakemake tells.

    Attributes:
        finished: Number of steps that it finished.
        failures: The jobs that failed in the end.
        last_attempts: SLURM's id of the last attempt of each job that was submitted.
        unsubmitted: Whether SLURM refused a job for a reason that passes.
        locked: Whether another Snakemake held the lock of the folder.
        begun: Whether it had read all rules and files, and began to start jobs.
    """

    finished: int = 0
    failures: tuple[Failure, ...] = ()
    last_attempts: frozenset[str] = frozenset()
    unsubmitted: bool = False
    locked: bool = False
    begun: bool = False


# With show-failed-logs the logs of jobs stand in Snakemake's own, with lines like its own.
_SHOWN_LOG = re.compile(r"^ *Logfile [^\n]*:\n( *=+)\n.*?^\1$\n?", re.MULTILINE | re.DOTALL)
_DATE = re.compile(r"^ *\[\w{3} \w{3} [ \d]\d [\d:]{8} \d{4}\].*$", re.MULTILINE)
_FINISHED = re.compile(r"^ *Finished jobid: (\S+) ", re.MULTILINE)
_SUBMITTED = re.compile(r"^Job (\S+) has been submitted with SLURM jobid (\d+) ", re.MULTILINE)
_ERROR = re.compile(r"^ *Error in rule (\w+):$", re.MULTILINE)
_JOBID = re.compile(r"^ +jobid: (\S+)$", re.MULTILINE)
_LOG = re.compile(r"^ +log: (.+?)(?: \(check log file\(s\) for error details\))?$", re.MULTILINE)
_NOT_SUBMITTED = re.compile(
    r"^ +message: (?:SLURM sbatch failed|Job submission failed)(.*?)^ +(?:sbatch call|jobid):",
    re.MULTILINE | re.DOTALL,
)
_HOST = re.compile(r"^ *host: (\S+)$", re.MULTILINE | re.IGNORECASE)
_BEGUN = "Select jobs to execute..."
_CANNOT_LOCK = "Directory cannot be locked"


def read_log(text: str) -> Story:
    """Return what a log of Snakemake tells."""
    text = _SHOWN_LOG.sub("", text)
    finished = set(_FINISHED.findall(text))
    failed: dict[str, Failure] = {}
    unsubmitted: dict[str, bool] = {}
    for entry in _DATE.split(text):
        error, jobid, logs = _ERROR.search(entry), _JOBID.search(entry), _LOG.search(entry)
        if error and jobid:
            refused = _NOT_SUBMITTED.search(entry)
            failed[jobid[1]] = Failure(error[1], logs[1] if logs else "no log")
            unsubmitted[jobid[1]] = bool(refused and will_pass(refused[1]))
    return Story(
        finished=len(finished),
        failures=tuple(failure for jobid, failure in failed.items() if jobid not in finished),
        last_attempts=frozenset(dict(_SUBMITTED.findall(text)).values()),
        unsubmitted=any(yes for jobid, yes in unsubmitted.items() if jobid not in finished),
        locked=_CANNOT_LOCK in text,
        begun=_BEGUN in text,
    )


def log_host(text: str) -> str | None:
    """Return the host that a Snakemake ran on, by the head of its log."""
    found = _HOST.search(text)
    return found[1] if found else None


def reason_to_restart(exit_code: int, story: Story, states: Mapping[str, str]) -> str | None:
    """Return why a Snakemake that has ended is worth another start, or None if it is not.

    A job that failed by itself in all its attempts would do so again; that Snakemake finished
    other jobs before it gave up changes nothing in that. What ended for reasons outside of the
    jobs is worth another start.

    Args:
        exit_code: Its exit code, or minus the signal that ended it.
        story: What its log tells.
        states: SLURM's last known state of each job.
    """
    if exit_code < 0:
        return f"Snakemake was ended by signal {-exit_code}"
    if exit_code == 0 or story.locked:
        return None
    lost = sorted(
        (f"{job_id} {states[job_id]}" for job_id in story.last_attempts if _lost(job_id, states)),
    )
    if lost:
        return f"jobs were taken away in their last attempt: {', '.join(lost)}"
    if story.unsubmitted:
        return "SLURM took no jobs when they were submitted"
    return None


def _lost(job_id: str, states: Mapping[str, str]) -> bool:
    return states.get(job_id) in LOST


@dataclass
class Budget:
    """How often Snakemake is started again, and after which pause.

    Attributes:
        in_a_row: Restarts without a finished job in between.
        in_all: Restarts at all.
        pause_s: The first pause; each one in a row is twice as long, up to ``LONGEST_PAUSE_S``.
    """

    in_a_row: int
    in_all: int
    pause_s: float
    _row: int = 0
    _all: int = 0

    def next_pause(self, finished: int) -> float | None:
        """Return the pause before the next start, or None if there is no start left.

        Args:
            finished: Number of steps that the last start finished.
        """
        if finished:
            self._row = 0
        if self._row >= self.in_a_row or self._all >= self.in_all:
            return None
        pause = min(self.pause_s * 2**self._row, max(self.pause_s, LONGEST_PAUSE_S))
        self._row += 1
        self._all += 1
        return pause


LONGEST_PAUSE_S = 600.0


def with_prefix(command: Sequence[str]) -> list[str]:
    """Return the command with a prefix for the names of its jobs, unless it has one."""
    if prefix_of(command) is not None:
        return list(command)
    return with_options(command, PREFIX_OPTION, PREFIX)


def prefix_of(command: Sequence[str]) -> str | None:
    """Return the prefix for the names of jobs that a command line of Snakemake gives."""
    for word, following in zip(command, [*command[1:], ""], strict=True):
        if word == PREFIX_OPTION:
            return following
        if word.startswith(f"{PREFIX_OPTION}="):
            return word.partition("=")[2]
    return None


def with_options(command: Sequence[str], *options: str) -> list[str]:
    """Return a command line of Snakemake with more options, put before a ``--`` of its own."""
    end = list(command).index("--") if "--" in command else len(command)
    return [*command[:end], *options, *command[end:]]


def moves_folder(command: Iterable[str]) -> bool:
    """Return whether a command line of Snakemake works in another folder than the current one."""
    return any(word in ("-d", "--directory") or word.startswith("--directory=") for word in command)


# Such a Snakemake makes no files; and of those with --mode, which are the inside of a job, another
# one has the lock.
_LOOKING = frozenset({"-n", "-np", "--dry-run", "--dryrun", "--lint", "--report"})


def only_looks(command: Iterable[str]) -> bool:
    """Return whether a command line of Snakemake makes nothing."""
    return not _LOOKING.isdisjoint(command)


def is_snakemake(arguments: Sequence[str]) -> bool:
    """Return whether a process of these arguments is a Snakemake that makes files."""
    if not arguments or only_looks(arguments) or "--mode" in arguments:
        return False
    program = PurePath(arguments[0]).name
    if not program.startswith("python"):
        return program == "snakemake"
    for word, following in zip(arguments[1:], [*arguments[2:], ""], strict=True):
        if word == "-m":
            return following == "snakemake"
        if not word.startswith("-"):
            return PurePath(word).name == "snakemake"
    return False


@dataclass(frozen=True)
class Holder:
    """A supervisor that holds a folder, as its record tells.

    Attributes:
        host: Where it runs.
        pid: Its process.
        since: When it took the folder.
    """

    host: str
    pid: int
    since: str


SILENCE_S = 180.0  # a supervisor gives a sign of life at least every 30 s


def is_alive(holder: Holder, host: str, pids: Container[int], silence_s: float) -> bool:
    """Return whether the supervisor of a record is still there.

    Args:
        holder: The record.
        host: This host.
        pids: The processes of this host that may be it.
        silence_s: How long ago the record was touched, by the clock of the file system.
    """
    if holder.host == host:
        return holder.pid in pids
    return silence_s < SILENCE_S
