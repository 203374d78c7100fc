"""Take the folder for a workflow that runs whole in this job of SLURM; remove a dead one's lock.

    python workflow/scripts/take_folder.py -- snakemake ...

See profiles/slurm-single-node/job.sh, which calls it before Snakemake.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.allocation import take_folder
from capsynth.errors import CapsynthError
from capsynth.slurm import is_active
from capsynth.supervision import with_options


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("command", nargs="+", help="Snakemake's command line, behind --")
    args = parser.parse_args(argv)
    job_id = os.environ.get("SLURM_JOB_ID")
    if not job_id:
        raise CapsynthError(
            "SLURM_JOB_ID is not set: this is no job of SLURM; call snakemake itself"
        )
    if take_folder(Path.cwd(), job_id, is_active):
        print("removing the lock that a dead Snakemake left", file=sys.stderr)
        subprocess.run(with_options(args.command, "--unlock"), check=True)


if __name__ == "__main__":
    sys.exit(cli.run(main))
