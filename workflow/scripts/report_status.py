"""Say how far a run is: what is done, runs, failed and is owed; nothing is run.

python workflow/scripts/report_status.py [--json] -- [options of snakemake]
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict

from capsynth import cli
from capsynth.files import dump_json
from capsynth.monitoring.plan import read_plan
from capsynth.monitoring.status import run_status
from capsynth.monitoring.text import status_text


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    parser.add_argument("options", nargs="*", help="options of snakemake, behind --")
    args = parser.parse_args(argv)
    plan = read_plan(args.options)
    status = run_status(plan)
    print(dump_json(asdict(status)) if args.json else status_text(plan, status))


if __name__ == "__main__":
    sys.exit(cli.run(main))
