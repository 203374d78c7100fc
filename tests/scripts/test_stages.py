"""The stages' command lines, from a folder of images to predictions, on tiny models."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from settings import captioner_settings, generator_settings

import caption_images
import evaluate_classifier
import generate_images
import pack_eval_set
import pack_real
import train_classifier
import write_prompts
from capsynth import captioners, generation, training_loop
from capsynth.configuration import complete_recipe
from capsynth.errors import CapsynthError
from capsynth.files import dump_json, read_json, read_json_lines, write_json_lines
from capsynth.predictions import read_predictions
from capsynth.shards import ShardReader, read_manifest, usable

FORMAT = dump_json({"side": None, "extension": "png"})
RECIPE = {
    "model": "test_resnet",
    "image_size": 32,
    "epochs": 3,
    "batch_size": 4,
    "optimizer": "adamw",
    "learning_rate": 1e-3,
    "weight_decay": 0.05,
    "warmup_epochs": 0,
    "label_smoothing": 0.1,
    "crop_scale": [0.6, 1.0],
    "flip": 0.5,
}


def words(**flags: object) -> list[str]:
    """Return flags as a command line has them: ``words(class_ids=["a", "b"])``."""
    line: list[str] = []
    for name, value in flags.items():
        many = value if isinstance(value, list) else [value]
        line += [f"--{name.replace('_', '-')}", *map(str, many)]
    return line


class Stopped(Exception):
    """Stands for a kill in the middle of a stage."""


def stop_after(calls: int, function: Callable[..., object]) -> Callable[..., object]:
    """Return ``function``, which works ``calls`` times and then raises ``Stopped``."""
    count = 0

    def limited(*args: object, **kwargs: object) -> object:
        nonlocal count
        count += 1
        if count > calls:
            raise Stopped
        return function(*args, **kwargs)

    return limited


def pack(folder: Path, out: Path, **changes: str) -> None:
    name = f"{folder.name}-0"
    flags = {
        "--folder": str(folder),
        "--shard": name,
        "--class-index": "0",
        "--parts-per-class": "1",
        "--format": FORMAT,
        "--source-token": "t",
        "--tar": str(out / f"{name}.tar"),
        "--manifest": str(out / f"{name}.jsonl"),
        "--index": str(out / f".{name}.sources.json"),
        **changes,
    }
    pack_real.main([word for pair in flags.items() for word in pair])


def caption(model: Path, real: tuple[Path, Path], output: Path, batch_size: int = 2) -> None:
    caption_images.main(
        words(
            settings=dump_json(captioner_settings(model, batch_size=batch_size)),
            model_mark="m",
            threads=1,
            tar=real[0],
            manifest=real[1],
            output=output,
        )
    )


def generate(model: Path, prompts: Path, out: Path, **changes: object) -> tuple[Path, Path]:
    tar, manifest = out / "bat-0.tar", out / "bat-0.jsonl"
    generate_images.main(
        words(
            settings=dump_json(generator_settings(model, **changes)),
            model_mark="m",
            threads=1,
            prompts=prompts,
            extension="png",
            tar=tar,
            manifest=manifest,
        )
    )
    return tar, manifest


def pack_eval(
    root: Path, class_ids: list[str], out: Path, **corruptions: object
) -> tuple[Path, Path]:
    tar, manifest = out / "e.tar", out / "e.jsonl"
    pack_eval_set.main(
        words(
            folder=root,
            class_ids=class_ids,
            format=FORMAT,
            source_token="t",
            tar=tar,
            manifest=manifest,
            index=out / "e.json",
            **corruptions,
        )
    )
    return tar, manifest


def evaluate(checkpoint: Path, eval_set: tuple[Path, Path], output: Path) -> None:
    name = {"dataset": "d", "training_set": "real", "recipe": "r", "seed": 0, "eval_set": "e"}
    evaluate_classifier.main(
        words(
            name=dump_json(name),
            checkpoint=checkpoint,
            tar=eval_set[0],
            manifest=eval_set[1],
            threads=1,
            output=output,
        )
    )


def prompt(output: Path, images: int = 5) -> Path:
    settings = {
        "dataset": "d",
        "strategy": "class-name",
        "templates": ["a photo of a {class_name}"],
        "backgrounds": [],
        "images_per_class": images,
        "images_per_caption": None,
        "on_classless": None,
        "seed": 0,
    }
    about = {"class_id": "bat", "class_name": "bat", "definition": None, "hypernym": None}
    write_prompts.main(
        words(
            settings=dump_json(settings),
            shard="bat-0",
            class_info=dump_json(about),
            class_index=0,
            parts_per_class=1,
            output=output,
        )
    )
    return output


def train(shards: Path, checkpoint: Path, seed: int = 0, **changes: object) -> None:
    train_classifier.main(
        words(
            recipe=dump_json(complete_recipe({**RECIPE, **changes})),
            class_ids=["bat", "car"],
            seed=seed,
            folders=shards,
            fractions=1.0,
            parts_per_class=1,
            threads=1,
            checkpoint=checkpoint,
            history=checkpoint.with_suffix(".json"),
        )
    )


@pytest.fixture
def real(
    tmp_path: Path, draw_folder: Callable[..., Path], pack_folder: Callable[..., object]
) -> Path:
    """A folder with the real shards of two classes."""
    out = tmp_path / "real"
    for index, class_id in enumerate(("bat", "car")):
        pack_folder(draw_folder(tmp_path / "source" / class_id, 5, 10 * index), out, index)
    return out


def test_packing_keeps_every_image_and_sets_broken_ones_aside(
    tmp_path: Path, draw_folder: Callable[..., Path]
) -> None:
    folder = draw_folder(tmp_path / "bat", 3)
    (folder / "bat_000001.png").write_bytes(b"not an image")
    Image.new("CMYK", (20, 10)).save(folder / "z.jpg")
    pack(folder, tmp_path / "out")
    records = read_manifest(tmp_path / "out" / "bat-0.jsonl")
    assert [(r.key, r.status, r.index) for r in records] == [
        ("bat_000000", "ok", 0),
        ("bat_000001", "rejected", 1),
        ("bat_000002", "ok", 2),
        ("z", "ok", 3),
    ]
    assert "bat_000001.png: no image" in str(records[1].reason)
    with ShardReader(tmp_path / "out" / "bat-0.tar") as reader:
        assert reader.read_bytes(records[0]) == (folder / "bat_000000.png").read_bytes()
        assert reader.read_image(records[3]).size == (20, 10)


def test_large_images_are_reduced_to_the_side_that_is_asked_for(
    tmp_path: Path, draw_folder: Callable[..., Path]
) -> None:
    folder = draw_folder(tmp_path / "bat", 1)
    Image.new("RGB", (200, 100)).save(folder / "wide.png")
    pack(folder, tmp_path / "out", **{"--format": dump_json({"side": 48, "extension": "jpg"})})
    records = read_manifest(tmp_path / "out" / "bat-0.jsonl")
    with ShardReader(tmp_path / "out" / "bat-0.tar") as reader:
        assert [reader.read_image(r).size for r in records] == [(48, 48), (96, 48)]
    assert [r.extension for r in records] == ["png", "jpg"]


def test_a_class_folder_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(CapsynthError, match="bat does not exist; create it"):
        pack(tmp_path / "bat", tmp_path / "out")


def test_settings_with_a_misspelt_name_are_refused(tmp_path: Path, real: Path) -> None:
    with pytest.raises(CapsynthError, match="settings lack 'side'"):
        pack(tmp_path / "source" / "bat", tmp_path, **{"--format": '{"sid": 1}'})


def test_corruptions_are_stored_under_keys_of_their_own(tmp_path: Path, real: Path) -> None:
    corruptions = {"corruptions": ["jpeg", "contrast"], "severities": [1, 5]}
    _, manifest = pack_eval(tmp_path / "source", ["bat", "car"], tmp_path, **corruptions)
    records = read_manifest(manifest)
    assert len(records) == 10 * 4
    assert [r.key for r in records[:4]] == [
        "bat_000000.jpeg-1",
        "bat_000000.jpeg-5",
        "bat_000000.contrast-1",
        "bat_000000.contrast-5",
    ]
    assert {r.class_index for r in records if r.class_id == "car"} == {1}


def test_an_evaluation_set_has_no_holes(tmp_path: Path, real: Path) -> None:
    (tmp_path / "source" / "car" / "broken.png").write_bytes(b"x")
    with pytest.raises(CapsynthError, match=r"broken\.png.*mend or remove the image"):
        pack_eval(tmp_path / "source", ["bat", "car"], tmp_path)
    assert not (tmp_path / "e.tar").exists()


def test_every_usable_image_gets_one_caption(
    tmp_path: Path, real: Path, tiny_captioner: Path
) -> None:
    shard = (real / "bat-0.tar", real / "bat-0.jsonl")
    caption(tiny_captioner, shard, tmp_path / "captions.jsonl")
    rows = read_json_lines(tmp_path / "captions.jsonl")
    assert [row["key"] for row in rows] == [r.key for r in usable(read_manifest(shard[1]))]
    assert {row["status"] for row in rows} <= {"ok", "empty"}


def test_captions_do_not_depend_on_the_batch_size(
    tmp_path: Path, real: Path, tiny_captioner: Path
) -> None:
    shard = (real / "bat-0.tar", real / "bat-0.jsonl")
    texts = []
    for size in (1, 8):
        output = tmp_path / f"{size}.jsonl"
        caption(tiny_captioner, shard, output, size)
        texts.append([row["caption"] for row in read_json_lines(output)])
    assert texts[0] == texts[1]


def test_captioning_that_was_stopped_ends_in_the_same_bytes(
    tmp_path: Path, real: Path, tiny_captioner: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = (real / "bat-0.tar", real / "bat-0.jsonl")
    whole, resumed = tmp_path / "whole.jsonl", tmp_path / "resumed.jsonl"
    caption(tiny_captioner, shard, whole)
    kind = captioners.Captioner
    with monkeypatch.context() as patch:
        patch.setattr(kind, "speak", stop_after(2, kind.speak))
        with pytest.raises(Stopped):
            caption(tiny_captioner, shard, resumed)
    assert not resumed.exists()
    with monkeypatch.context() as patch:
        patch.setattr(kind, "speak", stop_after(1, kind.speak))  # one batch is left
        caption(tiny_captioner, shard, resumed)
    assert resumed.read_bytes() == whole.read_bytes()


def test_every_prompt_gets_one_image_with_its_provenance(
    tmp_path: Path, tiny_generator: Path
) -> None:
    prompts = prompt(tmp_path / "p.jsonl")
    tar, manifest = generate(tiny_generator, prompts, tmp_path / "images")
    records = read_manifest(manifest)
    rows = read_json_lines(prompts)
    assert [(r.key, r.prompt, r.seed) for r in records] == [
        (row["key"], row["prompt"], row["seed"]) for row in rows
    ]
    with ShardReader(tar) as reader:
        images = [reader.read_bytes(r) for r in records]
        assert reader.read_image(records[0]).size == (16, 16)
    assert len(set(images)) == 5


def test_an_image_is_the_same_in_a_longer_list_of_prompts(
    tmp_path: Path, tiny_generator: Path
) -> None:
    short = generate(tiny_generator, prompt(tmp_path / "s.jsonl", 3), tmp_path / "short")
    long = generate(tiny_generator, prompt(tmp_path / "l.jsonl", 6), tmp_path / "long")
    digests = [[r.sha256 for r in read_manifest(manifest)] for _, manifest in (short, long)]
    assert digests[0] == digests[1][:3]


def test_batch_sizes_keep_keys_prompts_and_seeds(tmp_path: Path, tiny_generator: Path) -> None:
    prompts = prompt(tmp_path / "p.jsonl")
    kept = []
    for size in (1, 8):
        _, manifest = generate(tiny_generator, prompts, tmp_path / str(size), batch_size=size)
        kept.append([(r.key, r.prompt, r.seed) for r in read_manifest(manifest)])
    assert kept[0] == kept[1]


def test_generation_that_was_stopped_ends_in_the_same_bytes(
    tmp_path: Path, tiny_generator: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = prompt(tmp_path / "p.jsonl")
    whole = generate(tiny_generator, prompts, tmp_path / "whole")
    kind = generation.DiffusersGenerator
    with monkeypatch.context() as patch:
        patch.setattr(kind, "draw", stop_after(2, kind.draw))
        with pytest.raises(Stopped):
            generate(tiny_generator, prompts, tmp_path / "resumed")
    with monkeypatch.context() as patch:
        patch.setattr(kind, "draw", stop_after(1, kind.draw))  # one batch is left
        resumed = generate(tiny_generator, prompts, tmp_path / "resumed")
    for a, b in zip(whole, resumed, strict=True):
        assert a.read_bytes() == b.read_bytes()


def flip_a_bit_of(folder: Path, pattern: str) -> None:
    """Flip a bit in the middle of the one file of a pattern."""
    (path,) = folder.glob(pattern)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize("kept", ["000001.tar", "000001.jsonl", "000001.sha256"])
def test_a_finished_batch_of_images_that_rots_is_drawn_again(
    tmp_path: Path, tiny_generator: Path, monkeypatch: pytest.MonkeyPatch, kept: str
) -> None:
    prompts = prompt(tmp_path / "p.jsonl")
    whole = generate(tiny_generator, prompts, tmp_path / "whole")
    kind = generation.DiffusersGenerator
    with monkeypatch.context() as patch:
        patch.setattr(kind, "draw", stop_after(2, kind.draw))
        with pytest.raises(Stopped):
            generate(tiny_generator, prompts, tmp_path / "resumed")
    flip_a_bit_of(tmp_path / "resumed", f".*.partial/*/{kept}")
    with monkeypatch.context() as patch:
        patch.setattr(kind, "draw", stop_after(2, kind.draw))  # that one and the last
        resumed = generate(tiny_generator, prompts, tmp_path / "resumed")
    for a, b in zip(whole, resumed, strict=True):
        assert a.read_bytes() == b.read_bytes()


def test_batches_of_other_settings_are_not_used(
    tmp_path: Path, tiny_generator: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = prompt(tmp_path / "p.jsonl")
    kind = generation.DiffusersGenerator
    with monkeypatch.context() as patch:
        patch.setattr(kind, "draw", stop_after(2, kind.draw))
        with pytest.raises(Stopped):
            generate(tiny_generator, prompts, tmp_path / "out")
    changed = generate(tiny_generator, prompts, tmp_path / "out", guidance_scale=5.0)
    fresh = generate(tiny_generator, prompts, tmp_path / "fresh", guidance_scale=5.0)
    assert changed[0].read_bytes() == fresh[0].read_bytes()


def test_training_that_was_stopped_ends_in_the_same_bytes(
    tmp_path: Path, real: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, resumed = tmp_path / "whole.safetensors", tmp_path / "resumed.safetensors"
    train(real, whole)
    with monkeypatch.context() as patch:
        patch.setattr(training_loop, "save_state", stop_after(2, training_loop.save_state))
        with pytest.raises(Stopped):
            train(real, resumed)
    assert not resumed.exists()
    train(real, resumed)
    assert resumed.read_bytes() == whole.read_bytes()
    losses = [
        [epoch["loss"] for epoch in read_json(path.with_suffix(".json"))["epochs"]]
        for path in (whole, resumed)
    ]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 3


def test_a_training_does_not_go_on_from_a_state_that_rots(
    tmp_path: Path, real: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, resumed = tmp_path / "whole.safetensors", tmp_path / "resumed.safetensors"
    train(real, whole)
    with monkeypatch.context() as patch:
        patch.setattr(training_loop, "save_state", stop_after(2, training_loop.save_state))
        with pytest.raises(Stopped):
            train(real, resumed)
    flip_a_bit_of(tmp_path, ".resumed.safetensors.partial/*/0*.safetensors")
    train(real, resumed)
    assert resumed.read_bytes() == whole.read_bytes()


def test_training_seeds_differ_and_repeat(tmp_path: Path, real: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(real, tmp_path / f"{name}.safetensors", seed, epochs=1)
    a, b, c = ((tmp_path / f"{n}.safetensors").read_bytes() for n in "abc")
    assert a == b
    assert a != c


def test_an_architecture_that_timm_lacks_is_named(tmp_path: Path, real: Path) -> None:
    with pytest.raises(CapsynthError, match="'resnet_x' is not a timm architecture"):
        train(real, tmp_path / "c.safetensors", model="resnet_x")


def test_every_image_of_an_evaluation_set_is_predicted_once(tmp_path: Path, real: Path) -> None:
    checkpoint = tmp_path / "c.safetensors"
    train(real, checkpoint, epochs=1)
    eval_set = pack_eval(tmp_path / "source", ["bat", "car"], tmp_path)
    evaluate(checkpoint, eval_set, tmp_path / "p.parquet")
    predictions = read_predictions(tmp_path / "p.parquet")
    assert list(predictions.keys) == [r.key for r in read_manifest(eval_set[1])]
    assert list(predictions.target) == [0] * 5 + [1] * 5
    assert predictions.sources is None  # no two are alike
    assert predictions.probabilities.sum(axis=1) == pytest.approx(1)


def test_one_photograph_under_two_keys_is_known_by_its_content(tmp_path: Path, real: Path) -> None:
    checkpoint = tmp_path / "c.safetensors"
    train(real, checkpoint, epochs=1)
    # The same picture in another class is another unit: images are drawn within their class.
    first = sorted((tmp_path / "source" / "bat").iterdir())[0]
    shutil.copy(first, first.with_name("bat_again.png"))
    shutil.copy(first, tmp_path / "source" / "car" / "car_also.png")
    eval_set = pack_eval(tmp_path / "source", ["bat", "car"], tmp_path)
    evaluate(checkpoint, eval_set, tmp_path / "p.parquet")
    predictions = read_predictions(tmp_path / "p.parquet")
    assert predictions.sources is not None
    shown = dict(zip(predictions.keys.tolist(), predictions.sources.tolist(), strict=True))
    assert shown.pop("bat_again") == first.stem
    assert all(key == source for key, source in shown.items())
    assert "car_also" in shown


def test_an_evaluation_set_with_other_classes_is_refused(
    tmp_path: Path, real: Path, draw_folder: Callable[..., Path]
) -> None:
    checkpoint = tmp_path / "c.safetensors"
    train(real, checkpoint, epochs=1)
    draw_folder(tmp_path / "source" / "dog", 2)
    eval_set = pack_eval(tmp_path / "source", ["bat", "dog"], tmp_path)
    with pytest.raises(CapsynthError, match="class 'dog' has index 1, which is 'car'"):
        evaluate(checkpoint, eval_set, tmp_path / "p.parquet")


def test_dropped_prompts_are_rejected_samples_in_their_place(
    tmp_path: Path, tiny_generator: Path
) -> None:
    prompts = prompt(tmp_path / "prompts.jsonl")
    rows = read_json_lines(prompts)
    dropped = [{**row, "prompt": None, "status": "dropped"} for row in rows[1:3]]
    write_json_lines(prompts, [rows[0], *dropped, *rows[3:]])
    tar, manifest = generate(tiny_generator, prompts, tmp_path)
    records = read_manifest(manifest)
    assert [record.key for record in records] == [row["key"] for row in rows]
    assert [record.status for record in records] == ["ok", "rejected", "rejected", "ok", "ok"]
    assert "on_classless is drop" in (records[1].reason or "")
    with ShardReader(tar) as reader:
        assert all(reader.read_image(record).size == (16, 16) for record in usable(records))
