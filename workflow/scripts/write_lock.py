"""See to it that everything fetched is whole, and write the lock file."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.fetching.lockfile import lock_all


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stamps", type=Path, nargs="*", default=[], help="of what was fetched")
    parser.add_argument("--output", type=Path, required=True, help="the lock file")
    args = parser.parse_args(argv)
    for line in lock_all(args.stamps, args.output):
        print(line)


if __name__ == "__main__":
    sys.exit(cli.run(main))
