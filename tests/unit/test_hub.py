"""Which files of a hub repository are fetched, and what names the weights of a model."""

import json
from pathlib import Path
from typing import Any

import pytest

from capsynth.errors import CapsynthError
from capsynth.fetching import locks
from capsynth.fetching.hub import (
    choose_data_files,
    choose_files,
    is_hub_id,
    require_hub_id,
    slug_of,
)
from capsynth.files import write_json
from capsynth.fingerprints import file_digest
from capsynth.models import lock_mark, model_bytes, model_mark, require_model

# As Stable Diffusion 1.5 has them.
PIPELINE = [
    ".gitattributes",
    "README.md",
    "model_index.json",
    "v1-5-pruned.safetensors",
    "v1-5-pruned-emaonly.ckpt",
    "feature_extractor/preprocessor_config.json",
    "safety_checker/config.json",
    "safety_checker/model.safetensors",
    "safety_checker/model.fp16.safetensors",
    "safety_checker/pytorch_model.bin",
    "scheduler/scheduler_config.json",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/merges.txt",
    "tokenizer/vocab.json",
    "unet/config.json",
    "unet/diffusion_pytorch_model.safetensors",
    "unet/diffusion_pytorch_model.fp16.safetensors",
    "unet/diffusion_pytorch_model.non_ema.safetensors",
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
    "vae_onnx/model.onnx",
    "vae_onnx/config.json",
]
COMPONENTS = ["feature_extractor", "safety_checker", "scheduler", "text_encoder", "tokenizer"]
COMPONENTS += ["unet", "vae"]


def test_of_a_pipeline_the_plain_weights_of_its_components_are_taken() -> None:
    chosen = choose_files(PIPELINE, COMPONENTS)
    left = sorted(set(PIPELINE) - set(chosen))
    assert left == [
        ".gitattributes",
        "safety_checker/model.fp16.safetensors",
        "safety_checker/pytorch_model.bin",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/diffusion_pytorch_model.non_ema.safetensors",
        "v1-5-pruned-emaonly.ckpt",
        "v1-5-pruned.safetensors",
        "vae_onnx/config.json",
        "vae_onnx/model.onnx",
    ]


def test_of_another_model_what_lies_at_the_root_is_taken() -> None:
    names = [
        *("config.json", "generation_config.json", "tokenizer.json", "merges.txt", "spiece.model"),
        *("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"),
        *("model.safetensors.index.json", "chat_template.jinja", "LICENSE"),
    ]
    others = [
        *("pytorch_model.bin", "pytorch_model.bin.index.json", "modeling_x.py", "tf_model.h5"),
        *("model.fp16-00001-of-00001.safetensors", "onnx/model.onnx", "original/params.json"),
    ]
    assert choose_files([*others, *names]) == sorted(names)


def test_weights_of_one_variant_alone_are_taken() -> None:
    assert choose_files(["lora_v1.0.safetensors", "b.bin"]) == ["lora_v1.0.safetensors"]


def test_of_many_weights_the_named_ones_are_taken() -> None:
    names = ["a.safetensors", "b.safetensors", "c.safetensors", "README.md"]
    assert choose_files(names, wanted=["b.safetensors"]) == ["README.md", "b.safetensors"]
    with pytest.raises(CapsynthError, match=r"has no file 'd.safetensors'"):
        choose_files([*names], wanted=["b.safetensors", "d.safetensors"])


@pytest.mark.parametrize(
    ("names", "components", "said"),
    [
        (["config.json", "x.ckpt"], None, "it holds no weights as safetensors, only x.ckpt"),
        (["model_index.json", "unet/x.bin"], ["unet"], "its folder unet holds no weights"),
        (["config.json"], None, "it holds no weights"),
    ],
)
def test_pickles_are_refused_with_a_remedy(
    names: list[str], components: list[str] | None, said: str
) -> None:
    with pytest.raises(CapsynthError, match=rf"{said}.*pickles are never loaded.*refs/pr/NUMBER"):
        choose_files(names, components)


