# Submission: what is mended of Snakemake's plugin for SLURM (docs/decisions/slurm-plugin.md).
from importlib.metadata import version

from snakemake.jobs import GroupJob
from snakemake.logging import logger
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_logger_plugins.common import LogEvent

from capsynth.submission import PatientSubmission

# What is replaced is no public interface: other versions are left alone.
TRIED_PLUGIN = "2.8."


def wait_for_slurm():
    """Wait for a SLURM that takes no jobs now or gives no answers; say why a group failed."""
    if version("snakemake").startswith("9.27."):
        replace_once(GroupJob, "log_error", lambda _: log_error_with_reason)
    executor = slurm_executor()
    if executor is None:
        return
    plugin = version("snakemake-executor-plugin-slurm")
    if not plugin.startswith(TRIED_PLUGIN):
        logger.warning(
            f"snakemake-executor-plugin-slurm {plugin} has not been tried: jobs that SLURM does "
            "not take now fail at once; requirements.txt has the version that waits"
        )
        return
    PatientSubmission(executor, SubmittedJobInfo, lambda: workflow.scheduler._user_kill is not None)


def log_error_with_reason(group, msg=None, aux_logs=None, **kwargs):
    """Tell of a group that failed as GroupJob.log_error does, which keeps its reason to itself."""
    jobs = sorted(group.jobs, key=lambda job: job.rule.name)
    about = [job.get_log_error_info(indent=True, **kwargs) for job in jobs]
    logger.error(
        f"Error in group {group.groupid}",
        extra=dict(
            event=LogEvent.GROUP_ERROR,
            groupid=group.groupid,
            aux_logs=aux_logs or [],
            job_error_info=about,
            **kwargs,
        ),
    )
    for job in jobs:
        job.log_error(msg, indent=True)
