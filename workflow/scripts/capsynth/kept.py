"""Where a job keeps what stays when the run has succeeded."""

from pathlib import Path

# Behind the name of an output, of the folder of what stays of its job.
KEPT = ".kept"


def kept_folder(output: Path) -> Path:
    """Return the folder that holds what stays of a job whose first output is ``output``."""
    return output.with_name(f".{output.name}{KEPT}")


def output_of_kept(folder: Path) -> Path | None:
    """Return the output whose ``kept_folder`` a path is; None if it is none."""
    name = folder.name
    if not (name.startswith(".") and name.endswith(KEPT)):
        return None
    return folder.with_name(name[1 : -len(KEPT)])
