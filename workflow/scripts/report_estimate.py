"""Say what a run would cost and how long it would take with how many GPUs; nothing is run.

python workflow/scripts/report_estimate.py [--recorded FOLDER] [--gpus N] -- [options of snakemake]
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from capsynth import cli
from capsynth.errors import CapsynthError
from capsynth.files import dump_json
from capsynth.monitoring.estimates import estimate, wall_seconds
from capsynth.monitoring.plan import read_plan
from capsynth.monitoring.text import estimate_text


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 8, 64, 512])
    parser.add_argument(
        "--recorded", type=Path, help="folder of a run whose recorded times count, not this one's"
    )
    parser.add_argument("options", nargs="*", help="options of snakemake, behind --")
    args = parser.parse_args(argv)
    if min(args.gpus) < 1:
        raise CapsynthError(f"--gpus {min(args.gpus)}: ask for 1 or more")
    if args.recorded and not (args.recorded / "results" / "benchmarks").is_dir():
        raise CapsynthError(
            f"{args.recorded} has no results/benchmarks; name the folder in which a run was made"
        )
    recorded = args.recorded and args.recorded.resolve()
    plan = read_plan(args.options)
    costs = estimate(plan, recorded=recorded)
    walls = {gpus: wall_seconds(plan, costs.seconds, gpus) for gpus in args.gpus}
    if args.json:
        stages = [asdict(stage) for stage in costs.stages]
        wall_s = {str(gpus): seconds for gpus, seconds in walls.items()}
        print(dump_json({"stages": stages, "wall_s": wall_s, "slots": plan.slots}))
    else:
        print(estimate_text(plan, costs, walls))


if __name__ == "__main__":
    sys.exit(cli.run(main))
