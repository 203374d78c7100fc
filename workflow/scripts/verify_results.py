"""Find results that are not, bit for bit, what their jobs wrote; --repair makes those anew.

python workflow/scripts/verify_results.py [--repair] [--json] -- [options of snakemake]
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict

from capsynth import cli
from capsynth.errors import CapsynthError
from capsynth.files import dump_json
from capsynth.monitoring.text import verification_text
from capsynth.verification import Verification, set_aside, stages, verify


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repair", action="store_true", help="make damaged files anew")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    parser.add_argument("options", nargs="*", help="options of snakemake, behind --")
    args = parser.parse_args(argv)
    found = verify()
    print(_json(found) if args.json else verification_text(found))
    if not found.damaged:
        return
    if not args.repair:
        raise CapsynthError(
            f"{len(found.damaged)} files of results are damaged; make them anew: --repair"
        )
    _make_anew(found, args.options)


def _json(found: Verification) -> str:
    return dump_json(asdict(found) | {
        "damaged": [asdict(damage) | {"path": str(damage.path)} for damage in found.damaged],
        "without_checksum": [str(path) for path in found.without_checksum],
    })  # fmt: skip


def _make_anew(found: Verification, options: Sequence[str]) -> None:
    """Move damaged files away and let Snakemake make them, and only them, again.

    Raises:
        CapsynthError: If it fails, or a file is damaged still.
    """
    for stage in stages(found.damaged):
        for path in set_aside(stage):
            print(f"kept aside: {path}", flush=True)
        targets = [str(damage.path) for damage in stage]
        words = ["snakemake", *options, "--rerun-incomplete", "--", *targets]
        if (code := subprocess.run(words).returncode) != 0:
            raise CapsynthError(
                f"snakemake ended with {code} while it made {targets[0]} and {len(targets) - 1} "
                "more files of that stage; the damaged ones are in results/damaged"
            )
    if still := verify().damaged:
        raise CapsynthError(f"{still[0].path} {still[0].problem}, and {len(still) - 1} more")


if __name__ == "__main__":
    sys.exit(cli.run(main))
