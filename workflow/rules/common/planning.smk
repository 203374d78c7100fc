# Planning: what keeps the plan of ten thousand jobs short.
import gc
import inspect

from snakemake.jobs import Job
from snakemake.resources import Resource
from snakemake.settings.types import Quietness

# Planning makes millions of objects and hardly one that is garbage: looking for it at every 700th,
# as Python does, is a tenth of the time.
gc.set_threshold(100_000, 50, 100)


def keep_signatures():
    """Let Snakemake look up what a function of a rule takes once, not for every job.

    It reads the attribute that its own ``overwrite_function_params`` sets; without it, it inspects
    the function each time, which is a sixth of the time.
    """
    functions = [Resource("any", 1).evaluate.__func__]
    for known in workflow.rules:
        resources = (getattr(value, "_evaluator", value) for value in known.resources.values())
        functions += filter(inspect.isfunction, (*known._input, *known._params, *resources))
    for function in functions:
        function._overwrite_params = inspect.signature(function).parameters


def leave_out_what_nobody_sees():
    """Keep a dry run with --quiet rules from putting together the text of every job.

    Snakemake does so, and then does not print it: a quarter of the time.
    """
    log_info = Job.log_info

    def log_if_seen(job, *args, **kwargs):
        if not (workflow.dryrun and Quietness.RULES in (workflow.output_settings.quiet or ())):
            log_info(job, *args, **kwargs)

    if log_info.__name__ != log_if_seen.__name__:
        Job.log_info = log_if_seen


leave_out_what_nobody_sees()
