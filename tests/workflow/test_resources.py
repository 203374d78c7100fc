"""What jobs need: GPUs, memory by the size of a model, and more of both with each retry."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from planning import plan, rules_that_ask

GIGABYTE = 10**9
CAPTIONS = "results/openmoji/captions/tiny/car-0.jsonl"


def needs(folder: Path, target: str = "all", attempt: int = 1) -> dict[str, dict[str, int]]:
    """The resources of each rule that a target needs."""
    found = {}
    for job in plan(folder, folder / "config.yaml", targets={target}, attempt=attempt):
        pairs = re.findall(r"\('(\w+)', (\d+)\)", job.needs)
        found[job.rule] = {name: int(value) for name, value in pairs}
    return found


@pytest.fixture
def tiny(repository: Path, checkout: Callable[[], Path]) -> tuple[Path, dict[str, Any]]:
    """A checkout of the tiny experiment whose models are names only, and its configuration."""
    folder = checkout()
    config = yaml.safe_load((repository / "tests/configs/tiny.yaml").read_text())
    for model in ("tiny-captioner", "tiny-generator"):
        (folder / "models" / model).mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder, config


def write_weights(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.truncate(size)  # a hole: it takes no room on the disk


def test_rules_that_compute_ask_for_gpus_and_no_others(tiny: tuple[Path, Any]) -> None:
    folder, config = tiny
    gpus = {rule: need["gpu"] for rule, need in needs(folder).items() if "gpu" in need}
    drawing = ("caption_images", "generate_images")
    one = dict.fromkeys((*drawing, "evaluate_classifier", "judge_images", "extract_features"), 1)
    assert gpus == {**one, "train_classifier": 1}
    config["recipes"]["tiny"]["gpus"] = 4
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert needs(folder)["train_classifier"]["gpu"] == 4
    assert needs(folder)["evaluate_classifier"]["gpu"] == 1


def test_the_guide_to_slurm_names_the_rules_that_ask_for_a_gpu(
    tiny: tuple[Path, Any], repository: Path
) -> None:
    folder, _ = tiny
    asking = set(rules_that_ask(folder, "gpu"))
    guide = (repository / "docs/slurm.md").read_text().partition("\n## GPUs\n")[2]
    sentence = guide.partition("nothing else for any")[0]
    assert set(re.findall(r"`([a-z]+_[a-z]+)`", sentence)) == asking
    command = guide.partition("**No GPUs.**")[2].split("```")[1]
    assert set(re.findall(r"(\w+):gpu=0", command)) == asking


def test_memory_follows_the_size_of_a_models_weights(tiny: tuple[Path, Any]) -> None:
    folder, _ = tiny
    write_weights(folder / "models/tiny-captioner/model.safetensors", GIGABYTE)
    small = needs(folder, CAPTIONS)["caption_images"]["mem_mb"]
    write_weights(folder / "models/tiny-captioner/model.safetensors", 8 * GIGABYTE)
    assert needs(folder, CAPTIONS)["caption_images"]["mem_mb"] - small == 2 * 7000


def test_memory_of_a_model_of_the_hub_is_told_by_its_stamp(tiny: tuple[Path, Any]) -> None:
    folder, config = tiny
    config["captioners"]["tiny"]["model"] = "someone/big"
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    unknown = needs(folder, CAPTIONS)["caption_images"]["mem_mb"]
    stamp = folder / config.get("download_folder", "downloads") / "models/someone--big.json"
    stamp.parent.mkdir(parents=True)
    files = {"model.safetensors": {"size": 3 * GIGABYTE, "sha256": "0" * 64}}
    stamp.write_text(json.dumps({"id": "someone/big", "revision": "1", "files": files}))
    known = needs(folder, CAPTIONS)["caption_images"]["mem_mb"]
    assert (known, unknown) == (4000 + 2 * 3000, 4000 + 2 * 14000)


def test_lora_weights_count_too(tiny: tuple[Path, Any]) -> None:
    folder, config = tiny
    before = needs(folder)["generate_images"]["mem_mb"]
    write_weights(folder / "models/lora/pytorch_lora_weights.safetensors", GIGABYTE)
    config["generators"]["tiny"]["lora"] = [{"path": "models/lora"}]
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    assert needs(folder)["generate_images"]["mem_mb"] - before == 2000


def test_a_retry_gets_more_memory_and_time_and_as_many_gpus(tiny: tuple[Path, Any]) -> None:
    folder, _ = tiny
    first, third = needs(folder), needs(folder, attempt=3)
    growing = {rule for rule in first if "runtime" in first[rule]}
    assert growing >= {"pack_real", "caption_images", "generate_images", "train_classifier"}
    for rule in growing:
        for name in ("mem_mb", "runtime"):
            assert third[rule][name] == 3 * first[rule][name], (rule, name)
        assert third[rule].get("gpu") == first[rule].get("gpu")
