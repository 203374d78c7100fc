"""Variants of the tiny experiment as data set folders, loaded as their users load them."""

import copy
from pathlib import Path
from typing import Any

import datasets
import pyarrow.parquet as pq
import pytest

from capsynth.exporting import front_matter
from capsynth.shards import read_manifest, usable


@pytest.mark.slow
def test_an_exported_variant_loads_and_its_counts_add_up(
    experiment: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    jobs = experiment.run("export")
    assert jobs == {"export", "export_variant(caption)", "export_variant(class-name)"}
    assert experiment.owed("export") == set()
    assert experiment.owed() == set()
    root = experiment.folder / "results"
    folder = root / "export/openmoji-caption"
    records = [
        record
        for shard in ("car-0", "bat-0")
        for record in read_manifest(root / f"openmoji/images/caption/{shard}.jsonl")
    ]
    rows = pq.read_table(folder / "manifest.parquet").to_pylist()
    assert [row["key"] for row in rows] == [record.key for record in records]
    assert [row["source_key"] for row in rows] == [record.source_key for record in records]
    images = datasets.load_dataset(str(folder), split="train", cache_dir=str(tmp_path))
    assert len(images) == len(usable(records)) > 0
    classes = {"car": 0, "bat": 1}
    assert all(row["cls"] == classes[row["json"]["class_id"]] for row in images)
    assert front_matter(folder / "README.md")["license"] == "cc-by-sa-4.0"
    card = (folder / "README.md").read_text()
    assert "| captioner | `tiny-captioner` |" in card
    assert "| 0 | `car` | `car` | 4 |" in card
    for path in (p for p in folder.rglob("*") if p.is_file()):
        assert str(experiment.folder).encode() not in path.read_bytes()


@pytest.mark.slow
def test_another_licence_writes_the_exports_anew_and_nothing_else(experiment: Any) -> None:
    experiment.run("export")
    config = copy.deepcopy(experiment.config)
    config["export"] = {"variants": ["caption"], "license": "cc-by-4.0"}
    experiment.write_config(config)
    assert experiment.owed("export") == {"export", "export_variant(caption)"}
    assert experiment.owed() == set()
