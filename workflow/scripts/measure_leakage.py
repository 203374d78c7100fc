"""Measure how close synthetic images come to the real images behind them."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.privacy.leakage import Shards, measure_leakage
from capsynth.privacy.results import Leakage
from capsynth.records import write_records
from capsynth.shards import shard_name


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, fromfile_prefix_chars="@")
    parser.add_argument("--results", type=Path, required=True, help="folder of all images")
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--class-ids", nargs="+", required=True)
    parser.add_argument("--parts-per-class", type=int, required=True)
    parser.add_argument("--variants", nargs="+", required=True)
    parser.add_argument("--held-out", required=True, help="evaluation set in distribution")
    parser.add_argument("--space", help="name of the feature extractor; without it, pixels alone")
    parser.add_argument("--draws", type=int, default=1000, help="bootstrap replicates")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(argv)
    names = [shard_name(c, part) for c in args.class_ids for part in range(args.parts_per_class)]

    def shards(places: Sequence[str]) -> Shards:
        stems = [args.results / place for place in places]
        features = []
        if args.space is not None:
            folder = args.results / "features" / args.space
            features = [folder / f"{place}.parquet" for place in places]
        images = [(Path(f"{stem}.tar"), Path(f"{stem}.jsonl")) for stem in stems]
        return Shards(tuple(images), tuple(features))

    def drawn(variant: str) -> Shards:
        return shards([f"{args.dataset}/images/{variant}/{name}" for name in names])

    rows = measure_leakage(
        args.dataset,
        shards([f"{args.dataset}/real/{name}" for name in names]),
        shards([f"eval_sets/{args.held_out}"]),
        {variant: drawn(variant) for variant in args.variants},
        args.space,
        args.draws,
    )
    write_records(args.output, Leakage, sorted(rows))


if __name__ == "__main__":
    sys.exit(cli.run(main))