def test_a_checkpoint_is_taken_only_where_there_is_nothing_else() -> None:
    names = ["config.json", "pytorch_model.bin", "model.ckpt"]
    assert choose_files(names) == ["config.json", "pytorch_model.bin"]
    assert "pytorch_model.bin" not in choose_files([*names, "model.safetensors"])
    parts = ["model_index.json", "unet/diffusion_pytorch_model.bin"]
    assert choose_files(parts, ["unet"]) == parts


def test_of_a_data_set_everything_but_code_and_pickles_is_taken() -> None:
    names = ["README.md", "data/train-0.parquet", "load.py", "x/cache.pkl", ".gitattributes"]
    assert choose_data_files(names) == ["README.md", "data/train-0.parquet"]


def test_slugs_are_one_folder_name_each() -> None:
    assert slug_of("a/sd-v1.5", None) == "a--sd-v1.5"
    assert slug_of("a/sd", "0123abc") == "a--sd@0123abc"
    assert slug_of("gpt2", "refs/pr/3") == "gpt2@refs--pr--3"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("a/b", True),
        ("gpt2", True),
        ("a/b/c", False),
        ("/a/b", False),
        ("../b", False),
        ("", False),
    ],
)
def test_ids_of_the_hub_are_told_from_paths(text: str, answer: bool) -> None:
    assert is_hub_id(text) == answer


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "models/captoiner",
            r"a folder here is called as its owner; did you mean models/captio",
        ),
        ("models/a/b", r"owner/name it is not; models holds captioner"),
        ("owner/name", None),
        ("gpt2", None),
        ("models/fetched", None),
    ],
)
def test_a_path_with_a_typing_error_is_not_taken_for_an_id_of_the_hub(
    name: str, said: str | None, tmp_path: Path
) -> None:
    (tmp_path / "models" / "captioner").mkdir(parents=True)
    (tmp_path / "models--fetched.json").write_text("{}")
    folder = tmp_path / slug_of(name, None)
    if said is None:
        require_hub_id("model", name, tmp_path, folder)
        return
    with pytest.raises(CapsynthError, match=rf"model '{name}' is no folder .*{said}"):
        require_hub_id("model", name, tmp_path, folder)


# ---- stamps, locks and marks --------------------------------------------------------------------


def stamp_of(folder: Path, **changes: Any) -> Path:
    """Fill a folder with weights and stamp it."""
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    values = {
        "id": "a/model",
        "kind": "model",
        "revision": "c" * 40,
        "wanted": [],
        "files": {"model.safetensors": {"size": 7, "sha256": "d" * 64}},
        "bytes": 7,
        "license": None,
        **changes,
    }
    stamp = folder.with_name(f"{folder.name}.json")
    write_json(stamp, values)
    return stamp


