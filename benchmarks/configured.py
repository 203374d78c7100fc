"""What the benchmarks of the stages work on: a configuration's models, and shards of drawn images.

The images are those of the embedded experiment, drawn and packed by the stages' own code; where a
configuration has images of its own, scenes in the size and the format of photos stand in for them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from capsynth.captioners import CaptionerSettings
from capsynth.captioning import caption_shard
from capsynth.classes import ClassInfo
from capsynth.configuration import complete
from capsynth.datasets.openmoji.folders import render_folders
from capsynth.datasets.openmoji.splits import draw_real_scene
from capsynth.datasets.openmoji.world import CLASS_BY_ID
from capsynth.fetching import hub
from capsynth.files import dump_json
from capsynth.generators import GeneratorSettings
from capsynth.packing import pack_class_shard
from capsynth.prompting import PromptSettings, templates_of, write_prompts
from capsynth.recipes import Recipe
from capsynth.settings import settings_from_json
from capsynth.shards import shard_name
from capsynth.source_images import ImageFormat

ROOT = Path(__file__).resolve().parents[1]
# Sides of photos, pixels, as most of ImageNet's: (short, long).
PHOTO_SIDES = ((256, 341), (333, 500), (375, 500), (360, 480))
MARK = "benchmark"


@dataclass(frozen=True)
class Shard:
    """A real class shard, and what it was packed from.

    Attributes:
        about: The class.
        class_index: Its position among the classes.
        folder: The class folder.
        tar: The shard.
        manifest: Its manifest.
    """

    about: ClassInfo
    class_index: int
    folder: Path
    tar: Path
    manifest: Path


@dataclass(frozen=True)
class Experiment:
    """What a configuration says of the stages: those of its first variant made from captions.

    Attributes:
        name: Name of the data set.
        is_embedded: Whether its images are the drawn ones.
        captioner: Its captioner.
        generator: Its generator.
        prompts: How its prompts are written.
        recipe: The first recipe, in one process.
        context_bias: Of the images that are drawn.
    """

    name: str
    is_embedded: bool
    captioner: CaptionerSettings
    generator: GeneratorSettings
    prompts: PromptSettings
    recipe: Recipe
    context_bias: float


def read_experiment(config_file: Path) -> Experiment:
    """Read a configuration; models of the hub are those that prefetching has put on the disk.

    Raises:
        CapsynthError: If the configuration is wrong.
        ValueError: If no variant is made from captions.
    """
    config = complete(yaml.safe_load(config_file.read_text(encoding="utf-8")))
    variant = next((v for v in config["variants"].values() if v["captioner"]), None)
    if variant is None:
        raise ValueError(f"{config_file}: no variant is made from captions")
    generator = config["generators"][variant["generator"]]
    generator = {
        name: variant.get(name, value)
        for name, value in generator.items()
        if name != "max_rejected"
    }
    captioner = config["captioners"][variant["captioner"]]
    downloads = Path(config["download_folder"])
    recipe = {k: v for k, v in next(iter(config["recipes"].values())).items() if k != "base"}
    embedded = config["dataset"]["source"] == "openmoji"
    names = ("backgrounds", "images_per_class", "images_per_caption", "on_classless", "seed")
    return Experiment(
        config["dataset"]["name"],
        embedded,
        _settings(CaptionerSettings, _on_disk(captioner, downloads)),
        _settings(GeneratorSettings, _on_disk(generator, downloads)),
        PromptSettings(
            dataset=config["dataset"]["name"],
            strategy=variant["strategy"],
            templates=templates_of(variant["strategy"], variant["template"], variant["templates"]),
            **{name: variant[name] for name in names},
        ),
        replace(_settings(Recipe, recipe), gpus=1, steps=None),  # benchmarks count epochs
        config["dataset"]["context_bias"] if embedded else 0.0,
    )


def _settings(kind: Any, values: Mapping[str, Any]) -> Any:
    return settings_from_json(kind, dump_json(values))


def _on_disk(entry: Mapping[str, Any], downloads: Path) -> dict[str, Any]:
    """Return an entry whose model and LoRA weights are paths."""

    def place(name: str, revision: str | None) -> str:
        path = ROOT / Path(name).expanduser()
        return str(path if path.exists() else downloads / "models" / hub.slug_of(name, revision))

    found = {**entry, "model": place(entry["model"], entry.get("revision"))}
    if "lora" in entry:
        found["lora"] = [
            {**lora, "path": place(lora["path"], lora.get("revision"))} for lora in entry["lora"]
        ]
    return found


def use_threads(threads: int) -> None:
    """Let torch compute on so many threads: those that the stage's rule gives its job."""
    torch.set_num_threads(threads)


