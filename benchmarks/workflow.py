"""What Snakemake itself costs: planning, a run with nothing to do, and each job of a stub stage."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import yaml

from benchmarks.harness import Benchmark, Work, run_measured
from benchmarks.imagenet import FIVE_VARIANTS, ROOT, stand_in

SHARDS = (100, 1_000, 5_000)
# Jobs call this in place of the client that starts their script: it makes an empty result.
STUB = """\
import sys
from pathlib import Path
Path(sys.argv[sys.argv.index("--output") + 1]).touch()
"""
SNAKEFILE = """\
include: "Snakefile"


rule stubs:
    input:
        [f"results/{DATASET}/prompts/class-name/{shard}.jsonl" for shard in SHARDS],
"""


def stub_config(shards: int) -> dict[str, object]:
    """Return an experiment of so many class shards, one prompt file each."""
    return {
        "dataset": {
            "name": "stub",
            "source": "folder",
            "path": "photos",
            "classes": [f"class{index:04d}" for index in range(shards)],
        },
        "eval_sets": {"val": {"source": "folder", "path": "photos"}},
        "generators": {"none": {"model": "none/none"}},
        "variants": {
            "class-name": {"strategy": "class-name", "generator": "none", "images_per_class": 1}
        },
        "training_sets": {"class-name": {"variants": ["class-name"]}},
        "recipes": {"tiny": {"model": "test_resnet"}},
        "training_seeds": [0],
        "report": {"in_distribution": "val"},
    }


def stub_checkout(folder: Path, shards: int) -> Path:
    """Make a checkout whose stage of prompts writes empty files; return it."""
    stand_in(folder, images=False)
    (folder / "workflow" / "scripts" / "warm.py").write_text(STUB, encoding="utf-8")
    (folder / "stub.smk").write_text(SNAKEFILE, encoding="utf-8")
    text = yaml.safe_dump(stub_config(shards), sort_keys=False)
    (folder / "stub.yaml").write_text(text, encoding="utf-8")
    return folder


def snakemake(folder: Path, amount: float, *words: str) -> Work:
    """Run Snakemake in a checkout; a dry run says how many jobs there are of each rule."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--quiet", "rules", *words]
    return run_measured(command, amount, cwd=folder)


def remove_results(folder: Path) -> None:
    """Remove what a run has made, Snakemake's records included."""
    for name in ("results", "logs", ".snakemake"):
        shutil.rmtree(folder / name, ignore_errors=True)


def metadata(folder: Path) -> tuple[int, int]:
    """Return the number and the bytes of the files that Snakemake keeps for itself."""
    sizes = [path.stat().st_size for path in (folder / ".snakemake").rglob("*") if path.is_file()]
    return len(sizes), sum(sizes)


def benchmarks(work: Path) -> Iterator[Benchmark]:
    """Yield the benchmarks of the workflow."""
    imagenet = stand_in(work / "imagenet")
    yield Benchmark(
        "dry run of ImageNet-1K with five variants",
        "runs",
        {"snakemake -n": partial(snakemake, imagenet, 1.0, "-n", *FIVE_VARIANTS)},
        most_s=20.0,
        most_mb=1000.0,
    )
    yield Benchmark(
        "parsing the Snakefile",
        "runs",
        {"snakemake --list": partial(snakemake, imagenet, 1.0, "--list", *FIVE_VARIANTS)},
    )
    finish = [sys.executable, "-m", "benchmarks.finish", "--cores", "1", *FIVE_VARIANTS]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(finish, cwd=imagenet, env=environment, check=True, capture_output=True)
    yield Benchmark(
        "ImageNet-1K with five variants: nothing to do",
        "runs",
        {"snakemake": partial(snakemake, imagenet, 1.0, *FIVE_VARIANTS)},
        most_s=40.0,
        most_mb=1000.0,
    )
    stub = ("--snakefile", "stub.smk", "--configfile", "stub.yaml", "--replace-workflow-config")
    for shards in SHARDS:
        folder = stub_checkout(work / str(shards), shards)
        run = partial(snakemake, folder, shards, *stub, "stubs")
        yield Benchmark(
            f"{shards} jobs of a stub stage",
            "jobs",
            {"run": run},
            prepare=partial(remove_results, folder),
            most_rounds=3,
        )
        yield Benchmark(f"{shards} jobs of a stub stage: nothing to do", "jobs", {"run": run})
        yield Benchmark(
            f"{shards} jobs of a stub stage: dry run",
            "jobs",
            {
                "snakemake -n": partial(
                    snakemake, folder, shards, *stub, "stubs", "-n", "--forceall"
                )
            },
        )
        number, size = metadata(folder)
        print(f"{shards} jobs leave {number} files of {size / 1e6:.1f} MB in .snakemake")
