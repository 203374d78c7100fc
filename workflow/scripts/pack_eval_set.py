"""Pack an evaluation set: all its classes in one shard."""

import argparse
import itertools
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.packing import ImageFormat, pack_evaluation_set
from capsynth.settings import settings_from_json


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="one folder a class")
    parser.add_argument("--class-ids", nargs="+", required=True)
    parser.add_argument("--format", required=True, help="JSON of packing.ImageFormat")
    parser.add_argument("--corruptions", nargs="*", default=[])
    parser.add_argument("--severities", nargs="*", type=int, default=[])
    parser.add_argument("--source-token", required=True, help="see datasets.folder.source_token")
    parser.add_argument("--tar", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--index", type=Path, required=True, help="index of the source files")
    args = parser.parse_args(argv)
    pack_evaluation_set(
        args.folder,
        args.class_ids,
        settings_from_json(ImageFormat, args.format),
        list(itertools.product(args.corruptions, args.severities)),
        args.source_token,
        args.tar,
        args.manifest,
        args.index,
    )


if __name__ == "__main__":
    sys.exit(cli.run(main))
