"""SLURM is asked for jobs before it forgets them, by an executor like that of the plugin."""

import asyncio
from types import SimpleNamespace

import pytest

from capsynth.polling import ask_in_time

FIRST_S, LONGEST_S = 20, 180  # of the profile, and of the plugin


class Executor:
    """Waits a little longer each time, as the plugin does while nothing ends."""

    def __init__(self) -> None:
        settings = SimpleNamespace(init_seconds_before_status_checks=FIRST_S)
        self.workflow = SimpleNamespace(executor_settings=settings)
        self.next_seconds_between_status_checks: float = FIRST_S
        self.slept: list[float] = []

    async def sleep(self) -> None:
        self.slept.append(self.next_seconds_between_status_checks)
        self.next_seconds_between_status_checks = min(
            self.next_seconds_between_status_checks + 10, LONGEST_S
        )

    async def wait(self, times: int) -> None:
        for _ in range(times):
            await self.sleep()


@pytest.mark.parametrize(("remembered_s", "longest_s"), [(300, 100), (120, 40), (30, 10), (3, 2)])
def test_an_ended_job_is_seen_before_slurm_forgets_it(remembered_s: int, longest_s: int) -> None:
    executor = Executor()
    ask_in_time(executor, remembered_s)
    asyncio.run(executor.wait(30))
    assert max(executor.slept) == longest_s
    # Below three of these the plugin asks sacct, which may know nothing.
    first_s = executor.workflow.executor_settings.init_seconds_before_status_checks
    assert 1 <= first_s <= FIRST_S
    assert 3 * first_s <= max(remembered_s, 3)


@pytest.mark.parametrize("remembered_s", [None, 0, 3600])
def test_where_slurm_forgets_late_or_nobody_knows_the_plugin_decides(
    remembered_s: int | None,
) -> None:
    executor = Executor()
    ask_in_time(executor, remembered_s)
    asyncio.run(executor.wait(30))
    assert max(executor.slept) == LONGEST_S
    assert executor.workflow.executor_settings.init_seconds_before_status_checks == FIRST_S
