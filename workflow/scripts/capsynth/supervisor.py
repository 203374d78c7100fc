"""Runs Snakemake on SLURM until it is done: notices when it hangs or dies, and starts it again.

What to do is decided in ``supervision``; this module watches, signals and waits.
"""

import contextlib
import logging
import math
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import psutil

from capsynth.errors import CapsynthError
from capsynth.folder_lock import FolderLock, locks_left, refuse_company, snakemake_logs
from capsynth.processes import follow
from capsynth.provenance import hide_secrets
from capsynth.slurm import Queue
from capsynth.supervision import (
    PREFIX,
    Budget,
    Job,
    Story,
    Watch,
    describe,
    is_busy,
    prefix_of,
    read_log,
    reason_to_restart,
    with_options,
    with_prefix,
)

log = logging.getLogger(__name__)

Process = subprocess.Popen[bytes]

_BEAT_S = 30.0
_CANCEL_AGAIN_S = 30.0
_KILL_AFTER_S = 60.0
_GONE_POLL_S = 2.0
_SHOWN_FAILURES = 20


@dataclass(frozen=True)
class Patience:
    """How long the supervisor waits for what, in seconds.

    Attributes:
        poll_s: Between two looks at the queue.
        idle_s: Until a Snakemake without jobs and without work counts as hung.
        grace_s: Until a Snakemake that was asked to stop is asked more firmly.
        gone_s: Until jobs that were cancelled must have left the queue.
    """

    poll_s: float
    idle_s: float
    grace_s: float
    gone_s: float


