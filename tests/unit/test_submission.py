"""Which refusals of SLURM pass, and an executor that waits for them, without SLURM or Snakemake."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from waiting import wait_until

from capsynth import submission
from capsynth.submission import LONGEST_PAUSE_S, PatientSubmission, will_pass
from capsynth.supervision import is_busy

FAILED = "sbatch: error: Batch job submission failed: "
POLICY = (
    f"{FAILED}Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)"
)


@pytest.mark.parametrize(
    "said",
    [
        POLICY,
        f"sbatch: error: AssocMaxSubmitJobLimit\n{POLICY}",
        f"sbatch: error: QOSMaxSubmitJobPerUserLimit\n{POLICY}",
        f"{FAILED}Resource temporarily unavailable",
        f"{FAILED}Required partition not available (inactive or drain)",
        f"{FAILED}Unable to contact slurm controller (connect failure)",
        f"{FAILED}Transport endpoint is not connected",
        f"{FAILED}Slurm backup controller in standby mode",
        f"{FAILED}Protocol authentication error",
        f"{FAILED}Socket timed out on send/recv operation",
        "sbatch: error: If munged is up, restart with --num-threads=10\n"
        'sbatch: error: Munge encode failed: Failed to access "/run/munge/munge.socket.2"',
        "Failed to run sinfo for retrieval of cluster partitions: slurm_load_partitions: "
        "Unable to contact slurm controller (connect failure)",
    ],
)
def test_limits_and_troubles_of_slurm_pass(said: str) -> None:
    assert will_pass(f"SLURM sbatch failed. The error message was '{said}'.\n    sbatch call:\n x")


@pytest.mark.parametrize(
    "said",
    [
        f"sbatch: error: QOSMaxWallDurationPerJobLimit\n{POLICY}",
        f"sbatch: error: AssocMaxCpuPerJobLimit\n{POLICY}",
        f"{FAILED}Invalid feature specification",
        f"{FAILED}Invalid account or account/partition combination specified",
        f"{FAILED}Requested node configuration is not available",
        "sbatch: error: invalid partition specified: nope",
        "x\n    sbatch call:\n        sbatch --comment 'munge, connection refused'",
    ],
)
def test_what_is_wrong_with_a_job_does_not_pass(said: str) -> None:
    assert not will_pass(said)


class Executor:
    """As much of the plugin's executor as is used; ``answers`` has what sbatch says in turn."""

    def __init__(self, answers: list[str], shortest_s: float = 0.0) -> None:
        settings = SimpleNamespace(init_seconds_before_status_checks=shortest_s)
        self.workflow = SimpleNamespace(executor_settings=settings)
        self.logger = logging.getLogger("executor")
        self._job_submission_executor = ThreadPoolExecutor(1)
        self._status_query_calls = 0
        self.answers = answers
        self.submitted: list[int] = []
        self.failed: list[str] = []
        self.cancelled = False
        self.told = threading.Event()

    def run_job(self, job: Any) -> None:
        answer = self.answers.pop(0)
        if answer == "handler":
            try:
                raise ValueError("no such account")
            except ValueError:
                job.rule.name  # noqa: B018 - a group has no rule
        if answer:
            self._report_job_error_threadsafe(SimpleNamespace(job=job), answer)
        else:
            self._report_job_submission_threadsafe(SimpleNamespace(job=job))

    def _report_job_error_threadsafe(self, job_info: Any, message: str) -> None:
        self.failed.append(message)
        self.told.set()

    def _report_job_submission_threadsafe(self, job_info: Any) -> None:
        self.submitted.append(job_info.job.jobid)
        self.told.set()

    async def check_active_jobs(self, active_jobs: list[int]) -> AsyncIterator[int]:
        if self.answers.pop(0):
            self._status_query_calls += 1
            for job in active_jobs[1:]:  # the first is reported as finished
                yield job

    def cancel(self) -> None:
        self.cancelled = True
        self.shutdown()

    def shutdown(self) -> None:
        self._job_submission_executor.shutdown()

    def submit(self) -> None:
        self._job_submission_executor.submit(self.run_job, SimpleNamespace(jobid=7))


def patient(executor: Executor, is_ending: bool = False) -> Executor:
    PatientSubmission(executor, lambda job: SimpleNamespace(job=job), lambda: is_ending)
    return executor


def test_a_refusal_that_passes_is_waited_for_and_said(caplog: pytest.LogCaptureFixture) -> None:
    executor = patient(Executor([POLICY, POLICY, ""]))
    executor.submit()
    executor.told.wait()
    assert (executor.submitted, executor.failed) == ([7], [])
    assert caplog.messages[0].startswith(
        "SLURM takes no job now; job 7 is submitted again in 0 s, and loses no attempt. sbatch: "
    )
    assert len(caplog.messages) == 2


def test_a_refusal_that_does_not_pass_is_the_jobs_own() -> None:
    executor = patient(Executor([f"{FAILED}Invalid feature specification"]))
    executor.submit()
    executor.told.wait()
    assert executor.failed == [f"{FAILED}Invalid feature specification"]


def test_what_goes_wrong_in_the_plugins_handler_of_errors_is_reported() -> None:
    executor = patient(Executor(["handler"]))
    executor.submit()
    executor.told.wait()
    assert executor.failed == ["Job submission failed with exception: no such account"]


def test_pauses_grow_as_long_as_slurm_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 1000.0
    monkeypatch.setattr(submission.time, "monotonic", lambda: now_s)
    executor = Executor([], shortest_s=20)
    waits = PatientSubmission(executor, lambda job: job, lambda: False)
    pauses = []
    for _ in range(7):
        pauses.append(waits._next_pause())
        now_s += pauses[-1]
    assert pauses == [20, 20, 40, 80, 160, LONGEST_PAUSE_S, LONGEST_PAUSE_S]
    waits.report_submission(SimpleNamespace(job=SimpleNamespace(jobid=7)))
    assert waits._next_pause() == 20


def test_a_run_that_is_to_end_waits_for_nothing() -> None:
    executor = patient(Executor([POLICY]), is_ending=True)
    executor.submit()
    executor.told.wait()
    assert executor.failed == [POLICY]


def test_who_waits_does_not_look_hung_and_submits_nothing_once_cancelled() -> None:
    before = set(psutil.Process().children())  # of other tests: multiprocessing keeps some

    def started() -> list[str]:
        return [child.name() for child in set(psutil.Process().children()) - before]

    executor = patient(Executor([POLICY, "", ""], shortest_s=10_000))
    executor.submit()
    executor.submit()  # its turn does not come
    # A child that has not begun its program yet still has the name of this process.
    wait_until(lambda: started() == ["cat"], "the pause", retried=(psutil.NoSuchProcess,))
    assert is_busy(0.0, 30.0, started())
    executor.cancel()
    assert executor.cancelled
    assert (executor.submitted, executor.failed) == ([], [])
    assert started() == []


@pytest.mark.parametrize(("answer", "left"), [("", [1, 2, 3]), ("x", [2, 3])])
def test_no_job_is_forgotten_when_the_queue_does_not_answer(answer: str, left: list[int]) -> None:
    executor = patient(Executor([answer]))

    async def check() -> list[int]:
        return [job async for job in executor.check_active_jobs([1, 2, 3])]

    assert asyncio.run(check()) == left
