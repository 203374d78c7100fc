"""Costs of made-up jobs, counted by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from capsynth.errors import CapsynthError
from capsynth.files import dump_json, write_json, write_json_lines
from capsynth.job_log import PREFIX
from capsynth.reporting.cost_tables import (
    CostSettings,
    accuracy_cost_table,
    cost_table,
    size_in_words,
)
from capsynth.reporting.costs import CostRow, measure_costs, read_jobs
from capsynth.reporting.scores import Score

SETTINGS = CostSettings(
    "val", ("real", "caption"), {"real": [], "caption": [["generate_images", "caption"]]}
)
USED = {"cpu_s": 1.0, "peak_memory_mb": 100}


class Jobs:
    """Makes jobs with their benchmarks, logs and results."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made: list[dict[str, Any]] = []

    def add(
        self, stage: str, name: str, seconds: float, said: dict[str, Any] | None, **more: Any
    ) -> None:
        path = self.folder / f"{len(self.made)}"
        path.with_suffix(".tsv").write_text(f"s\th:m:s\tcpu_time\n{seconds}\t0\t0.01\n")
        if said is not None:
            line = {"run": "r", "pid": 1, "exit_code": 0, "gpu": None, **USED, **said}
            path.with_suffix(".log").write_text(f"some text\n{PREFIX}{dump_json(line)}\n")
        job = {"stage": stage, "name": name, "recipe": "", "threads": 1, "gpus": 1, "outputs": []}
        files = {"benchmark": f"{path}.tsv", "log": f"{path}.log"}
        self.made.append({**job, **files, **more})

    def cost(self) -> list[CostRow]:
        write_json_lines(self.folder / "jobs.jsonl", self.made)
        return measure_costs(read_jobs(self.folder / "jobs.jsonl"))


@pytest.fixture
def jobs(tmp_path: Path) -> Jobs:
    return Jobs(tmp_path)


def test_jobs_of_a_stage_and_name_are_summed_up(jobs: Jobs, tmp_path: Path) -> None:
    manifest, tar = tmp_path / "a.jsonl", tmp_path / "a.tar"
    write_json_lines(manifest, [{"status": "ok"}, {"status": "rejected"}, {"status": "ok"}])
    tar.write_bytes(b"x" * 1000)
    made = [str(manifest), str(tar), str(tmp_path / "gone")]
    jobs.add("generate_images", "caption", 100.0, {"gpu": "A100", "energy_j": 1800}, outputs=made)
    jobs.add(
        "generate_images", "caption", 80.0, {"energy_j": 1800.0, "peak_memory_mb": 250}, threads=4
    )
    jobs.add("generate_images", "class-name", 5.0, {})
    first, second = jobs.cost()
    assert (first.jobs, first.wall_s, first.cpu_s) == (2, 180.0, 2.0)
    assert (first.peak_memory_mb, second.peak_memory_mb) == (250.0, 100.0)
    assert first.core_hours == pytest.approx((100 + 80 * 4) / 3600)
    # The second of them asked for a GPU and had none.
    assert first.gpu_hours == pytest.approx(100 / 3600)
    assert first.energy_wh == pytest.approx(1.0)
    assert (first.images, first.images_per_s) == (2, pytest.approx(2 / 180))
    assert first.disk_bytes == 1000 + manifest.stat().st_size
    assert (second.gpu_hours, second.energy_wh, second.images) == (0.0, None, None)


def test_answers_that_a_job_took_over_count_as_what_they_had_taken(jobs: Jobs) -> None:
    kept = {"kept_wall_s": 40.5, "kept_cpu_s": 7.25}
    jobs.add("evaluate_classifier", "real", 10.0, {"energy_j": 5.0, "gpu": "A100", **kept})
    jobs.add("evaluate_classifier", "real", 60.0, {"energy_j": 5.0, "gpu": "A100"})
    (row,) = jobs.cost()
    assert (row.wall_s, row.cpu_s) == (10.0 + 40.5 + 60.0, 1.0 + 7.25 + 1.0)
    assert row.gpu_hours == pytest.approx(110.5 / 3600)
    assert row.energy_wh is None  # that of the answers is not known


def test_what_one_job_did_not_tell_is_not_known_of_all(jobs: Jobs) -> None:
    jobs.add("caption_images", "blip", 10.0, {"energy_j": 5.0})
    jobs.add("caption_images", "blip", 10.0, None)
    (row,) = jobs.cost()
    assert (row.cpu_s, row.gpu_hours, row.energy_wh, row.peak_memory_mb) == (None,) * 4
    assert row.core_hours == pytest.approx(20 / 3600)


def test_processes_of_a_job_are_added_and_an_earlier_run_is_not(jobs: Jobs) -> None:
    jobs.add("train_classifier", "real", 10.0, None, gpus=2)
    said = [
        {"run": "old", "pid": 1, "exit_code": 0, "gpu": None, "cpu_s": 50.0},
        {"run": "new", "pid": 2},
        *({"run": "new", "pid": p, "exit_code": 0, "gpu": "A100", "cpu_s": 4.0} for p in (2, 3)),
    ]
    Path(jobs.made[0]["log"]).write_text("".join(f"{PREFIX}{dump_json(line)}\n" for line in said))
    (row,) = jobs.cost()
    assert row.cpu_s == 8.0
    assert row.gpu_hours == pytest.approx(20 / 3600)