class Stopped(Exception):
    """The supervisor was asked to stop, by the signal ``number``."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class Supervisor:
    """Watches over the Snakemake of one folder.

    Args:
        folder: The folder; the current one of this process.
        command: Snakemake's command line.
        patience: How long to wait for what.
        budget: How often to start again.
        take_over: Whether locks that a Snakemake of another host left are to be removed.
    """

    def __init__(
        self,
        folder: Path,
        command: Sequence[str],
        patience: Patience,
        budget: Budget,
        take_over: bool = False,
    ) -> None:
        self._folder, self._command = folder, with_prefix(command)
        self._patience, self._budget, self._take_over = patience, budget, take_over
        self._queue = Queue(prefix_of(self._command) or PREFIX, os.fspath(folder))
        self._lock = FolderLock(folder)
        self._process: Process | None = None
        # Waited for, not handled: none comes between two steps. What nohup ignores stays ignored.
        self._stops = {
            number
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
            if signal.getsignal(number) is not signal.SIG_IGN
        }

    def run(self) -> int:
        """Run Snakemake to its end; return the exit code for this process.

        Raises:
            CapsynthError: If the folder is taken, or its jobs cannot be got rid of.
        """
        with self._holding_folder():
            try:
                return self._run()
            except Stopped as stop:
                return self._end(stop)
            except Exception:
                if self._process:
                    log.error("ending because of an error: stopping Snakemake and its jobs")
                    with contextlib.suppress(Stopped):  # whoever cannot wait
                        self._stop(self._process)
                        self._leave_nothing()
                raise

    def cancel(self) -> int:
        """Cancel the jobs of the folder, wait until they are gone, and unlock it.

        Raises:
            CapsynthError: If the folder is taken, or its jobs cannot be got rid of.
        """
        with self._holding_folder():
            try:
                self._clear_folder()
            except Stopped as stop:
                return 128 + stop.number
            log.info("no job of this folder is left")
            return 0

    @contextlib.contextmanager
    def _holding_folder(self) -> Iterator[None]:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, self._stops | {signal.SIGCHLD})
        self._mask = before
        try:
            self._lock.take()
            try:
                yield
            finally:
                self._lock.release()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def _run(self) -> int:
        while True:
            earlier = self._clear_folder()
            exit_code, reason, story = self._run_once(earlier)
            if exit_code == 0:
                log.info("Snakemake is done: %d steps since its last start", story.finished)
                return 0
            if reason is None:
                return self._report_failure(exit_code, story)
            pause_s = self._budget.next_pause(story.finished)
            if pause_s is None:
                log.error("%s, and all restarts are used up", reason)
                return self._report_failure(exit_code, story)
            log.warning("%s; starting it again in %.0f s", reason, pause_s)
            self._pause(pause_s)

    def _run_once(self, earlier: Set[str]) -> tuple[int, str | None, Story]:
        """Run Snakemake once: its exit code, why to start it again, and what its log tells."""
        logs = set(snakemake_logs(self._folder))
        states: dict[str, str] = {}
        process = self._start(self._command)
        hung = self._watch(process, earlier, states, logs)
        if hung:
            self._stop(process)
        exit_code = process.returncode
        if exit_code < 0:  # it could not end its local jobs itself
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        self._look(earlier, states)
        story = self._read_story(logs)
        self._process = None
        if hung:
            return 1, "Snakemake hung: what it waited for is not there any more", story
        return exit_code, reason_to_restart(exit_code, story, states), story

    def _read_story(self, before: Set[Path]) -> Story:
        """Return what Snakemake's log tells, beside the logs that were there before it."""
        newest = max(set(snakemake_logs(self._folder)) - before, default=None)
        return read_log(newest.read_text("utf-8", "replace")) if newest else Story()

    def _watch(
        self, process: Process, earlier: Set[str], states: dict[str, str], logs: Set[Path]
    ) -> bool:
        """Watch Snakemake until it ends and return False, or until it hangs and return True."""
        watch, told, begun = Watch(self._patience.idle_s), "", False
        cpu_s, looked_s = 0.0, time.monotonic()
        while process.poll() is None:
            self._pause(self._patience.poll_s, process)
            jobs = self._look(earlier, states)
            used_s, children = _activity(process.pid)
            now_s = time.monotonic()
            busy = is_busy(used_s - cpu_s, now_s - looked_s, children)
            cpu_s, looked_s = used_s, now_s
            begun = begun or self._read_story(logs).begun
            news = "does not answer" if jobs is None else describe(jobs)
            if news != told:
                log.info("queue: %s", news)
                told = news
            if jobs and (held := watch.to_release(jobs)):
                log.warning("releasing jobs that SLURM holds: %s", ", ".join(held))
                self._queue.release(held)
            if process.poll() is None and watch.is_hung(now_s, jobs, busy, begun):
                log.error(
                    "since %.0f s Snakemake has no job in the queue and does nothing; "
                    "jobs that did not complete: %s",
                    self._patience.idle_s,
                    ", ".join(f"{j} {s}" for j, s in states.items() if s != "COMPLETED") or "none",
                )
                return True
        return False

    def _look(self, earlier: Set[str], states: dict[str, str]) -> list[Job] | None:
        """Return the jobs of this start, and note their states."""
        jobs = self._queue.jobs()
        if jobs is not None:
            jobs = [job for job in jobs if job.job_id not in earlier]
            states.update((job.job_id, job.state) for job in jobs)
        return jobs

    def _clear_folder(self) -> frozenset[str]:
        """Get rid of jobs and locks of earlier starts; return the ids that SLURM remembers."""
        refuse_company(self._folder, self._lock.left, self._take_over)
        earlier = self._clear_queue()
        if locks_left(self._folder):
            log.info("removing the lock that a Snakemake left")
            unlock = self._start(with_options(self._command, "--unlock"))
            while unlock.poll() is None:
                self._pause(self._patience.poll_s, unlock)
            self._process = None
            if unlock.returncode:
                raise CapsynthError(
                    f"snakemake --unlock ended with exit code {unlock.returncode}; its message "
                    "stands above. Mend the cause and call again"
                )
        return earlier

    def _clear_queue(self) -> frozenset[str]:
        first_s: float | None = None  # when they were cancelled, and when for the last time
        last_s, answered = -math.inf, True
        while True:
            jobs, now_s = self._queue.jobs(), time.monotonic()
            if jobs is None:
                if answered:
                    log.warning("SLURM's controller does not answer; waiting for it")
                first_s, last_s = None, -math.inf  # what was asked meanwhile may be lost
            answered = jobs is not None
            left = [job for job in jobs or () if job.active]
            if jobs is not None and not left:
                return frozenset(job.job_id for job in jobs)
            waited_s = now_s - first_s if first_s is not None else 0.0
            ids = ", ".join(job.job_id for job in left)
            if left and waited_s > self._patience.gone_s:
                if any(job.state != "COMPLETING" for job in left):
                    raise CapsynthError(
                        f"jobs {ids} of this folder do not leave the queue, {waited_s:.0f} s after "
                        f"they were cancelled; see `scontrol show job {left[0].job_id}`, "
                        "ask the administrators of the cluster, and call again"
                    )
                # Their node does not answer. Whatever still runs there cannot harm: a stage
                # publishes whole results of the current settings only.
                log.warning("jobs %s are completing for too long; going on without them", ids)
                return frozenset(job.job_id for job in jobs or ())
            if left and now_s - last_s > _CANCEL_AGAIN_S:
                log.info("cancelling jobs of an earlier start: %s", ids)
                first_s, last_s = now_s if first_s is None else first_s, now_s
                self._queue.cancel(job.job_id for job in left)
                if waited_s > _KILL_AFTER_S:
                    self._queue.cancel((job.job_id for job in left), kill=True)
            self._pause(min(_GONE_POLL_S, self._patience.poll_s))

    def _end(self, stop: Stopped) -> int:
        """Stop Snakemake and its jobs; another signal shortens the wait, for each in turn."""
        log.warning("got %s: stopping Snakemake and its jobs", stop)
        if self._process:
            with contextlib.suppress(Stopped):
                self._stop(self._process)
        try:
            self._clear_folder()
            log.info("stopped: no job of this folder is left; call again to go on")
        except Stopped as again:
            log.error("got %s: ending at once; call with --cancel for jobs that are left", again)
        return 128 + stop.number

    def _leave_nothing(self) -> None:
        """Cancel the jobs that a Snakemake left which ended by an error of its own.

        Raises:
            Stopped: If this process is asked to stop meanwhile.
        """
        try:
            self._clear_folder()
        except (CapsynthError, OSError) as error:
            log.error("jobs or locks may be left: %s", error)

    def _report_failure(self, exit_code: int, story: Story) -> int:
        """Say what failed and where to look; return this process's exit code."""
        if story.locked:
            log.error("another Snakemake took this folder in between; wait for it and call again")
        for failure in story.failures[:_SHOWN_FAILURES]:
            log.error("failed: %s; see %s", failure.rule, failure.logs)
        if (hidden := len(story.failures) - _SHOWN_FAILURES) > 0:
            log.error("failed: %d more; see the newest file in .snakemake/log", hidden)
        code = exit_code if exit_code > 0 else 128 - exit_code
        if not story.locked:
            self._leave_nothing()
        log.error("ending with exit code %d; what is finished is not made again", code)
        return code

    def _start(self, command: Sequence[str]) -> Process:
        """Start a command that dies with this process and that the terminal's Ctrl-C spares."""
        parent, mask = os.getpid(), self._mask

        def prepare() -> None:
            follow(parent, signal.SIGKILL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # it must hear what it is sent
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

        log.info("starting: %s", shlex.join(hide_secrets(command)))
        try:
            # The one thread of this process makes preexec_fn safe.
            self._process = subprocess.Popen(command, process_group=0, preexec_fn=prepare)
        except OSError as error:
            raise CapsynthError(
                f"{command[0]} cannot be run ({error.strerror}); activate the environment first"
            ) from None
        return self._process

    def _stop(self, process: Process) -> None:
        """Ask Snakemake to end, then more and more firmly, until it has.

        Raises:
            Stopped: If this process was asked to stop meanwhile; Snakemake has ended then as well.
        """
        stopped = None
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if process.poll() is not None:
                break
            log.info("sending %s to Snakemake", number.name)
            # It alone is asked: it ends its local jobs itself.
            process.send_signal(number)
            firm_s = time.monotonic() + self._patience.grace_s
            try:
                while process.poll() is None and time.monotonic() < firm_s:
                    self._pause(1.0, process)
            except Stopped as stop:  # whoever cannot wait gets the next stronger signal
                stopped = stop
        process.wait()
        if stopped:
            raise stopped

    def _pause(self, seconds: float, process: Process | None = None) -> None:
        """Wait, but not beyond the end of ``process``.

        Raises:
            Stopped: If this process is asked to stop.
        """
        until_s = time.monotonic() + seconds
        while (left_s := until_s - time.monotonic()) > 0:
            self._lock.beat()
            if process and process.poll() is not None:
                return
            got = signal.sigtimedwait(self._stops | {signal.SIGCHLD}, min(left_s, _BEAT_S))
            if got and got.si_signo != signal.SIGCHLD:
                raise Stopped(got.si_signo)


def _activity(pid: int) -> tuple[float, list[str]]:
    """Return the CPU time in seconds that a process has taken, and its descendants' names."""
    try:
        process = psutil.Process(pid)
        times = process.cpu_times()
        return times.user + times.system, [child.name() for child in process.children(True)]
    except psutil.NoSuchProcess:
        return 0.0, []
