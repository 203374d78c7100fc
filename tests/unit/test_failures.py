"""What the machine runs out of is said in a line with a remedy, and early where it can be."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from settings import generator_settings

from capsynth import cli, failures, files
from capsynth.devices import COUNT_VARIABLE, DEVICE_VARIABLE, GIVEN_VARIABLES, device
from capsynth.errors import CapsynthError, StorageFailed
from capsynth.failures import explain
from capsynth.files import require_room, write_text
from capsynth.training_state import save_state


def say(error: BaseException, script: str = "generate_images") -> str:
    said = explain(error, script)
    assert said is not None
    assert "\n" not in said
    return said


@pytest.fixture
def mounted(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A small file system of its own, with the options that the test gives."""
    folder = tmp_path / "disk"
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", request.param, "tmpfs", str(folder)]
    try:
        done = subprocess.run(words, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("mount is not installed")
    if done.returncode != 0:
        pytest.skip(f"file systems cannot be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("mounted", ["size=64k"], indirect=True)
def test_a_full_disk_is_named_and_leaves_nothing_behind(mounted: Path) -> None:
    path = mounted / "shard.jsonl"
    with pytest.raises(StorageFailed, match=r"shard\.jsonl cannot be written: No space left"):
        write_text(path, "x" * 100_000)
    with pytest.raises(StorageFailed, match=r"a\.safetensors cannot be written: No space left"):
        save_state(mounted / "a.safetensors", {"w": {"w": torch.zeros(100_000)}}, None)
    assert list(mounted.iterdir()) == []


@pytest.mark.parametrize("mounted", ["size=1m,nr_inodes=3"], indirect=True)
def test_a_full_inode_table_says_where_to_look(mounted: Path) -> None:
    write_text(mounted / "a.json", "{}")
    write_text(mounted / "b.json", "{}")
    with pytest.raises(StorageFailed, match=r"c\.json cannot be written: No space .*df -h, df -i"):
        write_text(mounted / "c.json", "{}")


@pytest.mark.parametrize("mounted", ["ro,size=64k"], indirect=True)
def test_a_read_only_folder_is_named(mounted: Path) -> None:
    with pytest.raises(StorageFailed, match=r"a\.json cannot be written: Read-only file system"):
        write_text(mounted / "results" / "a.json", "{}")


def test_room_is_asked_for_before_a_stage_writes(tmp_path: Path) -> None:
    output = tmp_path / "not" / "there" / "bat-0.tar"
    require_room(output, 1)
    with pytest.raises(CapsynthError, match=r"bat-0\.tar: about 1000000000000 MB will be written"):
        require_room(output, 1e18)


@pytest.mark.parametrize(
    ("script", "setting"),
    [
        ("generate_images", "batch_size of the generator, attention_slicing or vae_slicing"),
        ("caption_images", "batch_size of the captioner"),
        ("train_classifier", "another recipe"),
        ("make_tables", "fewer threads"),
    ],
)
def test_too_little_memory_names_the_setting_of_the_stage(script: str, setting: str) -> None:
    gpu = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nGPU 0 has")
    with pytest.raises(RuntimeError) as raised:
        torch.empty(1 << 60)
    for error, memory in (
        (gpu, "the GPU's memory"),
        (raised.value, "memory"),
        (MemoryError(), "memory"),
    ):
        said = say(error, script)
        assert said.startswith(f"{memory} is out: set ")
        assert setting in said


def test_every_script_with_advice_on_memory_exists(repository: Path) -> None:
    scripts = {path.stem for path in (repository / "workflow" / "scripts").glob("*.py")}
    assert set(failures.LESS_MEMORY) <= scripts


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        KeyError("x"),
        FileNotFoundError(errno.ENOENT, "No such file", "x"),
        RuntimeError("no"),
    ],
)
def test_mistakes_in_the_code_are_not_explained_away(error: Exception) -> None:
    assert explain(error, "pack_real") is None


def test_a_script_prints_the_line_and_ends_with_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["somewhere/caption_images.py"])

    def main() -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), "results/a.jsonl")

    assert cli.run(main) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: results/a.jsonl: Disk quota exceeded; free some, of files too")


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("SLURM_STEP_GPUS", "3", "GPU 3"),
        ("SLURM_JOB_GPUS", "0,1", "GPU 0,1"),
        ("SLURM_GPUS_ON_NODE", "1", "1 GPUs"),
    ],
)
def test_a_gpu_that_was_given_and_cannot_be_used_is_an_error(
    variable: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(DEVICE_VARIABLE, raising=False)
    for name in (*GIVEN_VARIABLES, COUNT_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device() == "cpu"
    monkeypatch.setenv(COUNT_VARIABLE, "0")
    assert device() == "cpu"
    monkeypatch.setenv(variable, value)
    with pytest.raises(CapsynthError, match=rf"gave this job {said}, and torch .* sees none"):
        device()
    monkeypatch.setenv(DEVICE_VARIABLE, "cpu")
    assert device() == "cpu"
    monkeypatch.setenv(DEVICE_VARIABLE, "cuda")
    with pytest.raises(CapsynthError, match="sees none"):
        device()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert device() == "cuda"
    monkeypatch.setenv(DEVICE_VARIABLE, "gpu")
    with pytest.raises(CapsynthError, match=f"unknown {DEVICE_VARIABLE} 'gpu'"):
        device()


@pytest.mark.parametrize(("extension", "needed"), [("png", 4), ("jpg", 1)])
def test_drawing_asks_for_the_room_of_its_batches_and_their_shard(
    extension: str, needed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from capsynth import generation

    asked: list[Any] = []

    def ask(path: Path, size_bytes: float) -> None:
        asked.append((path.name, size_bytes))
        raise CapsynthError("no room")

    monkeypatch.setattr(generation, "require_room", ask)
    rows = [{"key": f"a_{i}", "prompt": "a", "seed": i, "fingerprint": "f"} for i in range(3)]
    rows.append({"key": "a_3", "prompt": None, "seed": 3, "fingerprint": "f"})
    files.write_json_lines(tmp_path / "prompts.jsonl", rows)
    settings = generation.GeneratorSettings(**generator_settings("none", width=32))
    with pytest.raises(CapsynthError, match="no room"):
        generation.generate_shard(
            settings, tmp_path / "prompts.jsonl", extension, tmp_path / "a.tar",
            tmp_path / "a.jsonl", "m",
        )  # fmt: skip
    assert asked == [("a.tar", needed * 3 * 16 * 32)]
