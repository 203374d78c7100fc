# A record of every run that makes something (docs/provenance.md).
from snakemake.logging import logger

from capsynth.job_log import RUN_VARIABLE


def recorded_jobs():
    """The jobs of this run as its record has them: those that make something."""
    from capsynth.provenance import Job

    return [
        Job(
            job.rule.name,
            dict(job.wildcards_dict),
            str(job.log[0]) if job.log else None,
            tuple(map(str, job.output)),
            job.attempt,
            workflow.dag.finished(job),
        )
        for job in workflow.dag.needrun_jobs(exclude_finished=False)
        if job.output
    ]


def begin_record():
    """Write the record of a run that starts; its jobs learn its name from the environment."""
    from capsynth import provenance

    os.environ.pop(RUN_VARIABLE, None)
    jobs = recorded_jobs()
    if workflow.touch or not jobs:
        return
    folders = [Path(), Path(workflow.basedir)]
    try:
        run = provenance.Run(
            command=sys.argv,
            config=config,
            executor=workflow.executor_plugin.name,
            profiles=provenance.profile_names(
                sys.argv, os.environ.get("SNAKEMAKE_PROFILE"), folders
            ),
            repository=Path(workflow.basedir),
            jobs=jobs,
            code=CODE_FILES,
        )
        os.environ[RUN_VARIABLE] = provenance.start_run(run)
    except Exception as error:  # whatever it is, a record is no reason not to run
        logger.warning(f"no record of this run is kept: {error}")


def complete_record(outcome):
    """Complete the record of this run with what its jobs did."""
    from capsynth import provenance

    if RUN_VARIABLE not in os.environ:
        return
    try:
        provenance.end_run(os.environ[RUN_VARIABLE], outcome, recorded_jobs())
    except Exception as error:  # whatever it is, a record is no reason to fail
        logger.warning(f"the record of this run stays incomplete: {error}")


onstart:
    lift_default_rate_limit()
    ask_before_slurm_forgets()
    wait_for_slurm()
    begin_recovery()
    begin_record()


onsuccess:
    complete_record("success")
    end_recovery(succeeded=True)


onerror:
    complete_record("failed")
    end_recovery(succeeded=False)
