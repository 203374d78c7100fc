"""Write the report's tables as CSV, Markdown, LaTeX and HTML."""

import argparse
import logging
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from capsynth import cli
from capsynth.reporting.budgets import read_budgets
from capsynth.reporting.data_notes import Images, data_notes
from capsynth.reporting.fallback_notes import fallback_notes
from capsynth.reporting.score_tables import make_tables
from capsynth.reporting.scores import read_scores
from capsynth.reporting.settings import ReportSettings
from capsynth.settings import settings_from_json
from capsynth.shares import Share, parse_share

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, fromfile_prefix_chars="@")
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--budgets", type=Path, required=True)
    parser.add_argument("--config-json", required=True, help="JSON of settings.ReportSettings")
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--class-ids", nargs="+", default=[], help="of the data set")
    parser.add_argument("--parts-per-class", type=int, default=1)
    parser.add_argument("--real", type=Path, help="folder of the shards of real images")
    parser.add_argument(
        "--training-set", nargs=3, action="append", default=[], metavar=("NAME", "FOLDER", "SHARE")
    )
    parser.add_argument(
        "--eval-set", nargs=2, action="append", default=[], metavar=("NAME", "MANIFEST")
    )
    parser.add_argument(
        "--prompts", nargs="+", action="append", default=[], metavar=("VARIANT", "PROMPTS"),
        help="a variant of captions and its files of prompts; once a variant",
    )  # fmt: skip
    args = parser.parse_args(argv)
    settings = settings_from_json(ReportSettings, args.config_json)
    training_sets: dict[str, dict[Path, float | Share]] = defaultdict(dict)
    for name, folder, share in args.training_set:
        training_sets[name][Path(folder)] = parse_share(share)
    images = Images(tuple(args.class_ids), args.parts_per_class, training_sets, args.real)
    notes = data_notes(images, {name: Path(manifest) for name, manifest in args.eval_set})
    prompts = {variant: [*map(Path, files)] for variant, *files in args.prompts}
    held = {
        name: [folder.name for folder in mix if folder.parent.name == "images"]
        for name, mix in training_sets.items()
    }
    notes += fallback_notes(prompts, held)
    for note in notes:
        log.warning(note)
    budgets = read_budgets(args.budgets)
    make_tables(read_scores(args.scores), settings, budgets, args.output_dir, notes)


if __name__ == "__main__":
    sys.exit(cli.run(main))
