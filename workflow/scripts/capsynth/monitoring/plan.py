"""The plan of a run, asked of Snakemake in this process; the only module that imports Snakemake.

Part of what it asks is no public interface of Snakemake: versions that were not tried are refused.
"""

import contextlib
import functools
import io
import itertools
import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from capsynth.errors import CapsynthError
from capsynth.files import read_json
from capsynth.written_inputs import EDITED, is_code, written_name

TRIED = (9, 27)


@dataclass(frozen=True)
class Reasons:
    """Why a job is owed, as far as it has reasons of its own.

    Attributes:
        forced: Whether the command forces it.
        incomplete: Whether it left an output when it was cut off.
        missing: Outputs that do not exist.
        never: Those of them that Snakemake has no record of.
        made_before: Whether Snakemake has a record of an earlier run of it.
        updated: Names of inputs, code aside, that hold something else, by file.
        modules: Files of its code that changed since then; None if none did, empty if it is not
            known which did, as of code that was edited while the job ran and put back.
        inputs_gone: Inputs of that run that it has no more.
        inputs_new: Inputs that it did not have then.
        params_before: Python expressions of its params at that run that are none of today's.
        params_now: Today's params by name that are none of those.
        command_changed: Whether the shell command of the rule is another.
        software_changed: Whether its environment is another.
        follows: Rules whose jobs run and make what it reads.
    """

    forced: bool
    incomplete: bool
    missing: tuple[str, ...]
    never: tuple[str, ...]
    made_before: bool
    updated: Mapping[str, str]
    modules: tuple[str, ...] | None
    inputs_gone: tuple[str, ...]
    inputs_new: tuple[str, ...]
    params_before: tuple[str, ...]
    params_now: Mapping[str, Any]
    command_changed: bool
    software_changed: bool
    follows: tuple[str, ...]


@dataclass(frozen=True)
class PlannedJob:
    """A job of the configuration.

    Attributes:
        rule: Its rule.
        wildcards: Values by name.
        inputs: Files it reads.
        outputs: Files it makes.
        log: Its log.
        benchmark: Where its time is recorded.
        threads: Threads it gets.
        gpus: GPUs it asks for.
        reasons: Why it is owed; None if it is done.
        needs: Positions in the plan of the owed jobs that it waits for.
        started: When Snakemake started or submitted it, seconds since the epoch; None if it has
            not, or if it ended.
        is_shielded: Whether its code is another than at its run, which the command ignores.
    """

    rule: str
    wildcards: Mapping[str, str]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    log: str | None
    benchmark: str | None
    threads: int
    gpus: int
    reasons: Reasons | None
    needs: tuple[int, ...]
    started: float | None
    is_shielded: bool


@dataclass(frozen=True)
class Plan:
    """All jobs of a configuration, done and owed.

    Attributes:
        rules: Rules in the order of the workflow.
        jobs: The jobs, those of one rule together.
        slots: Jobs, or here threads, that the command runs at once.
        is_local: Whether ``slots`` are threads of this machine.
    """

    rules: tuple[str, ...]
    jobs: tuple[PlannedJob, ...]
    slots: int
    is_local: bool

    def by_depth(self, outputs: Iterable[str]) -> list[list[str]]:
        """Return outputs of its jobs in lists, those first that others may be made from."""
        makers = {output: job for job in self.jobs for output in job.outputs}

        @functools.cache
        def depth(output: str) -> int:
            inputs = makers[output].inputs if output in makers else ()
            return 1 + max(map(depth, inputs), default=0)

        ordered = sorted(outputs, key=lambda output: (depth(output), output))
        return [list(group) for _, group in itertools.groupby(ordered, key=depth)]

    @property
    def owed(self) -> list[PlannedJob]:
        """The jobs that a run would do."""
        return [job for job in self.jobs if job.reasons is not None]