def test_a_local_folder_is_named_by_its_own_mark_alone(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    mark = model_mark(str(tmp_path / "m"))
    assert require_model(str(tmp_path / "m"), mark, []) == mark


def test_the_name_of_hub_weights_follows_commit_and_contents(tmp_path: Path) -> None:
    stamp = stamp_of(tmp_path / "m-v1.5")
    marks = {require_model(str(tmp_path / "m-v1.5"), "", [stamp])}
    values = json.loads(stamp.read_text())
    marks.add(lock_mark({**values, "revision": "e" * 40}))
    marks.add(lock_mark({**values, "files": {"model.safetensors": {"size": 7, "sha256": "f"}}}))
    assert lock_mark({**values, "license": "mit", "bytes": 8}) == lock_mark(values)
    assert len(marks) == 3


def test_lora_weights_are_part_of_the_name(tmp_path: Path) -> None:
    model = stamp_of(tmp_path / "m")
    lora = stamp_of(tmp_path / "lora", revision="b" * 40)
    folder = str(tmp_path / "m")
    names = [
        require_model(folder, "", [model]),
        require_model(folder, "", [model, lora]),
        require_model(folder, "local", [model]),
        require_model(folder, "local", [lora]),
    ]
    assert len(set(names)) == 4


@pytest.mark.parametrize("damage", ["folder", "file", "cut", "stamp", "broken stamp"])
def test_what_is_missing_is_told_with_the_command_that_fetches_it(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAPSYNTH_PREFETCH", "snakemake prefetch --configfile mine.yaml")
    stamp = stamp_of(tmp_path / "m")
    weights = tmp_path / "m" / "model.safetensors"
    if damage == "cut":
        weights.write_bytes(b"w")
    elif damage == "stamp":
        stamp.unlink()
    elif damage == "broken stamp":
        stamp.write_text("{}")
    else:
        weights.unlink()
        if damage == "folder":
            weights.parent.rmdir()
    with pytest.raises(CapsynthError, match=r"snakemake prefetch .* mine\.yaml"):
        require_model(str(tmp_path / "m"), "", [stamp])


def test_a_local_folder_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(CapsynthError, match=r"model .*/no is not there.*snakemake prefetch"):
        require_model(str(tmp_path / "no"), "mark", [])


def test_the_lock_file_keeps_the_entries_of_other_experiments(tmp_path: Path) -> None:
    lock = tmp_path / "lock.json"
    first, second = stamp_of(tmp_path / "models/a"), stamp_of(tmp_path / "models/b", id="a/b")
    locks.write_lock(lock, [first])
    before = lock.read_bytes()
    locks.write_lock(lock, [first])
    assert lock.read_bytes() == before
    locks.write_lock(lock, [second])
    assert set(locks.read_lock(lock)["models"]) == {"a", "b"}
    assert locks.locked(lock, first) == locks.read_stamp(first)
    assert locks.locked(lock, tmp_path / "datasets/a.json") is None


def test_a_folder_is_as_stamped_if_it_has_the_same_bytes_and_no_other_file(tmp_path: Path) -> None:
    stamp = stamp_of(tmp_path / "a")
    weights = tmp_path / "a" / "model.safetensors"
    values = locks.read_stamp(stamp)
    values["files"][weights.name]["sha256"] = file_digest(weights)
    assert locks.is_as_stamped(values, weights.parent)
    weights.write_bytes(b"sthgiew")
    assert locks.missing_files(values, weights.parent) == []
    assert not locks.is_as_stamped(values, weights.parent)
    weights.write_bytes(b"weights")
    (tmp_path / "a" / "adapter_config.json").write_text("{}")
    assert not locks.is_as_stamped(values, weights.parent)
    assert not locks.is_as_stamped(values, tmp_path / "missing")


@pytest.mark.parametrize(
    "entry",
    [{}, 5, {"sha256": "f"}, {"revision": "c", "files": {}}, {"revision": "c", "files": {"a": {}}}],
)
def test_a_damaged_entry_of_the_lock_file_is_named(entry: Any, tmp_path: Path) -> None:
    (tmp_path / "lock.json").write_text(json.dumps({"models": {"a": entry}}))
    with pytest.raises(CapsynthError, match="its entry models/a is damaged"):
        locks.locked(tmp_path / "lock.json", tmp_path / "models" / "b.json")


@pytest.mark.parametrize("text", ["{", "[]", '{"other": {}}', '{"models": []}', "deep"])
def test_a_damaged_lock_file_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "lock.json").write_text("[" * 100_000 if text == "deep" else text)
    with pytest.raises(CapsynthError, match=r"lock.json is"):
        locks.read_lock(tmp_path / "lock.json")


def test_the_size_of_a_model_is_that_of_its_files_or_what_its_stamp_says(tmp_path: Path) -> None:
    (tmp_path / "local" / "unet").mkdir(parents=True)
    assert model_bytes(tmp_path / "local") is None
    (tmp_path / "local" / "config.json").write_bytes(b"12")
    (tmp_path / "local" / "unet" / "model.safetensors").write_bytes(b"345")
    assert model_bytes(tmp_path / "local") == 5
    assert model_bytes(tmp_path / "local" / "config.json") == 2
    stamp = stamp_of(tmp_path / "of-the-hub")
    files = {name: {"size": 7, "sha256": "f"} for name in ("a.safetensors", "b.safetensors")}
    stamp.write_text(json.dumps({"revision": "e" * 40, "files": files}))
    assert model_bytes(tmp_path / "of-the-hub") == 14
    stamp.write_text("{}")
    assert model_bytes(tmp_path / "of-the-hub") is None
