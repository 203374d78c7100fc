"""Benchmarks tell the memory of what they start, and keep minutes-long work to a few rounds."""

import subprocess
import sys

import pytest
from benchmarks.harness import Benchmark, Work, measure, run_measured

MB = 1_000_000


def test_the_peak_is_that_of_the_command_and_not_of_who_starts_it() -> None:
    own = bytearray(b"1") * (400 * MB)
    code = f"bytearray(b'1') * ({150 * MB})"
    done = run_measured([sys.executable, "-c", code], 3.0)
    assert done.amount == 3.0
    assert done.peak_mb is not None
    assert 150 < done.peak_mb < len(own) / MB


def test_a_command_that_fails_is_no_measurement(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        run_measured([sys.executable, "-c", "raise SystemExit('no such thing')"], 1.0)
    assert "no such thing" in capsys.readouterr().err


def test_long_work_has_few_rounds_none_before_them_and_its_highest_peak() -> None:
    peaks = iter([10.0, 30.0, 20.0])
    benchmark = Benchmark(
        "b", "u", {"w": lambda: Work(1.0, next(peaks))}, most_s=60.0, most_mb=25.0, most_rounds=2
    )
    (result,) = measure(benchmark, rounds=5)
    assert (result.rounds, result.peak_mb) == (2, 30.0)
    assert (result.most_s, result.most_mb) == (60.0, 25.0)
    assert next(peaks) == 20.0
