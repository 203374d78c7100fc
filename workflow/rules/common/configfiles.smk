# Comes before `configfile:`. Snakemake tells the jobs of a cluster which files to put over
# config.yaml, but not --replace-workflow-config; their environment tells them.
import os
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

# Snakemake takes what stands in braces for names, in the paths of environments and reports too.
if {"{", "}"} & {*workflow.basedir}:
    raise WorkflowError(
        f"{workflow.basedir}: Snakemake takes braces in the path of a workflow for names of its own; "
        "move the checkout, or rename the folder"
    )

# Seen from the working directory, which is the checkout itself unless --directory says otherwise.
SCRIPTS = os.path.relpath(Path(workflow.basedir) / "workflow" / "scripts")
sys.path.insert(0, os.path.abspath(SCRIPTS))

from capsynth.config_sources import ConfigSources
from capsynth.errors import CapsynthError
from capsynth.working_folder import check_folder

REPLACE_VARIABLE = "CAPSYNTH_REPLACE_CONFIG"

if not workflow.is_main_process:
    workflow.config_settings.replace_workflow_config = REPLACE_VARIABLE in os.environ
elif workflow.config_settings.replace_workflow_config:
    os.environ[REPLACE_VARIABLE] = "1"
else:
    os.environ.pop(REPLACE_VARIABLE, None)


def profile_files():
    """The files of the profiles that Snakemake was started with."""
    from snakemake.cli import get_profile_dir

    from capsynth.provenance import profile_names

    typed_in, here = Path(workflow.rundir), Path(workflow.basedir)
    variable = os.environ.get("SNAKEMAKE_PROFILE")
    for name in profile_names(sys.argv, variable, [typed_in, here]):
        known = (
            typed_in / name,
            typed_in / "profiles" / name,
            here / name,
            here / "profiles" / name,
        )
        path = next((path for path in known if path.exists()), name)
        if found := get_profile_dir(str(path)):
            yield found[1]


def config_sources():
    """What Snakemake is going to read, looked at first: its loader takes what says something else.

    Raises:
        WorkflowError: If a file cannot be read, or this folder is not the user's to work in.
    """
    base = Path("config.yaml")
    settings = workflow.config_settings
    files = [base, *map(Path, settings.configfiles)]
    try:
        if workflow.is_main_process:
            check_folder(Path.cwd())
        return ConfigSources(
            files if base.exists() else files[1:],
            settings.config_args or (),
            replaces=settings.replace_workflow_config and base.exists(),
            profiles=profile_files() if workflow.is_main_process else (),
        )
    except CapsynthError as error:
        raise WorkflowError(str(error)) from None


SOURCES = config_sources()
