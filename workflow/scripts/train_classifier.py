"""Train a classifier on one training set with one recipe and seed."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.distributed import process_count
from capsynth.recipes import Recipe
from capsynth.settings import settings_from_json
from capsynth.training import ShardSource, train_classifier


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", required=True, help="JSON of recipes.Recipe")
    parser.add_argument("--class-ids", nargs="+", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--folders", nargs="+", type=Path, required=True, help="of shards")
    parser.add_argument("--fractions", nargs="+", type=float, required=True, help="one a folder")
    parser.add_argument("--shards", nargs="+", required=True, help="shards used of every folder")
    parser.add_argument("--threads", type=int, required=True, help="of all processes")
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--history", type=Path, required=True)
    args = parser.parse_args(argv)
    cli.set_threads(max(1, args.threads // process_count()))
    shards = [
        ShardSource(folder / f"{shard}.tar", folder / f"{shard}.jsonl", fraction)
        for folder, fraction in zip(args.folders, args.fractions, strict=True)
        for shard in args.shards
    ]
    recipe = settings_from_json(Recipe, args.recipe)
    train_classifier(recipe, shards, args.class_ids, args.seed, args.checkpoint, args.history)


if __name__ == "__main__":
    sys.exit(cli.run(main))
