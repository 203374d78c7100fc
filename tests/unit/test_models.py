"""What local models are to the results that rest on them: their content, wherever they lie."""

import dataclasses
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from capsynth import digests
from capsynth.digests import cached_digest, require_as_taken
from capsynth.errors import CapsynthError
from capsynth.files import write_json
from capsynth.fingerprints import file_digest
from capsynth.models import (
    LOCAL,
    lora_role,
    model_mark,
    near_places,
    note_weights,
    take_models,
    without_places,
)


@dataclass(frozen=True)
class Settings:
    """As much of a generator's settings as is needed."""

    model: str = LOCAL
    steps: int = 2
    lora: tuple[dict[str, Any], ...] = ()


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder with the weights of a model, all of it an hour old."""
    folder = tmp_path / "m"
    (folder / "unet").mkdir(parents=True)
    save_file({"w": np.arange(400, dtype=np.float32)}, folder / "unet" / "x.safetensors")
    (folder / "model_index.json").write_text('{"unet": ["diffusers", "UNet2DConditionModel"]}')
    return folder


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an hour have passed since all files were made."""
    now = time.time
    monkeypatch.setattr(digests.time, "time", lambda: now() + 3600)


def flip(path: Path, place: int = -3) -> None:
    """Turn one bit of a file over, and put its time back."""
    times, data = path.stat(), bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def weights_of(model: Path) -> Path:
    return model / "unet" / "x.safetensors"


def test_other_weights_of_the_same_size_and_time_are_another_model(model: Path) -> None:
    before = model_mark(str(model))
    flip(weights_of(model))
    assert model_mark(str(model)) != before


def test_a_checksum_file_does_not_stand_for_what_it_lists(model: Path) -> None:
    digest = file_digest(weights_of(model))
    (model / "SHA256SUMS").write_text(f"{digest}  unet/x.safetensors\n")
    before = model_mark(str(model))
    flip(weights_of(model))
    assert model_mark(str(model)) != before


def test_a_model_is_the_same_wherever_it_lies_and_whatever_is_written_about_it(
    model: Path, tmp_path: Path
) -> None:
    before = model_mark(str(model))
    other = model.rename(tmp_path / "elsewhere")
    (other / "README.md").write_text("about it")
    (other / "pytorch_model.bin").write_bytes(b"never read")
    (other / ".cache").mkdir()
    (other / ".cache" / "note.json").write_text("{}")
    assert model_mark(str(other)) == before
    # A part may be a link to a folder that several pipelines share.
    shared = (other / "unet").rename(tmp_path / "shared")
    (other / "unet").symlink_to(shared)
    assert model_mark(str(other)) == before
    flip(shared / "x.safetensors")
    assert model_mark(str(other)) != before


def test_jobs_are_told_where_the_weights_lie_that_their_settings_do_not_name(
    model: Path, tmp_path: Path
) -> None:
    lora = shutil.copy(weights_of(model), tmp_path / "style.safetensors")
    settings = Settings(lora=({"path": LOCAL, "weight_name": None, "scale": 0.5},))
    mark = note_weights({"model": model, lora_role(0): Path(lora)}, tmp_path / "notes")
    taken, name = take_models(settings, mark, [], tmp_path / "notes")
    assert name == mark
    assert (taken.model, taken.lora[0]["path"]) == (str(model), str(lora))
    assert without_places(taken) == {"steps": 2, "lora": [0.5]} == without_places(settings)
    moved = Path(shutil.move(model, tmp_path / "moved"))
    assert note_weights({"model": moved, lora_role(0): Path(lora)}, tmp_path / "notes") == mark
    assert take_models(settings, mark, [], tmp_path / "notes")[0].model == str(moved)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda m: flip(weights_of(m)), r"unet/x\.safetensors is not what it was when this run"),
        (lambda m: os.truncate(weights_of(m), 100), r"unet/x\.safetensors is not what it was"),
        (lambda m: flip(m / "model_index.json"), r"model_index\.json is not what it was"),
        (lambda m: weights_of(m).unlink(), r"unet/x\.safetensors is missing"),
        (lambda m: (m / "more.json").write_text("{}"), r"more\.json is new since this run"),
    ],
)
def test_what_is_loaded_is_what_was_planned_or_refused_by_the_files_name(
    damage: Any, said: str, model: Path, tmp_path: Path, settled: None
) -> None:
    mark = note_weights({"model": model}, tmp_path / "notes")
    take_models(Settings(), mark, [], tmp_path / "notes")
    damage(model)
    with pytest.raises(CapsynthError, match=said):
        take_models(Settings(), mark, [], tmp_path / "notes")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda m: os.truncate(weights_of(m), 1000), r"x\.safetensors is damaged or cut short"),
        (lambda m: os.truncate(m / "model_index.json", 9), r"index\.json is damaged or cut short"),
        (
            lambda m: (m / "SHA256SUMS").write_text(f"{'0' * 64} *unet/x.safetensors\n"),
            r"x\.safetensors is not what .*SHA256SUMS says: .* delete it",
        ),
    ],
)
def test_a_model_that_was_damaged_before_it_was_planned_is_refused_by_the_files_name(
    damage: Any, said: str, model: Path, tmp_path: Path
) -> None:
    damage(model)
    mark = note_weights({"model": model}, tmp_path / "notes")

    def load() -> None:
        take_models(Settings(), mark, [], tmp_path / "notes")
        require_as_taken()  # as loaders do

    with pytest.raises(CapsynthError, match=said):
        load()


