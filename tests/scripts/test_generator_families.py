"""Every family of text-to-image pipelines, on tiny random weights: shards and policies."""

import json
import logging
import shutil
from collections.abc import Callable, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import webdataset
from PIL import Image
from settings import generator_settings

import generate_images
from capsynth import generation
from capsynth.errors import CapsynthError
from capsynth.files import dump_json, read_json_lines
from capsynth.generation import attempt_seed
from capsynth.generators import DiffusersGenerator, GeneratorSettings
from capsynth.shards import ShardReader, ShardRecord, read_manifest, usable

# Floating point sums of a batch of 1 and of 8 may differ in their last bits; 1 was the most seen.
LEVELS = 2
DRAWN_WITH: dict[str, Any] = {"negative_prompt": "", "batch_size": 4, "safety_retries": 2}
# What is set to draw with each family: 1 or 2 steps and no guidance where it learned that.
FAMILIES: dict[str, dict[str, Any]] = {
    "sd1": {},
    "sd2": {},
    "sdxl": {},
    "sdxl-turbo": {"num_inference_steps": 1, "guidance_scale": 0.0},
    "lcm": {"guidance_scale": 1.0},
    "sd3": {},
    "pixart-alpha": {},
    "pixart-sigma": {},
    "flux-dev": {},
    "flux-schnell": {"num_inference_steps": 1, "guidance_scale": 0.0},
}
# Families with guidance of their own kind: no second pass, whatever the scale.
DISTILLED = {"lcm", "flux-dev", "flux-schnell"}

Build = Callable[[str], Path]


# ---- tiny pipelines -----------------------------------------------------------------------------


def clip_tokenizer() -> Any:
    from capsynth.pretraining.vocabulary import build_prompt_tokenizer

    return build_prompt_tokenizer()  # 24 tokens at most


def t5_tokenizer() -> Any:
    """A T5 tokenizer of single letters: a long prompt has many tokens."""
    from transformers import T5Tokenizer

    pieces = ["▁", "▁a", *"abcdefghijklmnopqrstuvwxyz,."]
    vocab = [(word, 0.0) for word in ("<pad>", "</s>", "<unk>")]
    return T5Tokenizer(vocab=[*vocab, *((piece, -1.0) for piece in pieces)], extra_ids=0)


def clip_text(tokenizer: Any, projected: bool = False, **changes: Any) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": tokenizer.model_max_length,
        "eos_token_id": tokenizer.eos_token_id,
        "projection_dim": 16,
        **changes,
    }
    kind = CLIPTextModelWithProjection if projected else CLIPTextModel
    return kind(CLIPTextConfig(**config))


def t5_text(tokenizer: Any) -> Any:
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(
        T5Config(vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    )


def autoencoder(channels: int = 4) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        latent_channels=channels,
        sample_size=16,
        block_out_channels=(8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=4,
        shift_factor=0.0,
    )


def unet(**changes: Any) -> Any:
    from diffusers import UNet2DConditionModel

    config = {
        "sample_size": 4,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": 16,
        "attention_head_dim": 2,
        "norm_num_groups": 4,
        **changes,
    }
    return UNet2DConditionModel(**config)


def safety_checker() -> dict[str, Any]:
    """A safety checker that flags nothing, until its thresholds are lowered."""
    from diffusers.pipelines.stable_diffusion import StableDiffusionSafetyChecker
    from transformers import CLIPConfig, CLIPImageProcessor

    vision = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 32,
        "patch_size": 16,
    }
    text = {**vision, "vocab_size": 10}
    config = CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)
    size = {"shortest_edge": 32}
    return {
        "safety_checker": StableDiffusionSafetyChecker(config),
        "feature_extractor": CLIPImageProcessor(size=size, crop_size={"height": 32, "width": 32}),
    }


def stable_diffusion(family: str) -> Any:
    from diffusers import (
        DDIMScheduler,
        LatentConsistencyModelPipeline,
        LCMScheduler,
        PNDMScheduler,
        StableDiffusionPipeline,
    )

    tokenizer = clip_tokenizer()
    parts: dict[str, Any] = {"tokenizer": tokenizer, "vae": autoencoder()}
    if family == "sd1":
        return StableDiffusionPipeline(
            text_encoder=clip_text(tokenizer),
            unet=unet(),
            scheduler=PNDMScheduler(skip_prk_steps=True, steps_offset=1),
            **parts,
            **safety_checker(),
        )
    parts |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    if family == "sd2":
        return StableDiffusionPipeline(
            text_encoder=clip_text(tokenizer, hidden_act="gelu"),
            unet=unet(use_linear_projection=True, attention_head_dim=(2, 4)),
            scheduler=DDIMScheduler(prediction_type="v_prediction", clip_sample=False),
            **parts,
        )
    return LatentConsistencyModelPipeline(
        text_encoder=clip_text(tokenizer),
        unet=unet(time_cond_proj_dim=8),
        scheduler=LCMScheduler(),
        **parts,
    )


