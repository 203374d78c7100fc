"""Find results that are not, bit for bit, what their jobs wrote; --repair makes those anew.

python workflow/scripts/verify_results.py [--repair] [--json] -- [options of snakemake]
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from capsynth import cli
from capsynth.errors import CapsynthError
from capsynth.files import dump_json
from capsynth.folder_lock import locks_left
from capsynth.monitoring.plan import read_plan
from capsynth.monitoring.text import verification_text
from capsynth.verification import Verification, keep_aside, verify


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repair", action="store_true", help="make damaged files anew")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    parser.add_argument("options", nargs="*", help="options of snakemake, behind --")
    args = parser.parse_args(argv)
    found = verify()
    print(_json(found) if args.json else verification_text(found), flush=True)
    if found.damaged and args.repair:
        _make_anew([str(damage.path) for damage in found.damaged], args.options)
    elif found.damaged:
        raise CapsynthError(
            f"{len(found.damaged)} files of results are damaged; make them anew: --repair"
        )
    if found.damaged_records:
        raise CapsynthError(f"of the records of runs {found.damaged_records[0]}")


def _json(found: Verification) -> str:
    return dump_json(asdict(found) | {
        "damaged": [asdict(damage) | {"path": str(damage.path)} for damage in found.damaged],
        "without_checksum": [str(path) for path in found.without_checksum],
    })  # fmt: skip


def _make_anew(damaged: Sequence[str], options: Sequence[str]) -> None:
    """Let Snakemake make damaged files, and only them, again; what they held is kept aside.

    It is Snakemake that deletes them, once it has the lock of the folder. They are made stage by
    stage: each time all that is older is whole and has the bytes that it had, so that what lies
    between two damaged files need not be made again.

    Raises:
        CapsynthError: If the folder is locked, if it fails, or if a file is damaged still.
    """
    if locks_left(Path()):
        raise CapsynthError(
            "Snakemake's lock is on this folder, so nothing is touched: repair when the run has "
            "ended; if none is under way (one was killed), call `snakemake --unlock` first"
        )
    environment = {**os.environ}  # reading a plan sets what a workflow sets for its jobs
    plan = read_plan([*options, "--", *damaged])
    for stage in plan.by_depth(damaged):
        for name in stage:
            kept = keep_aside(Path(name))
            print(f"kept aside: {kept or f'nothing of {name}, it cannot be read'}", flush=True)
        words = ["snakemake", *options, "--rerun-incomplete", "--force", "--", *stage]
        if (code := subprocess.run(words, env=environment).returncode) != 0:
            raise CapsynthError(
                f"snakemake ended with {code} while it made {stage[0]} and {len(stage) - 1} more "
                "files of that stage; the damaged ones are in results/damaged"
            )
    if still := verify().damaged:
        raise CapsynthError(f"{still[0].path} {still[0].problem}, and {len(still) - 1} more")


if __name__ == "__main__":
    sys.exit(cli.run(main))
