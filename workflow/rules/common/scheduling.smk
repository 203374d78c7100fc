# Scheduling: what keeps the cost of a job flat in runs of thousands, and loses none of them.
from capsynth.polling import ask_in_time


def lift_default_rate_limit():
    """Drop Snakemake's default limit of 100 submissions a second; one that was asked for stays.

    With a limit each pass of the scheduler sets a timer for another one, and each job that ends
    begins one more such chain (snakemake/snakemake#3744): n jobs cost n² passes. `jobs` and `cores`
    limit what runs at once.
    """
    limit = workflow.scheduling_settings.max_jobs_per_timespan
    if limit and (limit.max_jobs, limit.timespan) == (100, 1):
        workflow.scheduler.job_rate_limiter = None


def slurm_executor():
    """The executor of the SLURM plugin if this run submits through it; a look at a run does not."""
    executor = workflow.scheduler._executor
    return executor if type(executor).__module__ == "snakemake_executor_plugin_slurm" else None


def ask_before_slurm_forgets():
    """Ask SLURM for the jobs of this run before it forgets those that have ended."""
    executor = slurm_executor()
    if executor is None:
        return
    from snakemake_executor_plugin_slurm.job_status_query import get_min_job_age

    if executor.get_status_command() == "squeue":
        ask_in_time(executor, get_min_job_age())
