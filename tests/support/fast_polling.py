"""Snakemake that asks SLURM for its jobs every second; a stand-in for ``snakemake`` in tests.

The plugin waits 40 s before it first asks, then longer each time up to 180 s, and no option caps
that: right for a controller that thousands of users share, and a long wait for a test. So are the
five seconds of the profile between two questions.
"""

import asyncio
import sys

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

SECONDS = 1.0


async def sleep(executor: RemoteExecutor) -> None:
    """Wait between two rounds of questions."""
    await asyncio.sleep(SECONDS)


if __name__ == "__main__":
    RemoteExecutor.sleep = sleep
    main(["--max-status-checks-per-second", "50", *sys.argv[1:]])
