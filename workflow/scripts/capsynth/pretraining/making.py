"""From the web on disk to model folders: one function a model, each resumable by its state."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTokenizer

from capsynth.files import atomic_path
from capsynth.fingerprints import file_digest
from capsynth.pretraining import autoencoder, captioner, denoiser, vocabulary
from capsynth.pretraining.loop import Schedule
from capsynth.pretraining.web import read_web

History = list[dict[str, float]]


def make_autoencoder(web: Path, schedule: Schedule, state: Path, output: Path) -> History:
    """Train the autoencoder into the folder ``output``."""
    result = autoencoder.train_autoencoder(read_web(web), schedule, state)
    result.model.save_pretrained(output)
    return result.history


def make_decoder(web: Path, schedule: Schedule, state: Path, output: Path) -> History:
    """Refine the decoder of the autoencoder that lies beside ``output``."""
    model = AutoencoderKL.from_pretrained(output.parent / "autoencoder")
    result = autoencoder.refine_decoder(read_web(web), model, schedule, state)
    result.model.save_pretrained(output)
    return result.history


def make_denoiser(web: Path, schedule: Schedule, state: Path, output: Path) -> History:
    """Train the denoiser on the latents of the autoencoder that lies beside ``output``."""
    scenes = read_web(web)
    model = AutoencoderKL.from_pretrained(output.parent / "autoencoder").eval()
    cache = state.with_name("latents.safetensors")
    if not cache.exists():
        with atomic_path(cache) as temporary:
            save_file({"latents": autoencoder.encode_images(model, scenes)}, temporary)
    latents, factor = denoiser.unit_variance(load_file(cache)["latents"])
    tokenizer = vocabulary.build_prompt_tokenizer()
    captions = [scene.caption for scene in scenes.scenes]
    result = denoiser.train_denoiser(latents, captions, tokenizer, schedule, state)
    model.register_to_config(scaling_factor=factor)
    denoiser.build_pipeline(model, result.model, tokenizer).save_pretrained(output)
    return result.history


def make_captioner(web: Path, schedule: Schedule, state: Path, output: Path) -> History:
    """Train the captioner into the folder ``output``."""
    tokenizer = vocabulary.build_caption_tokenizer()
    result = captioner.train_captioner(read_web(web), tokenizer, schedule, state)
    result.model.half().save_pretrained(output)
    tokenizer.save_pretrained(output)
    captioner.build_image_processor().save_pretrained(output)
    return result.history


def assemble_generator(denoiser_folder: Path, decoder_folder: Path, output: Path) -> None:
    """Join the denoiser's pipeline and the refined autoencoder, in half precision."""
    unet = UNet2DConditionModel.from_pretrained(denoiser_folder / "unet")
    text_encoder = CLIPTextModel.from_pretrained(denoiser_folder / "text_encoder")
    tokenizer = CLIPTokenizer.from_pretrained(denoiser_folder / "tokenizer")
    factor = AutoencoderKL.load_config(denoiser_folder / "vae")["scaling_factor"]
    vae = AutoencoderKL.from_pretrained(decoder_folder)
    vae.register_to_config(scaling_factor=factor)
    parts = denoiser.Parts(unet, text_encoder)
    pipeline = denoiser.build_pipeline(vae, parts, tokenizer).to(torch.float16)
    pipeline.save_pretrained(output)


def write_sums(folder: Path) -> None:
    """Write ``SHA256SUMS`` of all files of a model folder but cards and pictures."""
    files = sorted(p for p in folder.rglob("*") if p.suffix in {".json", ".safetensors", ".txt"})
    lines = [f"{file_digest(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    with atomic_path(folder / "SHA256SUMS") as temporary:
        temporary.write_text("".join(lines), encoding="utf-8")