def read_plan(options: Sequence[str]) -> Plan:
    """Return what ``snakemake`` with ``options`` would do; nothing is run, locked or recorded.

    Args:
        options: As they are typed; those that have no say in what is to be done are ignored.

    Raises:
        CapsynthError: If this Snakemake was not tried, or it refuses the configuration.
    """
    found = version("snakemake")
    if not TRIED <= tuple(int(part) for part in found.split(".")[:2]) < (10, 0):
        raise CapsynthError(
            f"plans are read from Snakemake {TRIED[0]}.{TRIED[1]} to 9.x, this one is {found}; "
            "install the version of requirements.txt, or use `snakemake -n`"
        )
    from snakemake import cli
    from snakemake.api import SnakemakeApi
    from snakemake.settings import types

    said = io.StringIO()
    try:
        # The names of the profiles, at each call; and what is wrong with an option.
        with contextlib.redirect_stderr(said):
            _, args = cli.parse_args([*options])
    except SystemExit:
        raise CapsynthError(said.getvalue().strip().rpartition("\n")[2]) from None
    methods = set(args.software_deployment_method)
    methods |= {types.DeploymentMethod.CONDA} if args.use_conda else set()
    methods |= {types.DeploymentMethod.APPTAINER} if args.use_apptainer else set()
    output = types.OutputSettings(
        quiet={types.Quietness.ALL}, dryrun=True, log_level_override=logging.ERROR
    )
    try:
        with SnakemakeApi(output) as api:
            workflow = api.workflow(
                resource_settings=types.ResourceSettings(
                    cores=args.cores or os.cpu_count(),
                    nodes=args.jobs,
                    max_threads=args.max_threads,
                    resources=args.resources,
                    overwrite_threads=args.set_threads,
                    overwrite_resources=args.set_resources,
                    default_resources=args.default_resources,
                ),
                config_settings=types.ConfigSettings(
                    config=cli.parse_config(args.config),
                    configfiles=args.configfile,
                    config_args=args.config,
                    replace_workflow_config=args.replace_workflow_config,
                ),
                workflow_settings=types.WorkflowSettings(
                    consider_ancient=args.consider_ancient,
                    persistence_backend=args.persistence_backend,
                    persistence_backend_db_url=args.persistence_backend_db_url,
                ),
                deployment_settings=types.DeploymentSettings(
                    deployment_method=methods,
                    conda_prefix=args.conda_prefix,
                    apptainer_prefix=args.apptainer_prefix,
                ),
                snakefile=args.snakefile,
                workdir=args.directory,
            )
            dag = workflow.dag(
                types.DAGSettings(
                    targets=args.targets,
                    forcetargets=args.force,
                    forceall=args.forceall,
                    forcerun=args.forcerun,
                    until=args.until,
                    omit_from=args.omit_from,
                    force_incomplete=True,
                    rerun_triggers=args.rerun_triggers,
                    max_checksum_file_size=args.max_checksum_file_size,
                )
            )
            inner = dag.workflow_api._workflow
            inner._prepare_dag(
                forceall=args.forceall, ignore_incomplete=False, lock_warn_only=True, nolock=True
            )
            # What an earlier dry run kept is for runs with --trust-io-cache.
            inner.persistence.drop_iocache = lambda: None
            inner._build_dag()
            return _plan_of(inner, args)
    except Exception as error:
        if not type(error).__module__.startswith("snakemake"):
            raise
        raise CapsynthError(str(error)) from error


def _plan_of(workflow: Any, args: Any) -> Plan:
    dag = workflow.dag
    rules = tuple(rule.name for rule in workflow.rules)
    rank = {name: place for place, name in enumerate(rules)}
    jobs = [job for job in dag.jobs if not job.rule.norun]
    jobs.sort(key=lambda job: (rank[job.rule.name], tuple(job.wildcards)))
    places = {job: place for place, job in enumerate(jobs)}
    keys = [str(file) for job in jobs for file in job.output]
    started = workflow.persistence._filter_incomplete_keys(keys)
    shielded = {rule for rule, inputs in args.consider_ancient.items() if "code" in inputs}
    is_local = args.executor in (None, "local")
    slots = (args.cores or args.jobs) if is_local else args.jobs
    return Plan(
        rules,
        tuple(_planned(workflow, job, places, started, shielded) for job in jobs),
        slots or os.cpu_count() or 1,
        is_local,
    )


