"""How jobs are submitted to SLURM while it takes none, and are not forgotten while it is silent.

Snakemake's SLURM plugin takes every refusal of sbatch for a failure of the job, and a queue that
does not answer a few times in a row for an empty one (docs/decisions/slurm-plugin.md). Its executor
is handed in: nothing here imports Snakemake.
"""

import re
import subprocess
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

LONGEST_PAUSE_S = 300.0

# What sbatch says when it is SLURM's doing, not the job's: it will take the same job later.
_PASSING = re.compile(
    # the controller, and the way to it
    r"unable to contact slurm controller|standby mode|temporarily unable to accept job"
    r"|connection (refused|timed out|reset)|communication connection|socket timed out"
    r"|zero bytes were transmitted|transport endpoint is not connected|missing socket error"
    r"|network is unreachable|no route to host|unable to resolve|i/o error writing script"
    # its keys
    r"|munge|protocol authentication error|invalid authentication credential"
    # its limits, and maintenance
    r"|resource temporarily unavailable|required partition not available",
    re.IGNORECASE,
)
_POLICY = re.compile(r"violates accounting/QOS policy", re.IGNORECASE)
# Some versions say which limit it is; jobs that end make room for more, and for no longer ones.
_LIMIT = re.compile(r"\b(?:Assoc|QOS)\w*Limit\b", re.IGNORECASE)
_CALL = "sbatch call:"  # behind it the plugin quotes the command, whose words are the job's


def will_pass(said: str) -> bool:
    """Return whether a refusal to submit a job is no fault of the job and will not last.

    Args:
        said: What sbatch, or the plugin for it, said.
    """
    said = said.partition(_CALL)[0]
    if _PASSING.search(said):
        return True
    limits = _LIMIT.findall(said)
    counts_jobs = not limits or any("submit" in limit.lower() for limit in limits)
    return bool(_POLICY.search(said)) and counts_jobs


class PatientSubmission:
    """Makes the executor of the SLURM plugin wait where waiting helps.

    - A refusal that will pass is waited for: the job is submitted again after a pause, as long as
      SLURM has been refusing, and loses no attempt.
    - Whatever else goes wrong in a submission is reported: the plugin's own handler of errors dies
      of a group job, which then is waited for without end.
    - While the queue does not answer, no job is forgotten.
    - Once the run is cancelled, nothing more is submitted.

    Args:
        executor: The executor, of a version that was tried.
        info_of: Makes what the executor is told of a job that was not submitted.
        is_ending: Whether Snakemake was told to start nothing more.
    """

    def __init__(
        self, executor: Any, info_of: Callable[[Any], Any], is_ending: Callable[[], bool]
    ) -> None:
        self._executor, self._info_of, self._is_ending = executor, info_of, is_ending
        self._stopped = threading.Event()
        self._refused_since_s: float | None = None
        self._run_job = executor.run_job
        self._report_error = executor._report_job_error_threadsafe
        self._report_submission = executor._report_job_submission_threadsafe
        self._check_active_jobs = executor.check_active_jobs
        self._cancel, self._shutdown = executor.cancel, executor.shutdown
        executor.run_job = self.run_job
        executor._report_job_error_threadsafe = self.report_error
        executor._report_job_submission_threadsafe = self.report_submission
        executor.check_active_jobs = self.check_active_jobs
        executor.cancel, executor.shutdown = self.cancel, self.shutdown

    def run_job(self, job: Any) -> None:
        """Submit a job; whatever goes wrong is reported as an error of the job."""
        try:
            self._run_job(job)
        except Exception as error:
            # Raised where the plugin handled another one, which is what went wrong.
            why = error.__context__ or error
            self.report_error(self._info_of(job), f"Job submission failed with exception: {why}")

    def report_error(self, job_info: Any, message: str) -> None:
        """Report a job that was not submitted, or wait and submit it again."""
        if will_pass(message) and not self._is_ending():
            pause_s = self._next_pause()
            self._executor.logger.warning(
                f"SLURM takes no job now; job {job_info.job.jobid} is submitted again in "
                f"{pause_s:.0f} s, and loses no attempt. "
                f"{' '.join(message.partition(_CALL)[0].split())}"
            )
            self._wait(pause_s)
            if self._stopped.is_set():
                return
            if not self._is_ending():
                self._executor._job_submission_executor.submit(self.run_job, job_info.job)
                return
        self._report_error(job_info, message)

    def report_submission(self, job_info: Any) -> None:
        """Report a job that was submitted: SLURM takes jobs."""
        self._refused_since_s = None
        self._report_submission(job_info)

    async def check_active_jobs(self, active_jobs: Sequence[Any]) -> AsyncIterator[Any]:
        """Yield the jobs that go on; if the queue did not answer, those are all."""
        answers = self._executor._status_query_calls
        async for job_info in self._check_active_jobs(active_jobs):
            yield job_info
        if self._executor._status_query_calls == answers:
            for job_info in active_jobs:
                yield job_info

    def cancel(self) -> None:
        """Cancel all jobs, once those are out of the way that wait to be submitted."""
        self._stopped.set()
        self._executor._job_submission_executor.shutdown(wait=True, cancel_futures=True)
        self._cancel()

    def shutdown(self) -> None:
        """End the executor."""
        self._stopped.set()
        self._shutdown()

    def _next_pause(self) -> float:
        """Return how long to wait: as long as SLURM has been refusing, within bounds."""
        now_s = time.monotonic()
        if self._refused_since_s is None:
            self._refused_since_s = now_s
        # Room is made by jobs that end; the plugin looks for those no sooner.
        shortest_s = self._executor.workflow.executor_settings.init_seconds_before_status_checks
        return min(max(now_s - self._refused_since_s, shortest_s), LONGEST_PAUSE_S)

    def _wait(self, seconds: float) -> None:
        # A child of its own tells whoever watches this Snakemake that it does not hang
        # (supervision.is_busy). It goes when its input is closed, that is with this process.
        with subprocess.Popen(
            ["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, process_group=0
        ):
            self._stopped.wait(seconds)
