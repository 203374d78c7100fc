"""Say what a run would do, why, and what it would cost; nothing is run.

python workflow/scripts/report_changes.py [--json] -- [options of snakemake]
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict

from capsynth import cli
from capsynth.files import dump_json
from capsynth.monitoring.changes import changes_of
from capsynth.monitoring.estimates import estimate
from capsynth.monitoring.plan import read_plan
from capsynth.monitoring.text import changes_text


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    parser.add_argument("options", nargs="*", help="options of snakemake, behind --")
    args = parser.parse_args(argv)
    plan = read_plan(args.options)
    changes, costs = changes_of(plan), estimate(plan)
    if args.json:
        about = {"changes": [asdict(change) for change in changes], "jobs": len(plan.jobs)}
        stages = [asdict(stage) for stage in costs.stages]
        print(dump_json({**about, "stages": stages, "wall_s": costs.wall_s, "slots": plan.slots}))
    else:
        print(changes_text(plan, changes, costs))


if __name__ == "__main__":
    sys.exit(cli.run(main))
