from pathlib import Path

import pytest

from capsynth.errors import CapsynthError
from capsynth.records import write_records
from capsynth.reporting.costs import CostRow
from capsynth.reporting.stage_times import StageTime, stage_times
from plot_stage_times import main

COSTS = [
    CostRow(stage, name, "", jobs, seconds, None, 0.1, None, None, None, None, None, 0)
    for stage, name, jobs, seconds in (
        ("collect_scores", "", 1, 20.0),
        ("train_classifier", "real", 2, 30.0),
        ("train_classifier", "caption", 2, 25.5),
    )
]


def test_times_are_summed_over_the_jobs_of_a_rule() -> None:
    assert stage_times(COSTS) == [
        StageTime("train_classifier", 4, 55.5),
        StageTime("collect_scores", 1, 20.0),
    ]


def test_times_are_drawn(tmp_path: Path) -> None:
    costs, png, svg = (tmp_path / name for name in ("costs.csv", "times.png", "times.svg"))
    write_records(costs, CostRow, COSTS)
    main(["--costs", str(costs), "--output", str(png), str(svg)])
    assert png.read_bytes()[:4] == b"\x89PNG"
    assert "<svg" in svg.read_text()


def test_costs_of_nothing_are_refused(tmp_path: Path) -> None:
    write_records(tmp_path / "costs.csv", CostRow, [])
    with pytest.raises(CapsynthError, match="no costs to draw"):
        main(["--costs", str(tmp_path / "costs.csv"), "--output", str(tmp_path / "x.png")])
