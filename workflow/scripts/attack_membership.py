"""Tell members from non-members by the answers of the models of one training set and recipe."""

import argparse
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.privacy.membership import Part, attack_training_set
from capsynth.privacy.results import AttackScore, CurvePoint, rows_of
from capsynth.records import write_records
from capsynth.shards import shard_name
from capsynth.shares import Share, parse_share


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, fromfile_prefix_chars="@")
    parser.add_argument("--root", type=Path, required=True, help="folder of the dataset's images")
    parser.add_argument("--training-set", required=True)
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--class-ids", nargs="+", required=True)
    parser.add_argument("--parts-per-class", type=int, required=True)
    parser.add_argument("--folders", nargs="+", type=Path, required=True, help="of its images")
    parser.add_argument(
        "--fractions", nargs="+", type=parse_share, required=True, help="one a folder"
    )
    parser.add_argument(
        "--twin", nargs=2, action="append", default=[], metavar=("IMAGES", "FOLDER")
    )
    parser.add_argument("--held-out", required=True, help="evaluation set in distribution")
    parser.add_argument(
        "--answers", nargs=3, action="append", required=True, metavar=("IMAGES", "MODEL", "FILE")
    )
    parser.add_argument("--draws", type=int, default=1000, help="bootstrap replicates")
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--curves", type=Path, required=True)
    args = parser.parse_args(argv)
    shards = [shard_name(c, part) for c in args.class_ids for part in range(args.parts_per_class)]

    def part(folder: Path, fraction: float | Share) -> Part:
        name = str(folder.relative_to(args.root))
        return Part(name, tuple(folder / f"{shard}.jsonl" for shard in shards), fraction)

    parts = [part(*pair) for pair in zip(args.folders, args.fractions, strict=True)]
    shares = {part.name: part.fraction for part in parts}
    twins = {images: part(Path(folder), shares[images]) for images, folder in args.twin}
    answers: dict[str, dict[str, Path]] = defaultdict(dict)
    for images, model, file in args.answers:
        answers[images][model] = Path(file)
    found = attack_training_set(parts, twins, answers, args.held_out, args.draws)
    scores, points = rows_of(args.root.name, args.training_set, args.recipe, found)
    write_records(args.scores, AttackScore, sorted(scores))
    write_records(args.curves, CurvePoint, sorted(points))


if __name__ == "__main__":
    sys.exit(cli.run(main))
