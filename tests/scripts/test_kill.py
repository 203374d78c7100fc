"""Stages killed, stopped and started twice: they end in the same bytes, and do no batch twice."""

import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
from batch_log import begun_again, begun_batches, read_batch_log
from settings import captioner_settings, generator_settings
from waiting import BACKSTOP_S, wait_until

import caption_images
import generate_images
import train_classifier
from capsynth.configuration import complete_recipe
from capsynth.errors import TRY_AGAIN
from capsynth.files import dump_json
from capsynth.resuming import BATCH_LOG_VARIABLE

pytestmark = pytest.mark.slow
# Suffixes of the files that make a batch complete; a training's is its saved state.
FINISHED = {".jsonl", ".safetensors"}


@dataclass(frozen=True)
class Stage:
    """A stage's command line.

    Attributes:
        script: The script.
        flags: Flags without the outputs.
        outputs: Flags of the outputs and their file names; the first one is resumed.
    """

    script: ModuleType
    flags: dict[str, object]
    outputs: dict[str, str]

    def words(self, folder: Path) -> list[str]:
        line = []
        files = {flag: folder / name for flag, name in self.outputs.items()}
        for name, value in {**self.flags, **files}.items():
            many = value if isinstance(value, list) else [value]
            line += [f"--{name}", *map(str, many)]
        return line

    def run(self, folder: Path) -> None:
        """Run it to its end in this process, which has its imports."""
        self.script.main(self.words(folder))

    def command(self, folder: Path) -> list[str]:
        """The command that runs it in a process of its own, which can be ended."""
        return [sys.executable, str(self.script.__file__), *self.words(folder)]


@dataclass(frozen=True)
class Whole:
    """A run of a stage that nothing disturbed.

    Attributes:
        folder: Where its outputs lie, and what it keeps to go on from.
        bytes: Its outputs.
        batches: What it had to do.
    """

    folder: Path
    bytes: dict[str, bytes]
    batches: set[str]


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def end_in_the_middle(command: list[str], partial: Path, number: signal.Signals) -> int:
    """Start a stage, send it a signal once its first finished batch lies on the disk.

    Returns:
        How it ended.
    """
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)

    def has_finished_a_batch() -> bool:
        assert process.poll() is None, "the stage ended before it could be killed"
        return any(p.suffix in FINISHED for p in partial.rglob("0*") if p.is_file())

    wait_until(has_finished_a_batch, "a finished batch")
    process.send_signal(number)
    return process.wait()


def batch_numbers(log: Path) -> set[str]:
    return {number for _, number in begun_batches(read_batch_log(log))}


@pytest.fixture(scope="module")
def shards(
    tmp_path_factory: pytest.TempPathFactory,
    draw_folder: Callable[..., Path],
    pack_folder: Callable[..., object],
) -> Path:
    root = tmp_path_factory.mktemp("shards")
    for index, class_id in enumerate(("bat", "car")):
        pack_folder(draw_folder(root / "source" / class_id, 24, 100 * index), root, index)
    return root


def captioning(shards: Path, model: Path) -> Stage:
    settings = captioner_settings(model, batch_size=1, max_new_tokens=20)
    flags = {
        "settings": dump_json(settings),
        "model-mark": "m",
        "threads": 1,
        "tar": shards / "bat-0.tar",
        "manifest": shards / "bat-0.jsonl",
    }
    return Stage(caption_images, flags, {"output": "captions.jsonl"})


def generation(folder: Path, model: Path) -> Stage:
    settings = generator_settings(model, batch_size=1, num_inference_steps=4)
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
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(dump_json(row) + "\n" for row in rows))
    flags = {
        "settings": dump_json(settings),
        "model-mark": "m",
        "threads": 1,
        "prompts": prompts,
        "extension": "png",
    }
    return Stage(generate_images, flags, {"tar": "bat-0.tar", "manifest": "bat-0.jsonl"})


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
    return Stage(train_classifier, flags, outputs)


@pytest.fixture(scope="module", params=["captioning", "generation", "training"])
def stage(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    shards: Path,
    tiny_captioner: Path,
    tiny_generator: Path,
) -> Stage:
    return {
        "captioning": lambda: captioning(shards, tiny_captioner),
        "generation": lambda: generation(tmp_path_factory.mktemp("prompts"), tiny_generator),
        "training": lambda: training(shards),
    }[request.param]()


@pytest.fixture(scope="module")
def whole(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("whole")
    log = tmp_path_factory.mktemp("log") / "batches.log"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(BATCH_LOG_VARIABLE, str(log))
        stage.run(folder)
    return Whole(folder, bytes_of(folder), batch_numbers(log))


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "batches.log"
    monkeypatch.setenv(BATCH_LOG_VARIABLE, str(path))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "outputs"
    path.mkdir()
    return path


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_stage_ended_by_a_signal_goes_on_from_its_last_batch_and_ends_in_the_same_bytes(
    number: signal.Signals, stage: Stage, whole: Whole, folder: Path, log: Path
) -> None:
    first = next(iter(stage.outputs.values()))
    code = end_in_the_middle(stage.command(folder), folder / f".{first}.partial", number)
    # After SIGTERM it has saved all that it began, and tells that it is to be started again.
    assert code == (TRY_AGAIN if number == signal.SIGTERM else -number)
    if number == signal.SIGTERM:
        notes = read_batch_log(log)
        begun = [note.number for note in notes if note.event == "begun"]
        assert begun == [note.number for note in notes if note.event == "finished"]
    assert not bytes_of(folder)
    stage.run(folder)
    assert bytes_of(folder) == whole.bytes
    assert begun_again(read_batch_log(log)) == []
    if stage.script is not train_classifier:  # a training may be stopped between two epochs
        assert batch_numbers(log) == whole.batches


def test_a_finished_stage_that_runs_again_takes_its_result(
    stage: Stage, whole: Whole, log: Path
) -> None:
    for name in whole.bytes:  # as Snakemake does before a job starts
        (whole.folder / name).unlink()
    stage.run(whole.folder)
    assert bytes_of(whole.folder) == whole.bytes
    assert not log.exists()  # no batch was begun


def test_two_copies_of_a_stage_at_once_end_in_the_same_bytes(
    stage: Stage, whole: Whole, folder: Path, log: Path
) -> None:
    command = stage.command(folder)
    copies = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for copy in copies:
        _, said = copy.communicate(timeout=BACKSTOP_S)
        assert copy.returncode == 0, said
    assert bytes_of(folder) == whole.bytes
    assert begun_again(read_batch_log(log)) == [], log.read_text()
