"""Features are extracted of each shard and evaluation set by itself, where they are asked for."""

import copy
import json
import shlex
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


def test_random_weights_are_fetched_from_nowhere_and_told_in_full(
    checkout: Callable[[], Path], tmp_path: Path
) -> None:
    config = yaml.safe_load(CONFIG.read_text())
    drawn = {"architecture": "vgg11", "image_size": 32, "dimensions": 16, "seed": 3}
    config["feature_extractors"]["random"] = {"batch_size": 2, "random_weights": drawn}
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    folder = checkout()
    jobs = plan(folder, path)
    fetched = {job for job in plan(folder, CONFIG) if job.rule == "download_model"}
    assert {job for job in jobs if job.rule == "download_model"} == fetched
    both = [job for job in jobs if job.rule == "extract_features"]
    own = [job for job in both if "/random/" in job.outputs[0]]
    assert (len(both), len(own)) == (2 * (2 * 3 + 1), 2 * 3 + 1)
    for job in own:
        assert "--model-mark none --model-lock  --weights" in job.command
        words = shlex.split(job.command)
        settings = json.loads(words[words.index("--settings") + 1])
        assert (settings["model"], settings["random_weights"]) == (None, drawn)
    (tables,) = (job for job in jobs if job.rule == "make_fidelity_tables")
    words = shlex.split(tables.command)
    spaces = json.loads(words[words.index("--config-json") + 1])["spaces"]
    assert [space["extractor"] for space in spaces] == ["tiny", "random"]
    assert [space["captioners"] for space in spaces] == [["tiny"], []]
    assert spaces[1]["model"] == "vgg11 of random weights (seed 3)"


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