def test_a_file_that_changes_while_it_is_loaded_is_told(model: Path, tmp_path: Path) -> None:
    mark = note_weights({"model": model}, tmp_path / "notes")
    take_models(Settings(), mark, [], tmp_path / "notes")
    require_as_taken()
    take_models(Settings(), mark, [], tmp_path / "notes")
    flip(weights_of(model))
    with pytest.raises(CapsynthError, match=r"x\.safetensors was changed while it was being load"):
        require_as_taken()


@pytest.mark.parametrize("damage", ["flipped", "same size"])
def test_a_hub_model_is_held_to_the_checksums_of_its_stamp(damage: str, model: Path) -> None:
    files = {
        str(file.relative_to(model)): {"size": file.stat().st_size, "sha256": file_digest(file)}
        for file in (weights_of(model), model / "model_index.json")
    }
    stamp = model.with_name("m.json")
    write_json(stamp, {"id": "a/m", "revision": "c" * 40, "files": files})
    notes = model.with_name("notes")
    settings = dataclasses.replace(Settings(), model=str(model))
    take_models(settings, "none", [stamp], notes)
    if damage == "flipped":
        flip(weights_of(model))
    else:
        save_file({"w": np.ones(400, dtype=np.float32)}, weights_of(model))
    with pytest.raises(CapsynthError, match=r"x\.safetensors is not what was fetched.*prefetch"):
        take_models(settings, "none", [stamp], notes)


def test_a_file_is_hashed_once_as_long_as_it_stays_as_it_is(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settled: None
) -> None:
    hashed = []

    def digest(path: Path) -> str:
        hashed.append(path.name)
        return file_digest(path)

    monkeypatch.setattr(digests, "file_digest", digest)
    file, cache = weights_of(model), tmp_path / "cache"
    assert cached_digest(file, cache) == cached_digest(file, cache) == file_digest(file)
    assert len(hashed) == 1
    flip(file)
    assert cached_digest(file, cache) == file_digest(file)
    assert len(hashed) == 2
    # What the cache says is believed only as a whole.
    (entry,) = cache.iterdir()
    flip(entry, entry.read_text().index("sha256") + 20)
    assert cached_digest(file, cache) == file_digest(file)
    assert len(hashed) == 3
    entry.write_text("{")
    assert cached_digest(file, cache) == file_digest(file)
    # It may be in a folder that cannot be written.
    (tmp_path / "closed").write_text("a file")
    assert cached_digest(file, tmp_path / "closed") == file_digest(file)


def test_a_file_that_was_changed_just_now_is_hashed_again(model: Path, tmp_path: Path) -> None:
    cached_digest(weights_of(model), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("m/unte", "; did you mean m/unet?"),
        ("m/zzzzz/deep", "; m holds model_index.json, unet"),
        ("m/unet/../unet/x", "; m/unet/../unet holds x.safetensors"),
    ],
)
def test_a_path_that_leads_nowhere_is_told_with_what_lies_near(
    name: str, said: str, model: Path
) -> None:
    assert near_places(name, model.parent) == said
    with pytest.raises(CapsynthError, match=r"unte is not there; did you mean .*/unet\?"):
        note_weights({"model": model / "unte"}, model.parent / "notes")
