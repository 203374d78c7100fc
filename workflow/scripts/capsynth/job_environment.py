"""What jobs find in their environment: the Python of the workflow, no words of other launchers."""

import os
import shlex
import shutil
from collections.abc import MutableMapping
from pathlib import Path

from capsynth.files import write_if_changed

# What torchrun, accelerate, the operators of Kubernetes and job scripts tell the processes of a job
# of theirs. Left in a shell it would join trainings that do not exist, or wait for them.
LAUNCHER_VARIABLES = (
    *("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "NODE_RANK"),
    *("GROUP_RANK", "GROUP_WORLD_SIZE", "ROLE_RANK", "ROLE_NAME", "ROLE_WORLD_SIZE"),
    *("MASTER_ADDR", "MASTER_PORT", "FSDP_CPU_RAM_EFFICIENT_LOADING"),
)
# PET_NNODES and its like are options of torchrun.
LAUNCHER_PREFIXES = ("PET_", "TORCHELASTIC_", "ACCELERATE_")
# Keeps a script from importing what lies beside it; keeps a job at a prompt when it has ended.
PYTHON_VARIABLES = ("PYTHONSAFEPATH", "PYTHONINSPECT")


def prepare_environment(
    environment: MutableMapping[str, str], executable: str, folder: Path
) -> None:
    """Change the environment of jobs so that nothing in a user's shell changes what they do.

    ``python`` is from now on the interpreter ``executable``. Environments that Snakemake activates
    for a job come before it.

    Args:
        environment: What is changed.
        executable: The interpreter that runs the workflow.
        folder: Where ``python`` is put if nothing of that name lies beside the interpreter.
    """
    for name in [*environment]:
        if name in (*LAUNCHER_VARIABLES, *PYTHON_VARIABLES) or name.startswith(LAUNCHER_PREFIXES):
            del environment[name]
    own = Path(executable)
    beside = own.with_name("python")
    if not beside.exists() or not beside.samefile(own):
        # Not a link: what belongs to an interpreter is found from the path that it was started by.
        beside = folder.absolute() / "python"
        write_if_changed(beside, f'#!/bin/sh\nexec {shlex.quote(executable)} "$@"\n')
        beside.chmod(0o755)
    path = environment.get("PATH", os.defpath)
    found = shutil.which("python", path=path)
    if found is None or not Path(found).parent.samefile(beside.parent):
        environment["PATH"] = f"{beside.parent}{os.pathsep}{path}"
