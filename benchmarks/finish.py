"""Make a run look finished, without running it: python -m benchmarks.finish OPTIONS OF SNAKEMAKE.

Every file that a job of the plan would make is there, empty, and has Snakemake's record.
"""

import asyncio
import os
import sys
import time
from pathlib import Path
from typing import Any

from snakemake import cli
from snakemake.api import SnakemakeApi
from snakemake.settings.types import (
    ConfigSettings,
    DAGSettings,
    ExecutionSettings,
    OutputSettings,
    Quietness,
    ResourceSettings,
)


async def finish(workflow: Any) -> None:
    """Make the outputs of all jobs, in the order in which they would run, and record them."""
    now = time.time()
    for level, jobs in enumerate(workflow.dag.toposorted()):
        for job in jobs:
            if job.rule.norun:
                continue
            for output in map(Path, map(str, job.output)):
                output.parent.mkdir(parents=True, exist_ok=True)
                output.touch()
                # What is made later is younger.
                os.utime(output, (now + level, now + level))
            await workflow.persistence.finished(job)


def main() -> None:
    """Run the command line in the working directory."""
    _, args = cli.parse_args(sys.argv[1:])
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL}, dryrun=True)) as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=1),
            config_settings=ConfigSettings(
                configfiles=args.configfile, replace_workflow_config=True
            ),
            snakefile=args.snakefile,
        )
        settings = DAGSettings(targets=args.targets, forceall=True)
        inner = workflow.dag(dag_settings=settings).workflow_api._workflow
        inner.execution_settings = ExecutionSettings()
        inner._prepare_dag(forceall=True, ignore_incomplete=True, lock_warn_only=True)
        inner._build_dag()
        asyncio.run(finish(inner))


if __name__ == "__main__":
    main()
