"""Run an experiment at several values of one key of its configuration; see docs/sweeps.md.

    python workflow/scripts/run_sweep.py config/context-bias.yaml --cores 2

Called again after a stop it goes on: what is finished is not made again.
"""

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from functools import reduce
from pathlib import Path

from capsynth import cli
from capsynth.files import write_if_changed
from capsynth.sweeps import (
    config_text,
    join_scores,
    merge,
    plan_runs,
    read_sweep,
    run_command,
    take_lock,
)
from capsynth.yaml_files import read_yaml

log = logging.getLogger(__name__)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; ends the process with Snakemake's exit code if that is not 0."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sweep", type=Path, help="YAML: the key, its values, overrides")
    parser.add_argument(
        "--config",
        type=Path,
        nargs="+",
        default=[Path("config.yaml")],
        help="what is swept; each further file is put over those before it",
    )
    parser.add_argument("--cores", type=int, default=max(2, os.cpu_count() or 1))
    parser.add_argument(
        "--dry-run", action="store_true", help="write the configurations and say what would run"
    )
    args = parser.parse_args(argv)
    sweep = read_sweep(args.sweep)
    runs = plan_runs(sweep, reduce(merge, map(read_yaml, args.config)))
    root = Path("results/sweeps") / args.sweep.stem
    lock = take_lock(root / ".lock")
    for run in runs:
        text = config_text(run, root / run.name, (*args.config, args.sweep))
        write_if_changed(root / run.name / "config.yaml", text)
    for number, run in enumerate(runs, 1):
        # The lock of the sweep does for Snakemake's own, which would outlive a kill.
        command = ["snakemake", "--directory", f"{root / run.name}", "--cores", f"{args.cores}"]
        command += ["--rerun-incomplete", "--nolock"]
        command += ["--dry-run", "--quiet", "rules"] if args.dry_run else []
        what = f"{sweep.key} = {run.name}"
        log.info("%s (%d of %d): %s", what, number, len(runs), " ".join(command))
        if exit_code := run_command(command, lock):
            log.error(
                "%s: Snakemake ended with exit code %d; its log is in %s. Mend the cause and call "
                "run_sweep again: what is finished is not made again",
                what,
                exit_code,
                root / run.name / ".snakemake/log",
            )
            sys.exit(exit_code)
    if args.dry_run:
        return
    scores, figures = root / "scores.csv", [root / "accuracy.png", root / "accuracy.svg"]
    join_scores(sweep.key, [(r.name, root / r.name / "results/scores.csv") for r in runs], scores)
    from capsynth.reporting.sweep_figure import plot_sweep, read_sweep_scores

    config = runs[0].config
    training_sets = list(config["training_sets"])
    fitted = config["report"].get("calibration_set")  # which is not reported
    held_out = config.get("learning_curves", {}).get("eval_set")  # nor is this one
    eval_sets = [
        name
        for name, entry in config["eval_sets"].items()
        if name not in (fitted, held_out) and not entry.get("unknown")  # there is no accuracy
    ]
    plot_sweep(read_sweep_scores(scores), training_sets, eval_sets, figures)
    print(*(scores, *figures), sep="\n")


if __name__ == "__main__":
    sys.exit(cli.run(main))