def _planned(
    workflow: Any, job: Any, places: Mapping[Any, int], started: set[str], shielded: set[str]
) -> PlannedJob:
    dag, persistence = workflow.dag, workflow.persistence
    outputs = tuple(map(str, job.output))
    is_owed = dag.needrun(job)
    marks = [persistence._get_recorded_starttime(key) for key in outputs if key in started]
    return PlannedJob(
        job.rule.name,
        dict(job.wildcards.items()),
        tuple(map(str, job.input)),
        outputs,
        str(job.log[0]) if job.log else None,
        str(job.benchmark) if job.benchmark else None,
        int(job.threads),
        gpus_of(job.resources),
        _reasons(dag, persistence, job, outputs, bool(marks)) if is_owed else None,
        tuple(places[other] for other in dag.dependencies[job] if dag.needrun(other)),
        min(marks) if marks else None,
        not is_owed and job.rule.name in shielded and bool(_code_before(persistence, job)),
    )


def gpus_of(resources: Mapping[str, Any]) -> int:
    """Return the GPUs that resources ask for: ``gpu: 1``, or SLURM's ``gres: gpu:a100:2``."""
    gres = re.search(r"\bgpu(?::[^:,]+)*?:(\d+)", str(resources.get("gres", "")))
    number = resources.get("gpu") or (gres[1] if gres else 0)
    return int(number) if str(number).isdigit() else 0


def _reasons(
    dag: Any, persistence: Any, job: Any, outputs: Sequence[str], is_started: bool
) -> Reasons:
    reason = dag.reason(job)
    missing = tuple(file for file in outputs if not os.path.exists(file))
    never = {str(file) for file in job.output if not persistence.metadata(file)}
    is_incomplete = is_started and len(missing) < len(outputs)
    records = [record for file in job.output if (record := persistence.metadata(file))]
    inputs = set(map(str, job.input))
    # Snakemake looks for no further reason where it has one, and behind jobs that run.
    recorded = set(records[0].input or inputs) if records else inputs
    gone, new = recorded - inputs, inputs - recorded
    made = set(map(str, reason.updated_input_run))
    updated = {str(file) for file in reason.updated_input} - made
    # Of what the workflow itself writes, other content is a file of another name.
    updated |= {file for file in new if written_name(file) in {*map(written_name, gone)} - {None}}
    named = {
        str(file): name
        for name, files in job.input.items()
        for file in ([files] if isinstance(files, str) else files)
        if str(file) in updated
    }
    follows = {
        other.rule.name
        for other, files in dag.dependencies[job].items()
        if dag.needrun(other) and not reason.updated_input_run.isdisjoint(files)
    }
    params = persistence.params_changed(job)
    return Reasons(
        bool(reason.forced) and not is_incomplete,
        is_incomplete,
        missing,
        tuple(file for file in missing if file in never),
        bool(records),
        {file: name for file, name in named.items() if name != "code"},
        _changed_modules(persistence, job) or (() if "code" in named.values() else None),
        tuple(sorted(file for file in gone if written_name(file) is None)),
        tuple(sorted(file for file in new if written_name(file) is None)),
        tuple(sorted(params.only_old)),
        {name: value for name, value in job.params.items() if repr(value) in params.only_new},
        bool(records) and any(persistence.code_changed(job)),
        bool(records) and any(persistence.software_stack_changed(job)),
        tuple(sorted(follows)),
    )


def _changed_modules(persistence: Any, job: Any) -> tuple[str, ...] | None:
    """Return the files of a job's code that are others than at its run; None if none counts."""
    before = _code_before(persistence, job)
    if not before or job.input.code.is_ancient:
        return None
    digests = Path(before[0].removesuffix(EDITED))
    if len(before) > 1 or not digests.exists():
        return ()
    old, new = read_json(digests), read_json(Path(job.input.code))
    return tuple(sorted(file for file in old.keys() | new.keys() if old.get(file) != new.get(file)))


def _code_before(persistence: Any, job: Any) -> list[str]:
    """Return the code digests that a job was made with, if they are others than now."""
    if not hasattr(job.input, "code"):
        return []
    records = [record for file in job.output if (record := persistence.metadata(file))]
    read = {file for record in records for file in record.input or () if is_code(file)}
    return sorted(read - {str(job.input.code)})
