"""Where the CPU time of `make demo` goes: python -m benchmarks.demo [FOLDER].

Clones the commit that is checked out into FOLDER (by default one that goes again), runs the demo
there on this checkout's environment, and prints a table: the stages that run a model, those that
do not, and what is no stage: planning, the warm server's imports, Snakemake's report.
"""

import argparse
import contextlib
import os
import resource
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

from capsynth import provenance

ROOT = Path(__file__).resolve().parents[1]
# Rules whose time is that of a model, but for what docs/speed.md says of each stage.
OF_MODELS = {
    "caption_images",
    "generate_images",
    "train_classifier",
    "train_reference",
    "evaluate_classifier",
    "extract_features",
    "judge_images",
    "score_members",
    "score_references",
}


def shares(seconds: Counter[str], whole_s: float) -> list[tuple[str, float]]:
    """Return CPU seconds of the stages of models, each, and of the others and the rest together."""
    of_models = [(rule, s) for rule, s in seconds.most_common() if rule in OF_MODELS]
    others = sum(s for rule, s in seconds.items() if rule not in OF_MODELS)
    return [
        ("all", whole_s),
        ("stages that run a model", sum(s for _, s in of_models)),
        *((f"- {rule}", s) for rule, s in of_models),
        ("other stages", others),
        ("planning, imports, report", whole_s - sum(seconds.values())),
    ]


def cpu_s() -> float:
    """Return the CPU seconds of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", help="where to clone to")
    args = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = args.folder or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "clone"
        subprocess.run(["git", "clone", "--quiet", ROOT, folder], check=True)
        environment = os.environ.get("VENV", str(ROOT / ".venv"))
        words = ["make", "-C", folder, "--no-print-directory", f"VENV={environment}"]
        subprocess.run([*words, "setup"], check=True)
        before, began = cpu_s(), time.monotonic()
        subprocess.run([*words, "demo"], check=True, stdout=subprocess.DEVNULL)
        whole_s, wall_s = cpu_s() - before, time.monotonic() - began
        seconds: Counter[str] = Counter()
        for run in provenance.run_names(folder / provenance.FOLDER):
            for job in provenance.read_jobs(run, folder / provenance.FOLDER):
                seconds[job.rule] += job.cpu_s or 0.0
    print(f"{wall_s:.0f} s on {os.cpu_count()} cores")
    for name, s in shares(seconds, whole_s):
        print(f"{name:28} {s:7.1f} CPU s {s / whole_s:6.1%}")


if __name__ == "__main__":
    main()
