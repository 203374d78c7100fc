# Planning: what keeps the plan of ten thousand jobs short. Nothing here changes what is planned
# (tests/workflow/test_scaling.py compares); each is work of Snakemake whose result is known or unused.
import functools
import gc
import inspect
import os

from snakemake.dag import DAG
from snakemake.io import AnnotatedString, _IOFile
from snakemake.jobs import Job
from snakemake.resources import Resource
from snakemake.scheduling.job_scheduler import JobScheduler
from snakemake.settings.types import Quietness

# Planning makes millions of objects and hardly one that is garbage: looking for it at every 700th,
# as Python does, is a tenth of the time.
gc.set_threshold(100_000, 50, 100)


def replace_once(owner, name, make):
    """Replace an attribute of a class by ``make(attribute)``, once a process."""
    mark = f"_{name}_before_planning"
    if not hasattr(owner, mark):
        before = vars(owner)[name]
        setattr(owner, mark, before)
        setattr(owner, name, make(before))


def keep_signatures():
    """Let Snakemake look up what a function of a rule takes once, not for every job.

    It reads the attribute that its own ``overwrite_function_params`` sets; without it, it inspects
    the function each time.
    """
    functions = [Resource("any", 1).evaluate.__func__]
    for known in workflow.rules:
        resources = (getattr(value, "_evaluator", value) for value in known.resources.values())
        functions += filter(inspect.isfunction, (*known._input, *known._params, *resources))
    for function in functions:
        function._overwrite_params = inspect.signature(function).parameters


def drop_modifiers_that_modify_nothing():
    """Keep Snakemake from asking for each input how its path is to be changed, if none ever is."""
    if workflow.storage_settings.default_storage_provider:
        return
    for known in workflow.rules:
        modifier = known.input_modifier
        if modifier and not (
            modifier.prefix or modifier.modifies_prefixes or modifier.inner_modifier
        ):
            known.input_modifier = None


def remembering_producers(update):
    """Return Snakemake's method that finds the job of a file, made to find it once.

    Snakemake has a table of it, which it reads for each input of each job, and puts into it only
    the files that no job makes.
    """

    @functools.wraps(update)
    async def update_and_remember(dag, jobs, file=None, *, known_producers=None, **options):
        producer = await update(dag, jobs, file=file, known_producers=known_producers, **options)
        if file is not None and known_producers is not None:
            known_producers[file] = [producer]
        return producer

    return update_and_remember


def without_params(conda_env_spec):
    """Return the property that names a job's environment, without the job's parameters.

    They are worked out for each job to find one environment; only a function would read them.
    """

    def environment(job):
        if not callable(job.rule._conda_env):
            return job.rule.expand_conda_env(job.wildcards_dict)
        return conda_env_spec.fget(job)

    return property(environment)


def told_from_flags(is_storage):
    """Return the property that says whether a file is in a remote store, a question asked of each
    file dozens of times, without the checks of what kind of string its name is."""

    def told(file):
        name = file._file
        if type(name) is str:
            return False
        if type(name) is AnnotatedString:
            return bool(name._flags.get("storage_object"))
        return is_storage.fget(file)

    return property(told)


def if_one_is_in_another(check_directory_outputs):
    """Return the method that refuses an output in the folder that is another job's output, which
    compares paths only if there is one."""

    @functools.wraps(check_directory_outputs)
    def check_if_any(dag):
        outputs = {os.path.abspath(file) for job in dag.jobs for file in job.output}
        above = set()
        for folder in {os.path.dirname(file) for file in outputs}:
            while folder not in above:
                above.add(folder)
                folder = os.path.dirname(folder)
        if not outputs.isdisjoint(above):
            check_directory_outputs(dag)

    return check_if_any


def unless_dry_run(free_resources):
    """Return the scheduler's method that frees what a job held; in a dry run none holds anything."""

    @functools.wraps(free_resources)
    def free_if_held(scheduler, job):
        if not scheduler.dryrun:
            free_resources(scheduler, job)

    return free_if_held


def if_seen(log_info):
    """Return the method that tells of a job, which puts no text together that nobody sees.

    With --quiet rules, a dry run tells of no job.
    """

    @functools.wraps(log_info)
    def log_if_seen(job, *args, **kwargs):
        run = job.dag.workflow
        if not (run.dryrun and Quietness.RULES in (run.output_settings.quiet or ())):
            log_info(job, *args, **kwargs)

    return log_if_seen
