"""What Snakemake would do with a configuration, found out in this process: a second each."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakemake.api import SnakemakeApi
from snakemake.settings.types import (
    ConfigSettings,
    DAGSettings,
    OutputSettings,
    Quietness,
    ResourceSettings,
)


@dataclass(frozen=True)
class PlannedJob:
    """A job as it would run.

    Attributes:
        rule: Its rule.
        command: Its shell command with its params filled in.
        inputs: Its input files, sorted.
        outputs: Its output files and folders, in the order of its rule.
        logs: Its log files.
        needs: Its threads and resources.
    """

    rule: str
    command: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    logs: tuple[str, ...]
    needs: str


def plan(
    folder: Path,
    *configs: Path,
    targets: Collection[str] = ("all",),
    attempt: int = 1,
    cores: int = 1,
) -> set[PlannedJob]:
    """Return all jobs of a configuration, whether they are done or not.

    Args:
        folder: A checkout, and the working directory.
        configs: Configuration files, later ones over earlier ones.
        targets: What is asked for.
        attempt: Which attempt of each job this is; a retry may need more.
        cores: How many a job gets at most.
    """
    settings = DAGSettings(targets={*targets}, forceall=True)
    with _workflow(folder, configs, cores, settings) as inner:
        inner._prepare_dag(forceall=True, ignore_incomplete=True, lock_warn_only=True)
        inner._build_dag()
        for job in inner.dag.jobs:
            job.attempt = attempt
        return {
            PlannedJob(
                job.rule.name,
                job.shellcmd or "",
                tuple(sorted(map(str, job.input))),
                tuple(map(str, job.output)),
                tuple(map(str, job.log)),
                f"{job.threads} {sorted(job.resources.items())}",
            )
            for job in inner.dag.jobs
        }


def rules_that_ask(folder: Path, resource: str) -> list[str]:
    """Return the rules of a checkout that name a resource, needed or not."""
    with _workflow(folder, (), 1, DAGSettings()) as inner:
        return [rule.name for rule in inner.rules if resource in rule.resources]


@contextmanager
def _workflow(
    folder: Path, configs: Collection[Path], cores: int, settings: DAGSettings
) -> Iterator[Any]:
    """Yield Snakemake's workflow of a checkout, with its rules read."""
    with SnakemakeApi(OutputSettings(quiet={Quietness.ALL}, dryrun=True)) as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=cores),
            config_settings=ConfigSettings(
                configfiles=list(configs), replace_workflow_config=bool(configs)
            ),
            snakefile=folder / "Snakefile",
            workdir=folder,
        )
        yield workflow.dag(dag_settings=settings).workflow_api._workflow