def draw_scenes(folder: Path, classes: int, images: int, context_bias: float) -> list[Shard]:
    """Draw and pack class folders of the embedded data set."""
    class_ids = list(CLASS_BY_ID)[:classes]
    source = folder / "source"
    render_folders(source, folder / "source.json", "train", class_ids, images, 1, context_bias)
    return [
        _pack(source / class_id, index, folder, "png") for index, class_id in enumerate(class_ids)
    ]


def draw_photos(folder: Path, classes: int, images: int) -> list[Shard]:
    """Draw and pack class folders of JPEGs that are as large, and as full of detail, as photos."""
    rng = np.random.default_rng(0)
    shards = []
    for index, class_id in enumerate(list(CLASS_BY_ID)[:classes]):
        source = folder / "source" / class_id
        source.mkdir(parents=True)
        for number in range(images):
            scene, _ = draw_real_scene("train", 1, class_id, number, 0.5)
            photo = _as_photo(scene, PHOTO_SIDES[number % len(PHOTO_SIDES)], rng)
            photo.save(source / f"{class_id}_{number:06d}.jpg", "JPEG", quality=90)
        shards.append(_pack(source, index, folder, "jpg"))
    return shards


def _as_photo(scene: Image.Image, sides: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """Return a scene enlarged, with noise of all scales: it takes about 2 bits a pixel as JPEG."""
    height, width = sides
    pixels = np.asarray(scene.resize((width, height), Image.Resampling.BICUBIC), dtype=np.float32)
    for scale in (1, 2, 4, 8, 16):
        coarse = rng.normal(128, 8, (-(-height // scale), -(-width // scale), 3))
        noise = Image.fromarray(np.clip(coarse, 0, 255).astype(np.uint8))
        noise = noise.resize((width, height), Image.Resampling.BICUBIC)
        pixels = pixels + np.asarray(noise, dtype=np.float32) - 128
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _pack(source: Path, class_index: int, folder: Path, extension: str) -> Shard:
    about = ClassInfo(source.name, source.name)
    name = shard_name(source.name, 0)
    tar, manifest = folder / "real" / f"{name}.tar", folder / "real" / f"{name}.jsonl"
    index = folder / "real" / f".{name}.sources.json"
    pack_class_shard(
        source, source.name, class_index, 0, 1, ImageFormat(None, extension), MARK, tar, manifest,
        index,
    )  # fmt: skip
    return Shard(about, class_index, source, tar, manifest)


def draw_shards(experiment: Experiment, folder: Path, classes: int, images: int) -> list[Shard]:
    """Draw and pack what stands in for the real images of an experiment."""
    if experiment.is_embedded:
        return draw_scenes(folder, classes, images, experiment.context_bias)
    return draw_photos(folder, classes, images)


def prompt_shards(experiment: Experiment, shards: list[Shard], folder: Path) -> list[Path]:
    """Caption shards and write prompts from the captions; return the files of prompts."""
    files = []
    for shard in shards:
        captions = folder / "captions" / f"{shard.tar.stem}.jsonl"
        caption_shard(experiment.captioner, shard.tar, shard.manifest, captions, MARK)
        prompts = folder / "prompts" / f"{shard.tar.stem}.jsonl"
        write_prompts(experiment.prompts, shard.about, shard.class_index, 0, 1, captions, prompts)
        files.append(prompts)
    return files
