# Included last: all rules are known.
from importlib.metadata import version

# Most of what is replaced is no public interface: another version plans as it does, taking longer.
if version("snakemake").startswith("9.27."):
    keep_signatures()
    drop_modifiers_that_modify_nothing()
    replace_once(DAG, "update", remembering_producers)
    replace_once(DAG, "check_directory_outputs", if_one_is_in_another)
    replace_once(Job, "conda_env_spec", without_params)
    replace_once(Job, "log_info", if_seen)
    replace_once(_IOFile, "is_storage", told_from_flags)
    replace_once(JobScheduler, "_free_resources", unless_dry_run)
