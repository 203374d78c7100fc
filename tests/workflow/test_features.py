"""Features are extracted when asked for, of each shard and evaluation set by itself."""

import copy
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from planning import plan

from capsynth.features import read_features
from capsynth.shards import read_manifest, usable

CONFIG = Path(__file__).resolve().parents[1] / "configs" / "tiny.yaml"


def test_nothing_but_the_target_asks_for_features(checkout: Callable[[], Path]) -> None:
    folder = checkout()
    assert "extract_features" not in {job.rule for job in plan(folder, CONFIG)}
    jobs = Counter(job.rule for job in plan(folder, CONFIG, targets=["features"]))
    # Two classes of real images and of two variants, and two evaluation sets.
    assert jobs["extract_features"] == 2 * 3 + 2
    assert jobs["train_classifier"] == 0


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
    assert experiment.owed() == set()
