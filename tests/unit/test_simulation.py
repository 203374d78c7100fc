"""The simulation of a run on a cluster, against cases that can be solved by hand."""

import numpy as np
import pytest
from benchmarks.simulate import Cluster, Stage, simulate

# Four captions of 10 s, each followed by two drawings of 30 s; then a training of 100 s on 2 GPUs.
CHAIN = (
    Stage("caption", 4, 10.0, gpus=1),
    Stage("draw", 8, 30.0, gpus=1, after={"caption": "same"}),
    Stage("train", 1, 100.0, gpus=2, after={"draw": "all"}),
    Stage("report", 1, 5.0, after={"train": "all"}),
)


def test_one_gpu_does_one_job_after_another() -> None:
    outcome = simulate(CHAIN[:2], Cluster(gpus=1, slots=100))
    assert outcome.wall_s == 4 * 10.0 + 8 * 30.0
    assert outcome.busy(1) == 1.0


def test_as_many_gpus_as_jobs_need_the_longest_path() -> None:
    outcome = simulate(CHAIN, Cluster(gpus=8, slots=100))
    assert outcome.wall_s == 10.0 + 30.0 + 100.0 + 5.0
    assert outcome.gpu_s == 4 * 10.0 + 8 * 30.0 + 2 * 100.0
    assert dict(outcome.ends) == {"caption": 10.0, "draw": 40.0, "train": 140.0, "report": 145.0}


def test_two_gpus_share_the_jobs() -> None:
    assert simulate(CHAIN, Cluster(gpus=2, slots=100)).wall_s == 20.0 + 120.0 + 100.0 + 5.0


def test_slots_hold_jobs_up_as_gpus_do() -> None:
    assert simulate(CHAIN[:2], Cluster(gpus=8, slots=2)).wall_s == 20.0 + 120.0


def test_starting_a_job_holds_its_gpu_and_further_jobs_of_a_submission_start_faster() -> None:
    alone = simulate(CHAIN[:1], Cluster(gpus=1, slots=9, start_s=7.0, between_s=2.0))
    assert (alone.wall_s, alone.held_s, alone.submissions) == (4 * 17.0, 4 * 17.0, 4)
    pairs = (Stage("caption", 4, 10.0, gpus=1, per_submission=2),)
    grouped = simulate(pairs, Cluster(gpus=1, slots=9, start_s=7.0, between_s=2.0))
    assert (grouped.wall_s, grouped.submissions) == (2 * (7.0 + 10.0 + 2.0 + 10.0), 2)
    assert grouped.busy(1) == 40.0 / 58.0


def test_jobs_are_submitted_one_after_another() -> None:
    # The fourth is submitted after 3 * 5 s.
    outcome = simulate(CHAIN[:1], Cluster(gpus=4, slots=9, submissions_per_s=0.2))
    assert outcome.wall_s == 15.0 + 10.0


def test_jobs_without_gpus_go_on_while_all_gpus_are_taken() -> None:
    stages = (Stage("draw", 2, 30.0, gpus=1), Stage("pack", 3, 10.0))
    assert simulate(stages, Cluster(gpus=1, slots=2)).ends["pack"] == 30.0


def test_times_have_the_mean_and_the_spread_that_were_asked_for() -> None:
    stages = (Stage("draw", 20_000, 10.0, spread=0.5, gpus=1),)
    mean = simulate(stages, Cluster(gpus=1, slots=1)).gpu_s / 20_000
    assert mean == pytest.approx(10.0, abs=5 * 5.0 / np.sqrt(20_000))
    longest = simulate(stages, Cluster(gpus=20_000, slots=20_000)).wall_s
    assert longest > 20.0