def stable_diffusion_xl(family: str) -> Any:
    from diffusers import (
        EulerAncestralDiscreteScheduler,
        EulerDiscreteScheduler,
        StableDiffusionXLPipeline,
    )

    turbo = family == "sdxl-turbo"
    kind = EulerAncestralDiscreteScheduler if turbo else EulerDiscreteScheduler
    tokenizer = clip_tokenizer()
    return StableDiffusionXLPipeline(
        vae=autoencoder(),
        tokenizer=tokenizer,
        tokenizer_2=clip_tokenizer(),
        text_encoder=clip_text(tokenizer),
        text_encoder_2=clip_text(tokenizer, projected=True),
        unet=unet(
            cross_attention_dim=32,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=8,
            projection_class_embeddings_input_dim=6 * 8 + 16,
        ),
        scheduler=kind(timestep_spacing="trailing" if turbo else "leading"),
    )


def stable_diffusion_3(family: str) -> Any:
    from diffusers import (
        FlowMatchEulerDiscreteScheduler,
        SD3Transformer2DModel,
        StableDiffusion3Pipeline,
    )

    clip, t5 = clip_tokenizer(), t5_tokenizer()
    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(
            sample_size=4,
            patch_size=1,
            in_channels=4,
            out_channels=4,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            joint_attention_dim=32,
            caption_projection_dim=16,
            pooled_projection_dim=32,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=autoencoder(),
        tokenizer=clip,
        tokenizer_2=clip_tokenizer(),
        tokenizer_3=t5,
        text_encoder=clip_text(clip, projected=True),
        text_encoder_2=clip_text(clip, projected=True),
        text_encoder_3=t5_text(t5),
    )


def pixart(family: str) -> Any:
    from diffusers import (
        DPMSolverMultistepScheduler,
        PixArtAlphaPipeline,
        PixArtSigmaPipeline,
        PixArtTransformer2DModel,
    )

    kind = PixArtAlphaPipeline if family == "pixart-alpha" else PixArtSigmaPipeline
    t5 = t5_tokenizer()
    return kind(
        transformer=PixArtTransformer2DModel(
            sample_size=4,
            patch_size=2,
            in_channels=4,
            out_channels=8,
            num_layers=1,
            attention_head_dim=8,
            num_attention_heads=2,
            cross_attention_dim=16,
            caption_channels=32,
            use_additional_conditions=False,
        ),
        scheduler=DPMSolverMultistepScheduler(),
        vae=autoencoder(),
        tokenizer=t5,
        text_encoder=t5_text(t5),
    )


