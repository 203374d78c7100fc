"""Pack the real images of one class shard."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.datasets.drawn import check_drawn
from capsynth.datasets.rows import SourceSettings
from capsynth.datasets.selection import ALL, Selection
from capsynth.packing import pack_class_shard, pack_indexed_shard
from capsynth.settings import settings_from_json
from capsynth.shards import split_shard_name
from capsynth.source_images import ImageFormat


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--folder", type=Path, help="class folder")
    where.add_argument("--rows", type=Path, help="index of the class, made by index_source")
    parser.add_argument("--source", help="JSON of rows.SourceSettings; with --rows")
    parser.add_argument("--selection", help="JSON of selection.Selection; all by default")
    parser.add_argument(
        "--max-rejected", type=float, default=1.0, help="share that may be set aside"
    )
    parser.add_argument("--shard", required=True, help="{class_id}-{part}")
    parser.add_argument("--class-index", type=int, required=True)
    parser.add_argument("--parts-per-class", type=int, required=True)
    parser.add_argument("--format", required=True, help="JSON of packing.ImageFormat")
    parser.add_argument("--source-token", required=True, help="see datasets.folder.source_token")
    parser.add_argument("--tar", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--index", type=Path, required=True, help="index of the source files")
    args = parser.parse_args(argv)
    class_id, part = split_shard_name(args.shard)
    rest = (
        class_id,
        args.class_index,
        part,
        args.parts_per_class,
        settings_from_json(ImageFormat, args.format),
        args.source_token,
        args.tar,
        args.manifest,
        args.index,
        settings_from_json(Selection, args.selection) if args.selection else ALL,
        args.max_rejected,
    )
    if args.folder is not None:
        pack_class_shard(args.folder, *rest)
        check_drawn(args.folder, args.index)
    elif args.source is None:
        parser.error("--rows needs --source")
    else:
        pack_indexed_shard(settings_from_json(SourceSettings, args.source), args.rows, *rest)


if __name__ == "__main__":
    sys.exit(cli.run(main))
