"""Features are extracted of each shard and evaluation set by itself, where they are asked for."""

import copy
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from planning import plan

from capsynth.features import read_features
from capsynth.shards import read_manifest, usable

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "tiny.yaml"


def test_the_report_asks_for_features_of_what_is_compared_and_the_target_for_all(
    checkout: Callable[[], Path], tmp_path: Path
) -> None:
    folder = checkout()
    jobs = Counter(job.rule for job in plan(folder, CONFIG))
    # Two classes of real images and of two variants, and the evaluation set in distribution.
    assert jobs["extract_features"] == 2 * 3 + 1
    jobs = Counter(job.rule for job in plan(folder, CONFIG, targets=["features"]))
    assert jobs["extract_features"] == 2 * 3 + 2
    assert jobs["train_classifier"] == 0
    config = yaml.safe_load(CONFIG.read_text())
    config["report"]["fidelity"] = {"extractors": []}
    without = tmp_path / "without.yaml"
    without.write_text(yaml.safe_dump(config))
    rules = {job.rule for job in plan(folder, without)}
    assert "measure_prompts" in rules
    assert not rules & {"extract_features", "measure_fidelity", "plot_fidelity"}


@pytest.mark.slow
def test_features_are_of_every_image_of_shard_and_evaluation_set(experiment: Any) -> None:
    images = ["openmoji/real/bat-0", "openmoji/images/caption/bat-0", "eval_sets/openmoji-c"]
    files = [f"results/features/tiny/{name}.parquet" for name in images]
    done = experiment.snakemake(*files)
    assert done.returncode == 0, done.stderr
    for name, file in zip(images, files, strict=True):
        made = read_features([experiment.folder / file])
        records = usable(read_manifest(experiment.folder / f"results/{name}.jsonl"))
        assert made.keys.tolist() == [record.key for record in records]
        assert made.class_ids.tolist() == [record.class_id for record in records]
    assert len(read_features([experiment.folder / file for file in files])) > 8
    assert experiment.owed(*files) == set()
    config = copy.deepcopy(experiment.config)
    config["feature_extractors"]["tiny"]["batch_size"] = 3
    experiment.write_config(config)
    assert experiment.owed(*files) == {f"extract_features(tiny, {name})" for name in images}
    compared = {"measure_fidelity", "make_fidelity_tables", "plot_fidelity"}
    owed = experiment.owed()
    assert {job for job in owed if not job.startswith("extract_features")} == compared
    assert len(owed - compared) == 7