def flux(family: str) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    clip, t5 = clip_tokenizer(), t5_tokenizer()
    return FluxPipeline(
        transformer=FluxTransformer2DModel(
            patch_size=1,
            in_channels=16,
            num_layers=1,
            num_single_layers=1,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=32,
            pooled_projection_dim=16,
            axes_dims_rope=(4, 4, 8),
            guidance_embeds=family == "flux-dev",
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=autoencoder(),
        tokenizer=clip,
        tokenizer_2=t5,
        text_encoder=clip_text(clip),
        text_encoder_2=t5_text(t5),
    )


BUILDERS: dict[str, Callable[[str], Any]] = {
    "sd1": stable_diffusion,
    "sd2": stable_diffusion,
    "lcm": stable_diffusion,
    "sdxl": stable_diffusion_xl,
    "sdxl-turbo": stable_diffusion_xl,
    "sd3": stable_diffusion_3,
    "pixart-alpha": pixart,
    "pixart-sigma": pixart,
    "flux-dev": flux,
    "flux-schnell": flux,
}


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    """``build(family)`` returns the folder of a tiny pipeline."""
    made: dict[str, Path] = {}

    def folder_of(family: str) -> Path:
        if family not in made:
            torch.manual_seed(0)
            made[family] = tmp_path_factory.mktemp(family)
            BUILDERS[family](family).save_pretrained(made[family])
        return made[family]

    return folder_of


# ---- the stage ----------------------------------------------------------------------------------


def write_rows(path: Path, texts: Sequence[str]) -> Path:
    rows = [
        {
            "key": f"bat_{i:06d}",
            "class_id": "bat",
            "class_index": 0,
            "index": i,
            "prompt": text,
            "seed": 1000 + i,
            "source_key": f"photo{i}",
            "status": "ok",
            "fingerprint": "p",
        }
        for i, text in enumerate(texts)
    ]
    path.write_text("".join(dump_json(row) + "\n" for row in rows))
    return path


TEXTS = [f"a photo of a {name}" for name in ("car", "bat", "dog", "fish", "tree", "mouse")]


def generate(model: Path, out: Path, texts: Sequence[str] = TEXTS, **changes: Any) -> Path:
    """Run the stage; return the folder with ``bat-0.tar`` and ``bat-0.jsonl``."""
    out.mkdir(exist_ok=True)
    flags = {
        "settings": dump_json(generator_settings(model, **DRAWN_WITH | changes)),
        "model-mark": "m",
        "threads": "1",
        "prompts": str(write_rows(out / "prompts.jsonl", texts)),
        "extension": "png",
        "tar": str(out / "bat-0.tar"),
        "manifest": str(out / "bat-0.jsonl"),
    }
    generate_images.main([word for name, value in flags.items() for word in (f"--{name}", value)])
    return out


def settings(model: Path, **changes: Any) -> GeneratorSettings:
    return GeneratorSettings(**generator_settings(model, **DRAWN_WITH | changes))


def records_of(out: Path) -> list[ShardRecord]:
    return read_manifest(out / "bat-0.jsonl")


def images_of(out: Path) -> list[np.ndarray]:
    with ShardReader(out / "bat-0.tar") as reader:
        return [
            np.asarray(reader.read_image(record)).astype(int) for record in usable(records_of(out))
        ]


def bytes_of(out: Path) -> tuple[bytes, bytes]:
    return (out / "bat-0.tar").read_bytes(), (out / "bat-0.jsonl").read_bytes()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_draws_valid_shards_that_batches_hardly_touch(
    family: str, build: Build, tmp_path: Path
) -> None:
    outs = [
        generate(build(family), tmp_path / str(size), **FAMILIES[family], batch_size=size)
        for size in (1, 8)
    ]
    rows = read_json_lines(outs[0] / "prompts.jsonl")
    for out in outs:
        records = records_of(out)
        assert [(r.key, r.prompt, r.seed, r.source_key) for r in records] == [
            (row["key"], row["prompt"], row["seed"], row["source_key"]) for row in rows
        ]
        assert {(r.status, r.attempts, r.flagged, r.blank) for r in records} == {("ok", 1, None, 0)}
        samples = list(webdataset.WebDataset(str(out / "bat-0.tar"), shardshuffle=False))
        assert [sample["__key__"] for sample in samples] == [r.key for r in records]
        assert [json.loads(sample["json"])["prompt"] for sample in samples] == TEXTS
    one, eight = map(images_of, outs)
    assert {image.shape for image in one} == {(16, 16, 3)}
    assert len({image.tobytes() for image in one}) == len(TEXTS)
    assert max(np.abs(a - b).max() for a, b in zip(one, eight, strict=True)) <= LEVELS


@pytest.mark.parametrize("family", FAMILIES)
def test_guidance_of_one_or_less_costs_no_second_pass(family: str, build: Build) -> None:
    passes = {}
    for scale in (1.0, 2.0):
        generator = DiffusersGenerator(settings(build(family), guidance_scale=scale, batch_size=2))
        pipeline = generator._pipeline
        seen: list[int] = []

        def watch(_: Any, args: Any, kwargs: Any, seen: list[int] = seen) -> None:
            seen.append(len(args[0] if args else kwargs["hidden_states"]))

        denoiser = pipeline.unet if hasattr(pipeline, "unet") else pipeline.transformer
        denoiser.register_forward_pre_hook(watch, with_kwargs=True)
        generator.draw(TEXTS[:2], [1, 2])
        passes[scale] = set(seen)
    assert passes == {1.0: {2}, 2.0: {2} if family in DISTILLED else {4}}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("longest", [None, 30])
def test_prompts_are_counted_against_the_lengths_that_pipelines_cut_at(
    family: str, longest: int | None, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import PreTrainedTokenizerBase

    takes = family.startswith(("sd3", "pixart", "flux"))
    if longest and not takes:
        with pytest.raises(
            CapsynthError, match=r"max_sequence_length: \w+Pipeline does not take it"
        ):
            DiffusersGenerator(settings(build(family), max_sequence_length=longest))
        return
    generator = DiffusersGenerator(settings(build(family), max_sequence_length=longest))
    cuts: dict[int, set[int]] = {}
    call = PreTrainedTokenizerBase.__call__

    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        if kwargs.get("truncation"):
            cuts.setdefault(id(self), set()).add(kwargs["max_length"])
        return call(self, *args, **kwargs)

    monkeypatch.setattr(PreTrainedTokenizerBase, "__call__", watched)
    generator.draw(TEXTS[:1], [1])
    parts = generator._pipeline.components
    assert {name: cuts[id(parts[name])] for name in generator.token_limits} == {
        name: {limit} for name, limit in generator.token_limits.items()
    }
    assert len(cuts) == len(generator.token_limits)


def test_images_are_those_of_a_plain_call_of_the_pipeline(build: Build, tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline

    out = generate(build("sd1"), tmp_path / "out", TEXTS[:4])
    pipeline = StableDiffusionPipeline.from_pretrained(build("sd1"), safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    plain = pipeline(
        TEXTS[:4],
        generator=[torch.Generator("cpu").manual_seed(1000 + i) for i in range(4)],
        num_inference_steps=2,
        guidance_scale=2.0,
        height=16,
        width=16,
    ).images
    assert [image.tobytes() for image in images_of(out)] == [
        np.asarray(image).astype(int).tobytes() for image in plain
    ]


# ---- what a family does not take ----------------------------------------------------------------

REFUSED: dict[str, tuple[str, dict[str, Any], str]] = {
    "negative prompt of a distilled model": (
        "lcm",
        {"negative_prompt": "blurry"},
        "negative_prompt: LatentConsistencyModelPipeline does not take it; remove it",
    ),
    "negative prompt of Flux alone": (
        "flux-dev",
        {"negative_prompt": "blurry"},
        "negative_prompt: FluxPipeline ignores it without true_cfg_scale",
    ),
    "true guidance of a family that has no other": (
        "sdxl",
        {"true_cfg_scale": 2.0},
        "true_cfg_scale: StableDiffusionXLPipeline does not take it",
    ),
    "safety checker where there is none": (
        "sdxl",
        {"safety_checker": "retry"},
        "safety_checker: 'retry' needs a safety_checker.*write safety_checker: \"off\"",
    ),
    "attention slices of a transformer": (
        "sd3",
        {"attention_slicing": True},
        "attention_slicing: StableDiffusion3Pipeline does not take it",
    ),
    "LoRA of a family without": ("pixart-sigma", {}, "lora: PixArtSigmaPipeline does not take"),
    "scheduler that does not exist": (
        "sd1",
        {"scheduler": "DDIMSchedular"},
        "unknown scheduler 'DDIMSchedular'; did you mean 'DDIMScheduler'",
    ),
    "argument that the scheduler lacks": (
        "sd1",
        {"scheduler_args": {"use_karras_sigma": True}, "scheduler": "DPMSolverMultistepScheduler"},
        "scheduler_args for DPMSolverMultistepScheduler, 'use_karras_sigma'; "
        "did you mean 'use_karras_sigmas'",
    ),
    "value that the scheduler refuses": (
        "sd1",
        {"scheduler_args": {"beta_schedule": "round"}},
        "scheduler: PNDMScheduler cannot be made: round",
    ),
    "denoising scheduler of a flow": (
        "sd3",
        {"scheduler": "DDIMScheduler"},
        "scheduler: DDIMScheduler does not fit a model whose own is FlowMatchEuler",
    ),
    "size that the family rounds": (
        "flux-dev",
        {"height": 20},
        "FluxPipeline draws 16 x 16 pixels when asked for 20 x 16",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_family_cannot_do_is_refused_with_key_and_family(
    what: str, build: Build, tmp_path: Path
) -> None:
    family, changes, message = REFUSED[what]
    if what.startswith("LoRA"):
        (tmp_path / "a.safetensors").touch()
        changes = {"lora": [{"path": str(tmp_path), "weight_name": None, "scale": 1.0}]}
    with pytest.raises(CapsynthError, match=message):
        generate(build(family), tmp_path / "out", **{**FAMILIES[family], **changes})
    assert not (tmp_path / "out" / "bat-0.tar").exists()


def test_a_folder_that_is_no_pipeline_of_diffusers_is_named(build: Build, tmp_path: Path) -> None:
    with pytest.raises(CapsynthError, match="is not a diffusers pipeline that can be read"):
        generate(tmp_path, tmp_path / "out")
    for name, message in (
        ("MyPipeline", "is a MyPipeline, which diffusers .* does not have"),
        ("DDPMPipeline", "is a DDPMPipeline, which draws nothing from a prompt"),
    ):
        (tmp_path / "model_index.json").write_text(dump_json({"_class_name": name}))
        with pytest.raises(CapsynthError, match=message):
            generate(tmp_path, tmp_path / "out")


def test_a_pipeline_that_diffusers_maps_to_no_task_is_driven_as_what_it_is(
    build: Build, tmp_path: Path
) -> None:
    shutil.copytree(build("sd2"), tmp_path / "model")
    path = tmp_path / "model" / "model_index.json"
    index = json.loads(path.read_text())
    for name, message in (
        ("StableDiffusionPanoramaPipeline", None),
        ("StableDiffusionAttendAndExcitePipeline", "needs token_indices, which no key gives"),
        ("StableDiffusionLDM3DPipeline", "draws something else than images"),
        ("StableDiffusionDiffEditPipeline", "height: .* does not take it; use another pipeline"),
    ):
        path.write_text(dump_json({**index, "_class_name": name}))
        if message is None:
            images = images_of(generate(tmp_path / "model", tmp_path / name, TEXTS[:2]))
            assert [image.shape for image in images] == [(16, 16, 3)] * 2
        else:
            with pytest.raises(CapsynthError, match=message):
                generate(tmp_path / "model", tmp_path / name, TEXTS[:2])


def test_an_image_to_image_folder_is_driven_as_its_text_to_image_family() -> None:
    from capsynth.generators import pipeline_class

    for name, family in (
        ("StableDiffusionImg2ImgPipeline", "StableDiffusionPipeline"),
        ("FluxPipeline", "FluxPipeline"),
        # Not one that diffusers maps to a task, but it takes a prompt.
        ("LattePipeline", "LattePipeline"),
    ):
        assert pipeline_class({"_class_name": name}, "x").__name__ == family


def test_true_guidance_and_a_negative_prompt_change_what_flux_draws(
    build: Build, tmp_path: Path
) -> None:
    plain, guided, away = (
        images_of(generate(build("flux-dev"), tmp_path / str(i), TEXTS[:2], **changes))
        for i, changes in enumerate(
            ({}, {"true_cfg_scale": 3.0}, {"true_cfg_scale": 3.0, "negative_prompt": "a dog"})
        )
    )
    assert not np.array_equal(plain, guided)
    assert not np.array_equal(guided, away)


# ---- samplers, LoRA, memory, compilation --------------------------------------------------------


def test_the_scheduler_and_its_arguments_change_the_images(build: Build, tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"scheduler": "DPMSolverMultistepScheduler"},
        {
            "scheduler": "DPMSolverMultistepScheduler",
            "scheduler_args": {"use_karras_sigmas": True},
        },
        {"scheduler_args": {"beta_end": 0.03}},
        {"scheduler": "EulerAncestralDiscreteScheduler"},
        {"scheduler": "LCMScheduler", "guidance_scale": 1.0},
    ]
    drawn = [
        generate(build("sd1"), tmp_path / str(i), TEXTS[:2], num_inference_steps=4, **change)
        for i, change in enumerate(changes)
    ]
    assert len({images_of(out)[0].tobytes() for out in drawn}) == len(changes)
    assert len({records_of(out)[0].fingerprint for out in drawn}) == len(changes)
    # Samplers that draw noise on the way draw it from the image's own generator too.
    again = generate(
        build("sd1"), tmp_path / "one", TEXTS[:2], num_inference_steps=4, batch_size=1, **changes[4]
    )
    pairs = zip(images_of(again), images_of(drawn[4]), strict=True)
    assert max(np.abs(a - b).max() for a, b in pairs) <= LEVELS


@pytest.fixture(scope="module")
def loras(build: Build, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two files of LoRA weights for the UNet of Stable Diffusion 1."""
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    folder = tmp_path_factory.mktemp("loras")
    for seed, name in enumerate(("sketch", "paint")):
        torch.manual_seed(seed)
        model = UNet2DConditionModel.from_pretrained(build("sd1"), subfolder="unet")
        model.add_adapter(
            LoraConfig(r=2, lora_alpha=8, init_lora_weights=False, target_modules=["to_q", "to_v"])
        )
        StableDiffusionPipeline.save_lora_weights(
            folder,
            unet_lora_layers=convert_state_dict_to_diffusers(get_peft_model_state_dict(model)),
            weight_name=f"{name}.safetensors",
        )
    (folder / "weights.bin").touch()
    return folder


def test_lora_weights_change_the_images_by_their_scale(
    build: Build, loras: Path, tmp_path: Path
) -> None:
    def draw(name: str, *weights: tuple[str, float]) -> np.ndarray:
        lora = [
            {"path": str(loras), "weight_name": f"{n}.safetensors", "scale": s} for n, s in weights
        ]
        return np.array(images_of(generate(build("sd1"), tmp_path / name, TEXTS[:2], lora=lora)))

    plain = draw("plain")
    assert np.array_equal(draw("zero", ("sketch", 0.0)), plain)
    half, whole = draw("half", ("sketch", 0.5)), draw("whole", ("sketch", 1.0))
    both = draw("both", ("sketch", 1.0), ("paint", 1.0))
    assert len({image.tobytes() for image in (plain, half, whole, both)}) == 4
    assert np.array_equal(draw("alone", ("sketch", 1.0), ("paint", 0.0)), whole)


def test_other_lora_weights_of_the_same_name_are_other_images(
    build: Build, loras: Path, tmp_path: Path
) -> None:
    file = tmp_path / "my.safetensors"
    lora = [{"path": str(file), "weight_name": None, "scale": 1.0}]
    marks = []
    for name in ("sketch", "paint"):
        file.write_bytes((loras / f"{name}.safetensors").read_bytes())
        marks.append(records_of(generate(build("sd1"), tmp_path / name, TEXTS[:1], lora=lora))[0])
    assert marks[0].fingerprint != marks[1].fingerprint
    assert marks[0].sha256 != marks[1].sha256


@pytest.mark.parametrize(
    ("path", "weight_name", "message"),
    [
        ("", None, "holds paint.safetensors, sketch.safetensors; name one file with weight_name"),
        ("", "other.safetensors", "other.safetensors does not exist"),
        ("none", None, "none does not exist; give a file"),
        ("weights.bin", None, "weights.bin is not a safetensors file; convert it"),
        ("sketch.safetensors", "paint.safetensors", "is not a folder that holds"),
    ],
)
def test_lora_weights_that_are_not_there_are_named(
    path: str, weight_name: str | None, message: str, build: Build, loras: Path, tmp_path: Path
) -> None:
    lora = [{"path": str(loras / path), "weight_name": weight_name, "scale": 1.0}]
    with pytest.raises(CapsynthError, match=message):
        generate(build("sd1"), tmp_path / "out", lora=lora)


def test_lora_weights_of_another_model_are_refused(
    build: Build, loras: Path, tmp_path: Path
) -> None:
    lora = [{"path": str(loras), "weight_name": "sketch.safetensors", "scale": 1.0}]
    with pytest.raises(CapsynthError, match=r"sketch\.safetensors (does not fit|holds no weights)"):
        generate(build("sd3"), tmp_path / "out", lora=lora)


def test_slices_save_memory_and_keep_the_picture(build: Build, tmp_path: Path) -> None:
    plain = images_of(generate(build("sd1"), tmp_path / "plain"))
    slices = {"attention_slicing": True, "vae_slicing": True}
    sliced = images_of(generate(build("sd1"), tmp_path / "sliced", **slices))
    assert max(np.abs(a - b).max() for a, b in zip(plain, sliced, strict=True)) <= LEVELS
    generator = DiffusersGenerator(settings(build("sd1"), **slices))
    assert generator._pipeline.vae.use_slicing
    processors = generator._pipeline.unet.attn_processors.values()
    assert {type(p).__name__ for p in processors} == {"SlicedAttnProcessor"}


@pytest.mark.parametrize(("family", "denoiser"), [("sd1", "unet"), ("sd3", "transformer")])
def test_compiling_takes_the_denoiser_and_the_decoder(
    family: str, denoiser: str, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[tuple[Any, dict[str, Any]]] = []

    def stub(what: Any, **how: Any) -> Any:
        compiled.append((what, how))
        return what

    monkeypatch.setattr(torch, "compile", stub)
    generator = DiffusersGenerator(settings(build(family), compile="max-autotune"))
    how = {"mode": "max-autotune", "fullgraph": True}
    assert [given for _, given in compiled] == [how, how]
    assert compiled[0][0] is getattr(generator._pipeline, denoiser)
    assert compiled[1][0].__func__ is type(generator._pipeline.vae).decode
    weights = [p for p in generator._pipeline.vae.parameters() if p.dim() == 4]
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)
    assert len(generator.draw(TEXTS[:2], [1, 2])) == 2
    compiled.clear()
    generate(build(family), tmp_path / "out", TEXTS[:1])
    assert compiled == []


# ---- images that are refused --------------------------------------------------------------------


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """``refuse(flagged, blank)`` names the seeds whose images are flagged or come out black."""
    kind = DiffusersGenerator
    draw = kind.draw

    def begin(flagged: Set[int], blank: Set[int] = frozenset()) -> None:
        def drawn(self: Any, prompts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image]:
            images = draw(self, prompts, seeds)
            for position, seed in enumerate(seeds):
                if seed in blank:
                    images[position] = Image.new("RGB", images[position].size)
                images[position].info["seed"] = seed
            return images

        monkeypatch.setattr(kind, "draw", drawn)
        monkeypatch.setattr(
            kind,
            "flagged",
            lambda self, images: [image.info["seed"] in flagged for image in images],
        )

    return begin


def attempts(index: int, *numbers: int) -> set[int]:
    """Return the seeds of some attempts at an image."""
    return {attempt_seed(1000 + index, number) for number in numbers}


# Of the six prompts, 1 is flagged at first, 4 always.
FLAGGED = attempts(1, 0) | attempts(4, *range(10))


def test_the_policy_off_loads_and_asks_no_safety_checker(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(DiffusersGenerator, "flagged")
    generator = DiffusersGenerator(settings(build("sd1")))
    assert generator._pipeline.safety_checker is None
    assert generator._checker is None
    out = generate(build("sd1"), tmp_path / "out")
    assert {record.flagged for record in records_of(out)} == {None}


def test_flagged_images_are_kept_as_drawn_and_recorded(
    build: Build, tmp_path: Path, refuse: Callable[..., None]
) -> None:
    plain = images_of(generate(build("sd1"), tmp_path / "plain"))
    refuse(FLAGGED)
    out = generate(build("sd1"), tmp_path / "out", safety_checker="flag")
    assert [record.flagged for record in records_of(out)] == [0, 1, 0, 0, 1, 0]
    assert {(record.status, record.attempts) for record in records_of(out)} == {("ok", 1)}
    assert np.array_equal(images_of(out), plain)


def test_flagged_images_are_redrawn_from_other_noise_up_to_the_bound(
    build: Build, tmp_path: Path, refuse: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    plain = generate(build("sd1"), tmp_path / "plain")
    refuse(FLAGGED)
    caplog.set_level(logging.INFO)
    out = generate(build("sd1"), tmp_path / "out", safety_checker="retry", safety_retries=3)
    records = records_of(out)
    assert [(r.status, r.attempts, r.flagged) for r in records] == [
        ("ok", 1, 0),
        ("ok", 2, 1),
        ("ok", 1, 0),
        ("ok", 1, 0),
        ("rejected", 4, 4),
        ("ok", 1, 0),
    ]
    assert records[4].reason == "none of 4 drawn is usable: 4 flagged by the safety checker"
    assert (records[4].extension, records[4].offset, records[4].seed) == (None, None, 1004)
    # The seed is that of the image that was kept.
    assert records[1].seed == attempt_seed(1001, 1)
    again = DiffusersGenerator(settings(build("sd1"))).draw([TEXTS[1]], [attempt_seed(1001, 1)])
    kept = dict(zip((r.key for r in usable(records)), images_of(out), strict=True))
    assert np.abs(kept["bat_000001"] - np.asarray(again[0]).astype(int)).max() <= LEVELS
    others = [0, 2, 3, 5]
    assert [records[i].sha256 for i in others] == [records_of(plain)[i].sha256 for i in others]
    assert len(TEXTS) == len(usable(records)) + sum(r.status == "rejected" for r in records)
    assert "6 prompts, 5 images; 4 redrawn, 0 blank, 5 flagged, 1 rejected" in caplog.text


def test_flagged_images_are_dropped_at_once(
    build: Build, tmp_path: Path, refuse: Callable[..., None]
) -> None:
    refuse(FLAGGED)
    out = generate(build("sd1"), tmp_path / "out", safety_checker="drop")
    records = records_of(out)
    assert [(r.status, r.attempts) for r in records if r.flagged] == [("rejected", 1)] * 2
    assert len(usable(records)) == len(images_of(out)) == 4
    keys = [s["__key__"] for s in webdataset.WebDataset(str(out / "bat-0.tar"), shardshuffle=False)]
    assert keys == [r.key for r in usable(records)]


def test_the_models_own_checker_is_asked_and_blacks_nothing(build: Build, tmp_path: Path) -> None:
    from diffusers import StableDiffusionPipeline

    plain = images_of(generate(build("sd1"), tmp_path / "plain"))
    calm = generate(build("sd1"), tmp_path / "calm", safety_checker="flag")
    assert {record.flagged for record in records_of(calm)} == {0}
    strict = StableDiffusionPipeline.from_pretrained(build("sd1"))
    strict.safety_checker.concept_embeds_weights.data.fill_(-2.0)  # below any cosine
    strict.save_pretrained(tmp_path / "strict")
    kept = generate(tmp_path / "strict", tmp_path / "kept", safety_checker="flag")
    assert {record.flagged for record in records_of(kept)} == {1}
    assert np.array_equal(images_of(kept), plain)
    dropped = generate(tmp_path / "strict", tmp_path / "dropped", safety_checker="drop")
    assert [record.status for record in records_of(dropped)] == ["rejected"] * 6


@pytest.mark.parametrize("policy", ["off", "flag", "retry", "drop"])
def test_blank_images_are_redrawn_under_every_policy(
    policy: str, build: Build, tmp_path: Path, refuse: Callable[..., None]
) -> None:
    refuse(set(), blank=attempts(0, 0, 1) | attempts(3, *range(10)))
    out = generate(build("sd1"), tmp_path / "out", safety_checker=policy, safety_retries=2)
    records = records_of(out)
    assert [(r.status, r.attempts, r.blank) for r in records[:4]] == [
        ("ok", 3, 2),
        ("ok", 1, 0),
        ("ok", 1, 0),
        ("rejected", 3, 3),
    ]
    assert records[3].reason == "none of 3 drawn is usable: 3 blank"
    assert all(image.min() < image.max() for image in images_of(out))


def test_images_that_are_not_finite_are_blank(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = DiffusersGenerator(settings(build("sd1"), batch_size=2))
    decode = generator._pipeline.vae.decode

    def broken(*args: Any, **kwargs: Any) -> Any:
        image = decode(*args, **kwargs)
        image[0][0, :, 3, 4] = torch.nan
        return image

    monkeypatch.setattr(generator._pipeline.vae, "decode", broken)
    drawn = generation.draw_batch(generator, TEXTS[:2], [1, 2])
    # The first place of every batch breaks: the second try of the first image too, not its third.
    assert [(one.blank, one.attempts) for one in drawn] == [(2, 3), (0, 1)]


def test_a_batch_killed_while_it_redraws_ends_in_the_same_bytes(
    build: Build, tmp_path: Path, refuse: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: dict[str, Any] = {"safety_checker": "retry", "batch_size": 2}
    refuse(FLAGGED)
    whole = generate(build("sd1"), tmp_path / "whole", **changes)
    draw, calls = DiffusersGenerator.draw, 0

    def limited(self: Any, prompts: Sequence[str], seeds: Sequence[int]) -> list[Image.Image]:
        nonlocal calls
        calls += 1
        if calls == stop:
            raise KeyboardInterrupt
        return draw(self, prompts, seeds)

    monkeypatch.setattr(DiffusersGenerator, "draw", limited)
    # Calls: 0 1 | retry of 1 | 2 3 | 4 5 | retry of 4.
    for stop in (2, 5):
        calls = 0
        with pytest.raises(KeyboardInterrupt):
            generate(build("sd1"), tmp_path / str(stop), **changes)
        assert not (tmp_path / str(stop) / "bat-0.jsonl").exists()
        stop_now, stop = stop, -1
        resumed = generate(build("sd1"), tmp_path / str(stop_now), **changes)
        assert bytes_of(resumed) == bytes_of(whole)


def test_a_redrawn_image_does_not_depend_on_how_many_tries_share_a_batch(
    build: Build, tmp_path: Path, refuse: Callable[..., None]
) -> None:
    refuse(attempts(2, 0, 1) | attempts(4, 0))
    kept = []
    for size in (1, 3, 8):
        changes = {"safety_checker": "retry", "batch_size": size}
        out = generate(build("sd1"), tmp_path / str(size), **changes)
        kept.append([(r.key, r.seed, r.attempts, r.flagged) for r in records_of(out)])
    assert kept[0] == kept[1] == kept[2]
    assert kept[0][2] == ("bat_000002", attempt_seed(1002, 2), 3, 2)


# ---- prompts that are too long ------------------------------------------------------------------

LONG = "a photo of a car, " + "a car " * 20


def test_tokens_that_are_cut_off_are_counted_in_the_manifest(
    build: Build, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    texts = [TEXTS[0], LONG]
    out = generate(build("sd1"), tmp_path / "out", texts)
    tokens = len(clip_tokenizer()(LONG)["input_ids"])
    assert tokens > 24
    assert [record.prompt_tokens_over for record in records_of(out)] == [0, tokens - 24]
    assert f"1 of 2 prompts were cut, by {tokens - 24} tokens at most" in caplog.text


def test_the_tightest_tokenizer_counts(build: Build, tmp_path: Path) -> None:
    out = generate(build("sd3"), tmp_path / "out", [LONG], max_sequence_length=20)
    t5 = len(t5_tokenizer()(LONG)["input_ids"]) - 20
    clip = len(clip_tokenizer()(LONG)["input_ids"]) - 24
    assert t5 > clip > 0
    assert records_of(out)[0].prompt_tokens_over == t5


def test_the_first_overlong_prompt_stops_a_job_that_may_not_cut(
    build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(DiffusersGenerator, "draw")  # nothing is drawn before
    texts = [*TEXTS, LONG, LONG]
    with pytest.raises(
        CapsynthError, match=r"'bat_000006' is \d+ tokens too long .*tokenizer 24.* and so are 1"
    ):
        generate(build("sd1"), tmp_path / "out", texts, overlong_prompts="error")
    assert not (tmp_path / "out" / "bat-0.tar").exists()


def test_prompts_that_fit_pass_where_none_may_be_cut(build: Build, tmp_path: Path) -> None:
    out = generate(build("sd1"), tmp_path / "out", overlong_prompts="error")
    assert {record.prompt_tokens_over for record in records_of(out)} == {0}