def test_a_training_counts_its_images_in_every_epoch(jobs: Jobs, tmp_path: Path) -> None:
    write_json(tmp_path / "h.json", {"images": 40, "epochs": [{"loss": 1.0}] * 3})
    write_json(tmp_path / "stamp.json", ["no history"])
    outputs = [str(tmp_path / name) for name in ("h.json", "stamp.json")]
    jobs.add("train_classifier", "real", 10.0, {}, outputs=outputs)
    assert jobs.cost()[0].images == 120


def test_a_file_that_is_no_benchmark_is_refused(jobs: Jobs) -> None:
    jobs.add("collect_scores", "", 10.0, {})
    Path(jobs.made[0]["benchmark"]).write_text("a\tb\n1\t2\n")
    with pytest.raises(CapsynthError, match=r"0\.tsv: no benchmark of Snakemake"):
        jobs.cost()


def test_a_list_of_jobs_that_is_none_is_refused(tmp_path: Path) -> None:
    write_json_lines(tmp_path / "jobs.jsonl", [{"stage": "x", "outputs": []}])
    with pytest.raises(CapsynthError, match=r"jobs\.jsonl: .*missing"):
        read_jobs(tmp_path / "jobs.jsonl")


def row(stage: str, name: str, recipe: str = "", jobs: int = 1, **more: Any) -> CostRow:
    numbers = {"wall_s": 60.0, "cpu_s": 1.0, "core_hours": 0.5, "gpu_hours": 0.0, "energy_wh": None}
    others = {"peak_memory_mb": 1.0, "images": 10, "images_per_s": 2.0, "disk_bytes": 2_500_000}
    return CostRow(stage, name, recipe, jobs, **{**numbers, **others, **more})


ROWS = [
    row("generate_images", "caption"),
    row("generate_images", "class-name", core_hours=9.0),
    row("train_classifier", "real", "tiny", 2),
    row("train_classifier", "caption", "tiny", 2),
]
SCORES = [
    Score("toy", name, "tiny", None, "val", "top1", value, 0.1, 0.9, 50)
    for name, value in (("real", 0.8), ("caption", 0.6))
]


def test_accuracy_is_divided_by_the_hours_of_what_it_rests_on_and_one_training() -> None:
    table = accuracy_cost_table(ROWS, SCORES, SETTINGS)
    csv = [[value for cell in line for value in cell.csv_values] for line in table.rows]
    assert [line[0] for line in csv] == ["real", "caption"]
    real, caption = ([float(value) for value in line[2:]] for line in csv)
    assert real == [0.0, 0.25, 0.25, 80.0, 10.0, 90.0, pytest.approx(80 / 0.25)]
    assert caption == [0.5, 0.25, 0.75, 60.0, 10.0, 90.0, pytest.approx(60 / 0.75)]
    with pytest.raises(CapsynthError, match="real, tiny: no score on 'val'"):
        accuracy_cost_table(ROWS, SCORES[1:], SETTINGS)


def test_accuracy_at_chance_is_marked() -> None:
    sizes = [
        Score("toy", "real", "tiny", None, "val", f"top1/{name}", 0.5, 0.1, 0.9, n)
        for name, n in (("bat", 4), ("car", 46))
    ]
    clear = replace(SCORES[0], ci_low=0.93)
    table = accuracy_cost_table(ROWS, [clear, *SCORES[1:], *sizes], SETTINGS)
    assert [row[5].faint for row in table.rows] == [False, True]
    assert table.rows[1][5].text == "60.0 [10.0, 90.0]°"
    assert "° not clearly above chance" in table.note


def test_gpu_hours_count_where_there_are_any() -> None:
    used = [*ROWS[1:], row("generate_images", "caption", gpu_hours=0.25)]
    table = accuracy_cost_table(used, SCORES, SETTINGS)
    assert table.columns[4].title == "Together (GPU h)"
    assert table.rows[1][4].csv_values == ("0.25",)
    titles = [column.title for column in cost_table(used).columns]
    assert "GPU hours" in titles
    assert "GPU hours" not in [column.title for column in cost_table(ROWS).columns]


def test_the_note_says_what_the_machine_tells() -> None:
    assert "No job used a GPU" in cost_table(ROWS).note
    assert "this machine does not tell" in cost_table(ROWS).note
    told = cost_table([row("generate_images", "caption", energy_wh=3.0)])
    assert "Energy: of the processors" in told.note
    assert "Energy (Wh)" in [column.title for column in told.columns]


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0 B"), (999, "999 B"), (999_999, "1 MB"), (2.5e12, "2.5 TB")]
)
def test_sizes_are_said_in_words(size: float, words: str) -> None:
    assert size_in_words(size) == words
