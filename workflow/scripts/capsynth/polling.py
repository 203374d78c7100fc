"""How often SLURM is asked for the jobs of a run: before it forgets those that have ended.

SLURM shows an ended job for ``MinJobAge`` seconds. Snakemake's plugin asks every 180 s while none
ends, and waits without end for a job that it never saw end; where ``MinJobAge`` is less than three
of its first pauses it asks ``sacct`` instead, which a cluster without accounting cannot answer. Its
executor is handed in: nothing here imports Snakemake.
"""

from typing import Any

LOOKS = 3  # at a job that has ended, before it is forgotten: one may fail, one may come late
SHORTEST_PAUSE_S = 2.0


def ask_in_time(executor: Any, remembered_s: float | None) -> None:
    """Make the executor of the SLURM plugin ask for its jobs before SLURM forgets them.

    Args:
        executor: The executor, which asks ``squeue``.
        remembered_s: How long SLURM shows jobs that have ended; 0 if it never forgets them, None if
            nobody knows.
    """
    if not remembered_s:
        return
    longest_s = max(SHORTEST_PAUSE_S, remembered_s / LOOKS)
    settings = executor.workflow.executor_settings
    # Whole seconds; three of them are the plugin's own bound for squeue.
    settings.init_seconds_before_status_checks = min(
        settings.init_seconds_before_status_checks, max(1, int(remembered_s / LOOKS))
    )
    sleep = executor.sleep

    async def sleep_less() -> None:
        executor.next_seconds_between_status_checks = min(
            executor.next_seconds_between_status_checks, longest_s
        )
        await sleep()

    executor.sleep = sleep_less
