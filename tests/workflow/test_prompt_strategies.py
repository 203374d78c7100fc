"""Prompt strategies, from the configuration to the prompts."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from settings import read_no_model

from capsynth.files import read_json_lines

CLASSES = {
    "bat": {"name": "bat", "hypernym": "mammal", "definition": "a mouse that flies"},
    "car": {"name": "motor car", "hypernym": "vehicle", "definition": "it has an engine"},
}
EXPECTED = {
    "class-name-hypernym": "a photo of a motor car, vehicle",
    "class-name-definition": "a photo of a motor car, it has an engine",
    "class-name-background": "a photo of a motor car on a beach",
    "clip-templates": "a bad photo of a motor car.",
}

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(repository: Path, tmp_path: Path) -> Run:
    """``run(config, *words)`` runs Snakemake with a configuration in a folder of its own."""

    def snakemake(config: dict[str, Any], *words: str) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        place = ["--directory", str(tmp_path), "--snakefile", str(repository / "Snakefile")]
        given = ["--configfile", str(path), "--replace-workflow-config"]
        return subprocess.run(
            [sys.executable, "-m", "snakemake", "--cores", "1", *place, *given, *words],
            env={**os.environ, "PATH": tools},
            capture_output=True,
            text=True,
        )

    return snakemake


def config_of(repository: Path, classes: Any) -> dict[str, Any]:
    """Return the tiny experiment with a variant of each strategy that reads no captions."""
    config = yaml.safe_load((repository / "tests" / "configs" / "tiny.yaml").read_text())
    read_no_model(config)
    config["dataset"]["classes"] = classes
    for strategy in EXPECTED:
        variant = {"strategy": strategy, "generator": "tiny", "images_per_class": 2}
        if strategy == "class-name-background":
            variant["backgrounds"] = ["on a beach", "at night"]
        config["variants"][strategy] = variant
    return config


def test_each_strategy_writes_its_prompts(run: Run, repository: Path, tmp_path: Path) -> None:
    files = {name: f"results/openmoji/prompts/{name}/car-0.jsonl" for name in EXPECTED}
    done = run(config_of(repository, CLASSES), *files.values())
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {name: read_json_lines(tmp_path / path) for name, path in files.items()}
    assert {name: row[0]["prompt"] for name, row in rows.items()} == EXPECTED
    assert rows["class-name-background"][1]["prompt"] == "a photo of a motor car at night"
    assert rows["clip-templates"][1]["prompt"] == "a photo of many motor car."
    assert {row[0]["class_index"] for row in rows.values()} == {1}
    # Another definition changes the prompts that have it, and no other.
    other = {**CLASSES, "car": {**CLASSES["car"], "definition": "it has four wheels"}}
    done = run(config_of(repository, other), "-n", *files.values())
    said = (done.stdout + done.stderr).splitlines()
    made = [line.split(": ")[1] for line in said if line.startswith("    output: ")]
    assert made == [files["class-name-definition"]]


def test_a_class_without_its_hypernym_is_refused_in_one_message(run: Run, repository: Path) -> None:
    done = run(config_of(repository, ["bat", "car"]), "-n")
    assert done.returncode != 0
    said = done.stdout + done.stderr
    assert "class 'bat' and 1 more have none; give it in dataset.classes" in said
    assert "Traceback" not in said
