"""Stages killed, stopped and started twice: they end in the same bytes, and do no batch twice."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from generator_settings import generator_settings

from capsynth.configuration import complete_recipe
from capsynth.errors import TRY_AGAIN
from capsynth.files import dump_json
from capsynth.resuming import BATCH_LOG_VARIABLE

pytestmark = pytest.mark.slow
PATIENCE_S = 120
# Suffixes of the files that make a batch complete; a training's is its saved state.
FINISHED = {".jsonl", ".safetensors"}


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


def end_in_the_middle(command: list[str], partial: Path, number: signal.Signals) -> int:
    """Start a stage, send it a signal once its first finished batch lies on the disk.

    Returns:
        How it ended.
    """
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + PATIENCE_S
    while not any(p.suffix in FINISHED for p in partial.rglob("0*") if p.is_file()):
        assert process.poll() is None, "the stage ended before it could be killed"
        assert time.monotonic() < deadline, "no batch was finished in time"
        time.sleep(0.005)  # polls a process that has no way to tell us
    process.send_signal(number)
    return process.wait()


def events(log: Path) -> list[tuple[str, str]]:
    """Return (batch, event) in the order in which they were noted."""
    lines = [line.split("\t") for line in log.read_text().splitlines()]
    return [(batch, event) for _, batch, _, event in lines]


def begun_again(log: Path, *, unlocked: bool = False) -> list[str]:
    """Return the batches that were begun although they had been finished.

    Args:
        log: Log of batches.
        unlocked: Whether a batch may end between a look for finished ones and the beginning: those
            count that were finished before the process that begins them noted its last event.
    """
    finished: list[str] = []
    known: dict[str, int] = {}  # how many were finished at the last event of a process
    again = []
    for line in log.read_text().splitlines():
        _, batch, process, event = line.split("\t")
        seen = known.get(process, 0) if unlocked else len(finished)
        if event == "begun" and batch in finished[:seen]:
            again.append(batch)
        elif event == "finished":
            finished.append(batch)
        known[process] = len(finished)
    return again


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
    settings = generator_settings(model, num_inference_steps=4, batch_size=1)
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


@pytest.fixture(params=["captioning", "generation", "training"])
def stage(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    shards: Path,
    tiny_captioner: Path,
    tiny_generator: Path,
) -> Stage:
    return {
        "captioning": lambda: captioning(shards, tiny_captioner),
        "generation": lambda: generation(tmp_path, tiny_generator),
        "training": lambda: training(shards),
    }[request.param]()


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "batches.log"
    monkeypatch.setenv(BATCH_LOG_VARIABLE, str(path))
    return path


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("whole", "other"):
        (tmp_path / name).mkdir()
    return tmp_path / "whole", tmp_path / "other"


def run(stage: Stage, repository: Path, folder: Path) -> None:
    subprocess.run(stage.command(repository, folder), check=True, capture_output=True)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_stage_ended_by_a_signal_goes_on_from_its_last_batch_and_ends_in_the_same_bytes(
    number: signal.Signals,
    stage: Stage,
    repository: Path,
    folders: tuple[Path, Path],
    log: Path,
) -> None:
    whole, ended = folders
    run(stage, repository, whole)
    needed = {batch for batch, _ in events(log)}
    log.unlink()
    first = next(iter(stage.outputs.values()))
    code = end_in_the_middle(stage.command(repository, ended), ended / f".{first}.partial", number)
    # After SIGTERM it has saved all that it began, and tells that it is to be started again.
    assert code == (TRY_AGAIN if number == signal.SIGTERM else -number)
    if number == signal.SIGTERM:
        begun = [batch for batch, event in events(log) if event == "begun"]
        assert begun == [batch for batch, event in events(log) if event == "finished"]
    assert not bytes_of(ended)
    run(stage, repository, ended)
    assert bytes_of(ended) == bytes_of(whole)
    assert begun_again(log) == []
    if stage.script != "train_classifier":  # a training may be stopped between two epochs
        assert {batch for batch, _ in events(log)} == needed


def test_a_finished_stage_that_runs_again_takes_its_result(
    stage: Stage, repository: Path, folders: tuple[Path, Path], log: Path
) -> None:
    _, folder = folders
    run(stage, repository, folder)
    before, lines = bytes_of(folder), events(log)
    for name in before:  # as Snakemake does before a job starts
        (folder / name).unlink()
    run(stage, repository, folder)
    assert bytes_of(folder) == before
    assert events(log) == lines


def test_two_copies_of_a_stage_at_once_end_in_the_same_bytes(
    stage: Stage, repository: Path, folders: tuple[Path, Path], log: Path
) -> None:
    whole, shared = folders
    run(stage, repository, whole)
    log.unlink()
    command = stage.command(repository, shared)
    copies = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for copy in copies:
        _, said = copy.communicate(timeout=PATIENCE_S)
        assert copy.returncode == 0, said
    assert bytes_of(shared) == bytes_of(whole)
    # A training takes no locks: its copies may train an epoch at once, and look for newer states.
    again = begun_again(log, unlocked=stage.script == "train_classifier")
    assert again == [], log.read_text()
