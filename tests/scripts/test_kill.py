"""Stages killed with SIGKILL in their middle: started again, they end in the same bytes."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from capsynth.configuration import complete_recipe
from capsynth.files import dump_json

pytestmark = pytest.mark.slow
PATIENCE_S = 120


@dataclass(frozen=True)
class Stage:
    """A stage's command line.

    Attributes:
        script: Name of the script.
        flags: Flags without the outputs.
        outputs: Flags of the outputs and their file names; the first one is resumed.
    """

    script: str
    flags: dict[str, object]
    outputs: dict[str, str]

    def command(self, repository: Path, folder: Path) -> list[str]:
        line = [sys.executable, str(repository / "workflow/scripts" / f"{self.script}.py")]
        files = {flag: folder / name for flag, name in self.outputs.items()}
        for name, value in {**self.flags, **files}.items():
            many = value if isinstance(value, list) else [value]
            line += [f"--{name}", *map(str, many)]
        return line


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def kill_in_the_middle(command: list[str], partial: Path) -> None:
    """Start a stage and kill it once its first finished batch lies on the disk."""
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + PATIENCE_S
    while not any(p.suffix != ".tmp" for p in partial.rglob("*") if p.is_file()):
        assert process.poll() is None, "the stage ended before it could be killed"
        assert time.monotonic() < deadline, "no batch was finished in time"
        time.sleep(0.005)  # polls a process that has no way to tell us
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@pytest.fixture
def shards(
    tmp_path: Path, draw_folder: Callable[..., Path], pack_folder: Callable[..., object]
) -> Path:
    out = tmp_path / "real"
    for index, class_id in enumerate(("bat", "car")):
        pack_folder(draw_folder(tmp_path / "source" / class_id, 24, 100 * index), out, index)
    return out


def captioning(shards: Path, model: Path) -> Stage:
    settings = {
        "model": str(model),
        "revision": None,
        "dtype": "float32",
        "batch_size": 1,
        "max_new_tokens": 20,
        "num_beams": 1,
        "family": None,
        "prompt": None,
        "num_captions": 1,
        "temperature": None,
        "top_p": None,
        "seed": None,
        "on_repeated": "trim",
        "on_cut": "keep",
    }
    flags = {
        "settings": dump_json(settings),
        "model-mark": "m",
        "threads": 1,
        "tar": shards / "bat-0.tar",
        "manifest": shards / "bat-0.jsonl",
    }
    return Stage("caption_images", flags, {"output": "captions.jsonl"})


def generation(tmp_path: Path, model: Path) -> Stage:
    settings = {
        "model": str(model),
        "revision": None,
        "dtype": "float32",
        "num_inference_steps": 4,
        "guidance_scale": 2.0,
        "true_cfg_scale": None,
        "negative_prompt": None,
        "height": 16,
        "width": 16,
        "batch_size": 1,
        "scheduler": None,
        "scheduler_args": {},
        "max_sequence_length": None,
        "lora": [],
        "attention_slicing": False,
        "vae_slicing": False,
        "compile": "off",
        "safety_checker": "off",
        "safety_retries": 5,
        "overlong_prompts": "truncate",
    }
    keys = [f"bat_{i:06d}" for i in range(24)]
    rows = [
        {
            "key": key,
            "class_id": "bat",
            "class_index": 0,
            "index": i,
            "prompt": "a photo of a bat",
            "seed": i,
            "source_key": None,
            "status": "ok",
            "fingerprint": "p",
        }
        for i, key in enumerate(keys)
    ]
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(dump_json(row) + "\n" for row in rows))
    flags = {
        "settings": dump_json(settings),
        "model-mark": "m",
        "threads": 1,
        "prompts": prompts,
        "extension": "png",
    }
    return Stage("generate_images", flags, {"tar": "bat-0.tar", "manifest": "bat-0.jsonl"})


def training(shards: Path) -> Stage:
    recipe = {
        "model": "test_resnet",
        "image_size": 32,
        "epochs": 6,
        "batch_size": 8,
        "optimizer": "adamw",
        "learning_rate": 1e-3,
        "weight_decay": 0.05,
        "warmup_epochs": 1,
        "label_smoothing": 0.1,
        "crop_scale": [0.6, 1.0],
        "flip": 0.5,
    }
    flags = {
        "recipe": dump_json(complete_recipe(recipe)),
        "class-ids": ["bat", "car"],
        "seed": 0,
        "folders": shards,
        "fractions": 1.0,
        "parts-per-class": 1,
        "threads": 1,
    }
    outputs = {"checkpoint": "seed0.safetensors", "history": "seed0.json"}
    return Stage("train_classifier", flags, outputs)


@pytest.mark.parametrize("name", ["captioning", "generation", "training"])
def test_a_killed_stage_ends_in_the_bytes_of_an_undisturbed_one(
    name: str,
    repository: Path,
    tmp_path: Path,
    shards: Path,
    tiny_captioner: Path,
    tiny_generator: Path,
) -> None:
    stage = {
        "captioning": lambda: captioning(shards, tiny_captioner),
        "generation": lambda: generation(tmp_path, tiny_generator),
        "training": lambda: training(shards),
    }[name]()
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    whole.mkdir()
    killed.mkdir()
    subprocess.run(stage.command(repository, whole), check=True, capture_output=True)
    first = next(iter(stage.outputs.values()))
    kill_in_the_middle(stage.command(repository, killed), killed / f".{first}.partial")
    assert not bytes_of(killed)
    subprocess.run(stage.command(repository, killed), check=True, capture_output=True)
    assert bytes_of(killed) == bytes_of(whole)
    assert not (killed / f".{first}.partial").exists()
