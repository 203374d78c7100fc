"""Collect the scores of all runs, with intervals, from their predictions."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.errors import CapsynthError
from capsynth.reporting.estimation import collect_scores
from capsynth.reporting.scores import write_scores


def pairs_from_json(text: str, option: str) -> list[list[str]]:
    """Return the pairs of names in a JSON list, the value of an option.

    Raises:
        CapsynthError: If the text is anything else.
    """
    try:
        pairs = json.loads(text)
    except json.JSONDecodeError as error:
        raise CapsynthError(f"{option} is not JSON: {error}; got {text[:80]!r}") from error
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list) and len(pair) == 2 and all(isinstance(name, str) for name in pair)
        for pair in pairs
    ):
        raise CapsynthError(
            f'{option} must be pairs such as [["caption", "class-name"]]; got {text[:80]!r}'
        )
    return pairs


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, fromfile_prefix_chars="@")
    parser.add_argument("--predictions", type=Path, nargs="+", required=True)
    parser.add_argument("--comparisons", default="[]", help="JSON pairs of training sets: [[a, b]]")
    parser.add_argument("--ablations", default="[]", help="the same; without p values")
    parser.add_argument(
        "--outside-family",
        nargs="+",
        default=[],
        help="evaluation sets whose p values are not corrected: subsets and mixtures of others",
    )
    parser.add_argument("--draws", type=int, default=1000, help="bootstrap replicates")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args(argv)
    comparisons = pairs_from_json(args.comparisons, "--comparisons")
    ablations = pairs_from_json(args.ablations, "--ablations")
    rows = collect_scores(args.predictions, comparisons, args.draws, ablations, args.outside_family)
    write_scores(args.output, rows)


if __name__ == "__main__":
    sys.exit(cli.run(main))
