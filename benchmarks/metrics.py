"""Metrics at the size of ImageNet, from simulated predictions and features."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks.harness import Benchmark, Work, run_measured
from capsynth.predictions import write_predictions

SCRIPTS = Path(__file__).resolve().parents[1] / "workflow" / "scripts"
IMAGES, CLASSES, DRAWS = 50_000, 1_000, 10_000
DIMENSIONS = 768
# Logits are normal with this spread; that of the target is higher. Right in three of five answers,
# and far too confident, so that all bins of a reliability diagram are filled.
SPREAD, ADVANTAGE = 2.0, 7.0
COMPARE = f"""
import sys
sys.path.insert(0, {str(SCRIPTS)!r})
import numpy as np
from capsynth.fidelity import compare
print(compare(*(np.load(path) for path in sys.argv[1:])))
"""


def simulate_predictions(path: Path, eval_set: str, seed: int) -> None:
    """Write predictions of ``IMAGES`` images of ``CLASSES`` classes."""
    rng = np.random.default_rng(seed)
    target = np.repeat(np.arange(CLASSES), IMAGES // CLASSES)
    probabilities = SPREAD * rng.standard_normal((IMAGES, CLASSES), dtype=np.float32)
    probabilities[np.arange(IMAGES), target] += ADVANTAGE
    np.exp(probabilities, out=probabilities)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    write_predictions(
        path,
        keys=[f"{index:08d}" for index in range(IMAGES)],
        targets=target,
        probabilities=probabilities,
        class_ids=[f"n{index:08d}" for index in range(CLASSES)],
        dataset="simulated",
        training_set="simulated",
        recipe="simulated",
        seed=0,
        eval_set=eval_set,
        fingerprint="simulated",
    )


def simulate_features(path: Path, seed: int) -> None:
    """Write normal features of ``IMAGES`` images, of another mean for each seed."""
    rng = np.random.default_rng(seed)
    np.save(
        path, rng.standard_normal((IMAGES, DIMENSIONS), dtype=np.float32) + np.float32(seed / 20)
    )


def benchmarks(work: Path) -> Iterator[Benchmark]:
    """Yield the benchmarks of metrics; each is the script of its stage in a process of its own."""
    answered, held_out = work / "answered.parquet", work / "held-out.parquet"
    simulate_predictions(answered, "answered", 0)
    simulate_predictions(held_out, "held-out", 1)

    def collect() -> Work:
        script = SCRIPTS / "collect_scores.py"
        words = ["--predictions", answered, "--draws", DRAWS, "--output", work / "scores.csv"]
        return run_measured([sys.executable, script, *map(str, words)], IMAGES)

    def calibrate(*held_out: Path) -> Work:
        script = SCRIPTS / "measure_calibration.py"
        words = ["--predictions", answered, "--calibration", *held_out, "--draws", DRAWS]
        words += ["--output", work / "calibration.csv", "--reliability", work / "bins.csv"]
        return run_measured([sys.executable, script, *map(str, words)], IMAGES)

    def both() -> Work:
        peaks = [done.peak_mb or 0.0 for done in (collect(), calibrate())]
        return Work(IMAGES, max(peaks))

    yield Benchmark(
        "metrics of a run",
        "images",
        {
            "scores, then calibration": both,
            "scores": collect,
            "calibration": calibrate,
            "calibration, temperature scaled": lambda: calibrate(held_out),
        },
        most_s=60.0,
        most_mb=2000.0,
        most_rounds=3,
    )
    real, synthetic = work / "real.npy", work / "synthetic.npy"
    simulate_features(real, 0)
    simulate_features(synthetic, 1)
    yield Benchmark(
        "fidelity metrics",
        "images",
        {
            "all of them": lambda: run_measured(
                [sys.executable, "-c", COMPARE, real, synthetic], IMAGES
            )
        },
        most_s=300.0,
        most_mb=4000.0,
        most_rounds=3,
    )
