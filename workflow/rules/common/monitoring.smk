# What a run would do and how far it is: the command whose run is looked at.
import shlex

from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry

# Targets that look at a run and are none.
LOOKS = {"changed", "estimate", "status", "verify"}


def looking_only(wildcards):
    """No inputs; keeps Snakemake from doing harm to a run that is under way, if this is none.

    It would remove all locks of the folder at its end, whoever set them. And it would load the
    executor of the profile, though there is no job for it: SLURM's removes empty folders of logs
    when it ends, also that of a job that waits in the queue, which then cannot start.
    """
    if set(workflow.dag_settings.targets) <= LOOKS:
        workflow.persistence.lock = workflow.persistence.noop
        if not workflow.local_exec:
            here = ExecutorPluginRegistry().get_plugin("local")
            workflow.executor_plugin.executor = here.executor
    return []


def calling_options(wildcards):
    """The options of the command that called us that have a say in what a run does.

    Paths are seen from the working directory, which is not where the command was typed if it has
    a --directory. Resources come as Snakemake hands them to its own jobs.
    """
    settings = workflow.config_settings
    resources = workflow.resource_settings
    ancient = workflow.workflow_settings.consider_ancient
    words = ["--snakefile", os.path.relpath(workflow.main_snakefile)]
    if settings.configfiles:
        words += ["--configfile", *map(os.path.relpath, settings.configfiles)]
    if settings.replace_workflow_config:
        words += ["--replace-workflow-config"]
    if settings.config_args:
        words += ["--config", *settings.config_args]
    if ancient:
        words += ["--consider-ancient"]
        words += [f"{rule}={','.join(map(str, names))}" for rule, names in ancient.items()]
    words += ["--rerun-triggers", *(str(trigger) for trigger in workflow.rerun_triggers)]
    words += ["--max-checksum-file-size", str(workflow.dag_settings.max_checksum_file_size)]
    words += ["--persistence-backend", str(workflow.workflow_settings.persistence_backend)]
    if workflow.deployment_settings.deployment_method:
        methods = workflow.deployment_settings.deployment_method
        words += ["--software-deployment-method", *map(str, methods)]
    if workflow.local_exec:
        words += ["--cores", str(resources.cores)]
    else:
        words += ["--executor", workflow.executor_plugin.name, "--jobs", str(resources.nodes)]
    quoted = [shlex.join(words), *workflow.spawned_job_args_factory.get_set_resources_args()]
    return " ".join(quoted)
