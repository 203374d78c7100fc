"""The command lines of fidelity, prompts, guidance and costs, from measuring to tables."""

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import make_cost_tables
import make_fidelity_tables
import make_prompt_tables
import measure_costs
import measure_fidelity
import measure_prompts
import plot_fidelity
import plot_guidance
from capsynth.errors import CapsynthError
from capsynth.features import write_features
from capsynth.files import write_json_lines
from capsynth.prompting import PromptRecord
from capsynth.reporting.scores import Score, write_scores
from capsynth.shards import ShardRecord

SPACES = [{"extractor": "toy", "model": "a/model", "captioners": []}]
FIDELITY = json.dumps({"spaces": SPACES, "variants": ["g1", "g2", "g3"], "neighbours": 3})


@pytest.fixture
def fidelity_csv(tmp_path: Path) -> Path:
    words = []
    for place, (kind, name) in enumerate(
        [
            ("reference", "val"),
            ("real", "photos"),
            ("variant", "g1"),
            ("variant", "g2"),
            ("variant", "g3"),
        ]
    ):
        records = [ShardRecord(f"bat_{i}", "bat", 0, i, "ok", "f") for i in range(8)]
        values = np.random.default_rng(place).normal(size=(8, 2)).astype(np.float32)
        path = tmp_path / f"{name}.parquet"
        write_features(path, records, values, np.full(8, np.nan, dtype=np.float32), "s")
        words += ["--images", "toy", kind, name, str(path)]
    (tmp_path / "words.txt").write_text("\n".join(words))
    out = tmp_path / "fidelity.csv"
    options = ["--draws", "3", "--neighbours", "3", "--max-images", "100"]
    measure_fidelity.main([f"@{tmp_path / 'words.txt'}", *options, "--output", str(out)])
    return out


def test_fidelity_goes_from_features_to_tables_and_figures(
    fidelity_csv: Path, tmp_path: Path
) -> None:
    args = ["--fidelity", str(fidelity_csv), "--config-json", FIDELITY]
    make_fidelity_tables.main([*args, "--output-dir", str(tmp_path / "tables")])
    table = (tmp_path / "tables" / "fidelity.csv").read_text().splitlines()
    assert table[0].startswith(
        "extractor,circular,images,n,frechet_distance,frechet_distance_se,kernel"
    )
    assert [line.split(",")[2] for line in table[1:4]] == ["g1", "g2", "g3"]
    plot_fidelity.main([*args, "--output", str(tmp_path / "fidelity.png")])
    assert (tmp_path / "fidelity.png").read_bytes()[:4] == b"\x89PNG"


def test_guidance_is_plotted_from_scores_and_fidelity(fidelity_csv: Path, tmp_path: Path) -> None:
    names = ["g1", "g2", "g3"]
    rows = [
        Score("toy", name, "tiny", seed, "val", "top1", 0.5, 0.4, 0.6, 8)
        for name in names
        for seed in (None, 0)
    ]
    write_scores(tmp_path / "scores.csv", rows)
    line = [{"guidance_scale": i, "variant": n, "training_set": n} for i, n in enumerate(names)]
    settings = json.dumps({"spaces": SPACES, "eval_set": "val", "lines": [line]})
    args = ["--scores", str(tmp_path / "scores.csv"), "--fidelity", str(fidelity_csv)]
    plot_guidance.main([*args, "--config-json", settings, "--output", str(tmp_path / "g.svg")])
    assert "</svg>" in (tmp_path / "g.svg").read_text()


def test_images_without_a_kind_or_files_are_refused(tmp_path: Path) -> None:
    for words in (["toy", "drawn", "g1", "a.parquet"], ["toy", "variant", "g1"]):
        with pytest.raises(
            CapsynthError, match="give an extractor, one of reference, real, varian"
        ):
            measure_fidelity.main(["--images", *words, "--output", str(tmp_path / "x.csv")])


def test_missing_numbers_are_refused(tmp_path: Path) -> None:
    args = ["--fidelity", str(tmp_path / "no.csv"), "--config-json", FIDELITY]
    with pytest.raises(CapsynthError, match="run measure_fidelity first"):
        make_fidelity_tables.main([*args, "--output-dir", str(tmp_path)])


def test_prompts_go_from_files_to_tables(tmp_path: Path) -> None:
    record = PromptRecord("bat_0", "bat", 0, 0, "a photo of a bat", 1, None, "ok", None, "f")
    write_json_lines(tmp_path / "p.jsonl", [asdict(record)])
    out = tmp_path / "prompts.csv"
    args = ["--prompts", "class-name", str(tmp_path / "p.jsonl"), "--judgements", "--references"]
    measure_prompts.main([*args, "--output", str(out)])
    settings = json.dumps({"variants": ["class-name"], "judge": ""})
    make_prompt_tables.main(
        ["--prompts", str(out), "--config-json", settings, "--output-dir", str(tmp_path / "t")]
    )
    head, row = (tmp_path / "t" / "prompts.csv").read_text().splitlines()
    assert dict(zip(head.split(","), row.split(","), strict=True))["words_mean"] == "5.0"
    with pytest.raises(CapsynthError, match="--prompts caption: give a variant and its files"):
        measure_prompts.main(["--prompts", "caption", "--output", str(out)])


def test_costs_go_from_benchmarks_to_tables(tmp_path: Path) -> None:
    (tmp_path / "b.tsv").write_text("s\th:m:s\n3600\t1:00:00\n")
    job = {
        "stage": "train_classifier", "name": "real", "recipe": "tiny", "threads": 2, "gpus": 1,
        "benchmark": str(tmp_path / "b.tsv"), "log": str(tmp_path / "no.log"), "outputs": [],
    }  # fmt: skip
    write_json_lines(tmp_path / "jobs.txt", [job])
    out = tmp_path / "costs.csv"
    measure_costs.main(["--jobs", str(tmp_path / "jobs.txt"), "--output", str(out)])
    assert out.read_text().splitlines()[1] == "train_classifier,real,tiny,1,3600.0,,2.0,,,,,,0"
    row = Score("toy", "real", "tiny", None, "val", "top1", 0.8, 0.7, 0.9, 8)
    write_scores(tmp_path / "scores.csv", [row])
    settings = json.dumps({"eval_set": "val", "training_sets": ["real"], "stages": {"real": []}})
    args = ["--costs", str(out), "--scores", str(tmp_path / "scores.csv")]
    make_cost_tables.main([*args, "--config-json", settings, "--output-dir", str(tmp_path / "t")])
    table = (tmp_path / "t" / "cost-of-accuracy.csv").read_text().splitlines()
    assert table[1] == "real,tiny,0.0,2.0,2.0,80.0,70.0,90.0,40.0"
    job["benchmark"] = str(tmp_path / "jobs.txt")
    write_json_lines(tmp_path / "jobs.txt", [job])
    with pytest.raises(CapsynthError, match="no benchmark of Snakemake"):
        measure_costs.main(["--jobs", str(tmp_path / "jobs.txt"), "--output", str(out)])
