"""Every family of captioners: a tiny model of random weights through the stage's command line."""

import itertools
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from settings import captioner_settings

import caption_images
import pack_real
from capsynth import captioners
from capsynth.captioners import CHAT_PROMPT, FAMILIES, Captioner, find_family
from capsynth.captions import CUT, STATUSES, CaptionRecord
from capsynth.errors import CapsynthError
from capsynth.files import dump_json, read_json, read_json_lines, write_json
from capsynth.schema import load_schema

SIDE = 32
WORDS = "a the cat dog bird boat red blue small old sits runs on under grass sea night snow".split()
Rows = list[dict[str, Any]]


class Stopped(Exception):
    """Stands for a kill in the middle of a stage."""


def stop_after(calls: int, function: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``function``, which works ``calls`` times and then raises ``Stopped``."""
    count = itertools.count(1)

    def limited(*args: Any, **kwargs: Any) -> Any:
        if next(count) > calls:
            raise Stopped
        return function(*args, **kwargs)

    return limited


# ---- tiny models, one a family ------------------------------------------------------------------


def build_tokenizer(*more: str, **specials: str) -> Any:
    """Return a tokenizer of whole words whose special tokens are ``specials`` and ``more``."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    first = [*dict.fromkeys(specials.values()), *more]
    vocabulary = {word: index for index, word in enumerate([*first, "[UNK]", *WORDS])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="[UNK]", **specials)
    if more:
        tokenizer.add_special_tokens({"additional_special_tokens": list(more)})
    return tokenizer


def bert_tokenizer() -> Any:
    """Return a tokenizer that puts [CLS] and [SEP] around a text, as BLIP and GIT expect."""
    from tokenizers import processors

    tokenizer = build_tokenizer(
        pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", bos_token="[CLS]"
    )
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[
            ("[CLS]", tokenizer.cls_token_id),
            ("[SEP]", tokenizer.sep_token_id),
        ],
    )
    return tokenizer


def lively(model: Any, scale: float, seed: int) -> Any:
    """Return ``model`` with weights so large that its words depend on the image.

    Random weights as transformers draws them give nearly equal scores to all words, and the last
    bits of a sum would choose between them. Scale and seed were picked so that the greedy captions
    differ, and some end by themselves.
    """
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                noise = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(scale * noise)
    return model.eval()


def layers(**more: int) -> dict[str, int]:
    """Return the sizes of a transformer of one layer, under the names most families use."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return {**sizes, "intermediate_size": 32, **more}


def ids_of(tokenizer: Any) -> dict[str, int]:
    """Return the numbers of a tokenizer's special tokens, as configurations name them."""
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    return {name: getattr(tokenizer, name) for name in names}


def vit_processor() -> Any:
    from transformers import ViTImageProcessor

    return ViTImageProcessor(size={"height": SIDE, "width": SIDE})


def build_encoder_decoder(folder: Path) -> None:
    from transformers import (
        GPT2Config,
        GPT2LMHeadModel,
        VisionEncoderDecoderModel,
        ViTConfig,
        ViTModel,
    )

    tokenizer = build_tokenizer(pad_token="<pad>", bos_token="<end>", eos_token="<end>")
    encoder = ViTModel(ViTConfig(image_size=SIDE, patch_size=8, **layers()), False)
    ids = {"bos_token_id": 1, "eos_token_id": 1, "pad_token_id": 0}
    decoder = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(tokenizer),
            n_positions=32,
            n_embd=16,
            n_layer=1,
            n_head=2,
            is_decoder=True,
            add_cross_attention=True,
            **ids,
        )
    )
    model = VisionEncoderDecoderModel(encoder=encoder, decoder=decoder)
    for config in (model.config, model.generation_config):
        config.update({**ids, "decoder_start_token_id": 1})
    lively(model, 0.3, 6).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    vit_processor().save_pretrained(folder)


def build_blip(folder: Path) -> None:
    from transformers import (
        BlipConfig,
        BlipForConditionalGeneration,
        BlipImageProcessor,
        BlipProcessor,
    )

    tokenizer = bert_tokenizer()
    config = BlipConfig(
        text_config=layers(
            vocab_size=len(tokenizer),
            encoder_hidden_size=16,
            max_position_embeddings=32,
            bos_token_id=tokenizer.cls_token_id,
            eos_token_id=tokenizer.sep_token_id,
            sep_token_id=tokenizer.sep_token_id,
            pad_token_id=tokenizer.pad_token_id,
        ),
        vision_config=layers(image_size=SIDE, patch_size=8),
        projection_dim=16,
    )
    lively(BlipForConditionalGeneration(config), 0.15, 6).save_pretrained(folder)
    image_processor = BlipImageProcessor(size={"height": SIDE, "width": SIDE})
    BlipProcessor(image_processor, tokenizer).save_pretrained(folder)


def save_blip2(folder: Path, tokenizer: Any, text: Mapping[str, Any], scale: float) -> None:
    from transformers import (
        Blip2Config,
        Blip2ForConditionalGeneration,
        Blip2Processor,
        BlipImageProcessor,
    )

    config = Blip2Config(
        vision_config=layers(image_size=SIDE, patch_size=8),
        qformer_config=layers(vocab_size=8, encoder_hidden_size=16),
        text_config={"vocab_size": len(tokenizer), **ids_of(tokenizer), **text},
        num_query_tokens=2,
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        image_text_hidden_size=16,
    )
    lively(Blip2ForConditionalGeneration(config), scale, 12).save_pretrained(folder)
    image_processor = BlipImageProcessor(size={"height": SIDE, "width": SIDE})
    Blip2Processor(image_processor, tokenizer, num_query_tokens=2).save_pretrained(folder)


def build_blip2(folder: Path) -> None:
    tokenizer = build_tokenizer("<image>", pad_token="<pad>", bos_token="</s>", eos_token="<end>")
    opt = {
        "model_type": "opt",
        "hidden_size": 16,
        "word_embed_proj_dim": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "ffn_dim": 32,
        "max_position_embeddings": 64,
    }
    save_blip2(folder, tokenizer, opt, 0.7)


def build_blip2_t5(folder: Path) -> None:
    tokenizer = build_tokenizer("<image>", pad_token="<pad>", bos_token="<s>", eos_token="</s>")
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 1, "num_heads": 2}
    start = {"decoder_start_token_id": tokenizer.pad_token_id, "is_encoder_decoder": True}
    save_blip2(folder, tokenizer, {"model_type": "t5", **sizes, **start}, 0.4)


def build_git(folder: Path) -> None:
    from transformers import CLIPImageProcessor, GitConfig, GitForCausalLM, GitProcessor

    tokenizer = bert_tokenizer()
    config = GitConfig(
        vision_config=layers(image_size=SIDE, patch_size=8),
        vocab_size=len(tokenizer),
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        **layers(),
    )
    lively(GitForCausalLM(config), 0.25, 1).save_pretrained(folder)
    image_processor = CLIPImageProcessor(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    )
    GitProcessor(image_processor, tokenizer).save_pretrained(folder)


CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }} "
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}IMAGE {% else %}{{ part['text'] }} {% endif %}"
    "{% endfor %}<end> {% endfor %}{% if add_generation_prompt %}assistant {% endif %}"
)


def llama(tokenizer: Any) -> dict[str, Any]:
    sizes = layers(vocab_size=len(tokenizer), max_position_embeddings=512)
    return {"model_type": "llama", "num_key_value_heads": 2, **sizes, **ids_of(tokenizer)}


def build_llava(folder: Path) -> None:
    from transformers import (
        CLIPImageProcessor,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    tokenizer = build_tokenizer("<image>", pad_token="<pad>", bos_token="<s>", eos_token="<end>")
    vision = {"model_type": "clip_vision_model", "projection_dim": 16}
    config = LlavaConfig(
        vision_config={**vision, **layers(image_size=SIDE, patch_size=8, num_hidden_layers=2)},
        text_config=llama(tokenizer),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        **ids_of(tokenizer),
    )
    lively(LlavaForConditionalGeneration(config), 0.4, 1).save_pretrained(folder)
    image_processor = CLIPImageProcessor(
        size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}
    )
    LlavaProcessor(
        image_processor,
        tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE.replace("IMAGE", "<image>"),
    ).save_pretrained(folder)


def build_smolvlm(folder: Path) -> None:
    """SmolVLM-Instruct's architecture, Idefics3; images are split into tiles."""
    from transformers import (
        Idefics3Config,
        Idefics3ForConditionalGeneration,
        Idefics3ImageProcessor,
        Idefics3Processor,
    )

    tiles = [f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)]
    tokenizer = build_tokenizer(
        "<image>",
        "<fake_token_around_image>",
        "<global-img>",
        "<end_of_utterance>",
        *tiles,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="<end>",
    )
    config = Idefics3Config(
        vision_config=layers(image_size=SIDE, patch_size=8),
        text_config=llama(tokenizer),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        scale_factor=2,
        **ids_of(tokenizer),
    )
    lively(Idefics3ForConditionalGeneration(config), 0.25, 4).save_pretrained(folder)
    image_processor = Idefics3ImageProcessor(
        size={"longest_edge": 2 * SIDE}, max_image_size={"longest_edge": SIDE}
    )
    Idefics3Processor(
        image_processor,
        tokenizer,
        image_seq_len=4,
        chat_template=CHAT_TEMPLATE.replace("IMAGE", "<image>"),
    ).save_pretrained(folder)


def build_qwen2_vl(folder: Path) -> None:
    from transformers import (
        Qwen2VLConfig,
        Qwen2VLForConditionalGeneration,
        Qwen2VLImageProcessor,
        Qwen2VLProcessor,
        Qwen2VLVideoProcessor,
    )

    marks = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    tokenizer = build_tokenizer(*marks, pad_token="<pad>", bos_token="<s>", eos_token="<end>")
    start, end, image, video = (tokenizer.convert_tokens_to_ids(mark) for mark in marks)
    text = layers(vocab_size=len(tokenizer), max_position_embeddings=512, num_key_value_heads=2)
    config = Qwen2VLConfig(
        text_config={
            **text,
            **ids_of(tokenizer),
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [1, 1, 2],
            },
        },
        vision_config={
            "depth": 1,
            "embed_dim": 16,
            "hidden_size": 16,
            "num_heads": 2,
            "mlp_ratio": 2,
            "patch_size": 8,
        },
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
        **ids_of(tokenizer),
    )
    lively(Qwen2VLForConditionalGeneration(config), 0.4, 4).save_pretrained(folder)
    sizes = {"shortest_edge": SIDE * SIDE // 4, "longest_edge": 4 * SIDE * SIDE}
    Qwen2VLProcessor(
        Qwen2VLImageProcessor(patch_size=8, size=sizes),
        tokenizer,
        Qwen2VLVideoProcessor(patch_size=8, size=sizes),
        chat_template=CHAT_TEMPLATE.replace(
            "IMAGE", "<|vision_start|> <|image_pad|> <|vision_end|>"
        ),
    ).save_pretrained(folder)


def build_paligemma(folder: Path) -> None:
    """The family that docs/captioners.md adds."""
    from transformers import (
        PaliGemmaConfig,
        PaliGemmaForConditionalGeneration,
        PaliGemmaProcessor,
        SiglipImageProcessor,
    )

    tokenizer = build_tokenizer("<image>", pad_token="<pad>", bos_token="<s>", eos_token="<end>")
    vision = {"model_type": "siglip_vision_model", "vision_use_head": False}
    text = {"model_type": "gemma", "head_dim": 8, "num_key_value_heads": 1}
    config = PaliGemmaConfig(
        vision_config={**vision, **layers(image_size=SIDE, patch_size=8)},
        text_config={**text, **layers(vocab_size=len(tokenizer)), **ids_of(tokenizer)},
        image_token_index=tokenizer.convert_tokens_to_ids("<image>"),
        projection_dim=16,
        **ids_of(tokenizer),
    )
    lively(PaliGemmaForConditionalGeneration(config), 0.4, 1).save_pretrained(folder)
    image_processor = SiglipImageProcessor(size={"height": SIDE, "width": SIDE})
    image_processor.image_seq_length = (SIDE // 8) ** 2
    PaliGemmaProcessor(image_processor, tokenizer).save_pretrained(folder)


# ViT-GPT2, BLIP, BLIP-2 twice, GIT, and three chat models: of images of one size, of images that
# are split into tiles, and of images that become as many tokens as they are large.
BUILDERS: Mapping[str, tuple[str, Callable[[Path], None]]] = {
    "vit-gpt2": ("encoder-decoder", build_encoder_decoder),
    "blip": ("blip", build_blip),
    "blip-2": ("blip-2", build_blip2),
    "blip-2-t5": ("blip-2", build_blip2_t5),
    "git": ("git", build_git),
    "llava": ("chat", build_llava),
    "smolvlm": ("chat", build_smolvlm),
    "qwen2-vl": ("chat", build_qwen2_vl),
}
MODELS = list(BUILDERS)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``model(name)`` is the folder of a tiny model of ``BUILDERS``."""
    built: dict[str, Path] = {}

    def build(name: str) -> Path:
        if name not in built:
            built[name] = tmp_path_factory.mktemp(name)
            BUILDERS[name][1](built[name])
        return built[name]

    return build


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Tar and manifest of five JPEG files of different sizes, packed by ``pack_real``."""
    root = tmp_path_factory.mktemp("photos")
    folder = root / "cat"
    folder.mkdir()
    noise = np.random.default_rng(0)
    for index, (width, height) in enumerate([(40, 40), (64, 32), (32, 48), (40, 40), (96, 64)]):
        small = noise.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)
        image.save(folder / f"photo{index}.jpg", quality=90)
    tar, manifest = root / "cat-0.tar", root / "cat-0.jsonl"
    flags = {
        "folder": folder,
        "shard": "cat-0",
        "class-index": 0,
        "parts-per-class": 1,
        "format": dump_json({"side": None, "extension": "jpg"}),
        "source-token": "t",
        "tar": tar,
        "manifest": manifest,
        "index": root / ".cat-0.sources.json",
    }
    pack_real.main([f"--{name}={value}" for name, value in flags.items()])
    return tar, manifest


def caption(model: Path, shard: tuple[Path, Path], output: Path, **changes: Any) -> Rows:
    changes = {"max_new_tokens": 8, "on_repeated": "keep", **changes}
    flags = {
        "settings": dump_json(captioner_settings(model, **changes)),
        "model-mark": "m",
        "threads": 1,
        "tar": shard[0],
        "manifest": shard[1],
        "output": output,
    }
    caption_images.main([f"--{name}={value}" for name, value in flags.items()])
    return read_json_lines(output)


SAMPLED = {"num_captions": 3, "temperature": 1.0, "top_p": 0.9, "seed": 7}


@pytest.mark.parametrize("name", MODELS)
def test_a_family_is_known_by_its_own_config(name: str, model: Callable[[str], Path]) -> None:
    assert find_family(str(model(name)), None, None) is FAMILIES[BUILDERS[name][0]]


@pytest.mark.parametrize("name", MODELS)
def test_every_image_is_captioned_alike_in_batches_of_1_and_8(
    name: str, tmp_path: Path, model: Callable[[str], Path], shard: tuple[Path, Path]
) -> None:
    alone = caption(model(name), shard, tmp_path / "1.jsonl", batch_size=1)
    together = caption(model(name), shard, tmp_path / "8.jsonl", batch_size=8)
    assert [CaptionRecord(**row).key for row in alone] == [f"photo{i}" for i in range(5)]
    assert {row["status"] for row in alone} <= set(STATUSES)
    assert {row["number"] for row in alone} == {0}
    for one, other in zip(alone, together, strict=True):
        assert {**one, "fingerprint": ""} == {**other, "fingerprint": ""}
    # They are about the images, and made of the model's own words.
    assert len({row["raw"] for row in alone}) > 1
    assert {word for row in alone for word in row["caption"].split()} <= {*WORDS, "[UNK]"}


@pytest.mark.parametrize("name", MODELS)
def test_sampled_captions_are_an_images_own_and_survive_a_kill(
    name: str,
    tmp_path: Path,
    model: Callable[[str], Path],
    shard: tuple[Path, Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = caption(model(name), shard, tmp_path / "whole.jsonl", **SAMPLED)
    assert [(row["key"], row["number"]) for row in whole] == [
        (f"photo{i}", number) for i in range(5) for number in range(3)
    ]
    assert len({(row["key"], row["raw"]) for row in whole}) > 10
    with monkeypatch.context() as patch:
        patch.setattr(Captioner, "speak", stop_after(3, Captioner.speak))
        with pytest.raises(Stopped):
            caption(model(name), shard, tmp_path / "killed.jsonl", **SAMPLED)
    assert not (tmp_path / "killed.jsonl").exists()
    caption(model(name), shard, tmp_path / "killed.jsonl", **SAMPLED)
    assert (tmp_path / "killed.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    # Neither the batch size nor the number of captions changes a caption.
    others = {**SAMPLED, "num_captions": 2, "batch_size": 5}
    fewer = caption(model(name), shard, tmp_path / "fewer.jsonl", **others)
    assert [row["raw"] for row in fewer] == [row["raw"] for row in whole if row["number"] < 2]


@pytest.mark.parametrize("name", MODELS)
def test_a_beam_search_finds_the_same_in_batches_of_1_and_8(
    name: str, tmp_path: Path, model: Callable[[str], Path], shard: tuple[Path, Path]
) -> None:
    alone, together = (
        caption(model(name), shard, tmp_path / f"{size}.jsonl", batch_size=size, num_beams=3)
        for size in (1, 8)
    )
    assert [row["raw"] for row in alone] == [row["raw"] for row in together]


@pytest.mark.parametrize("name", [name for name in MODELS if name != "vit-gpt2"])
def test_a_prompt_changes_captions_and_is_not_part_of_them(
    name: str, tmp_path: Path, model: Callable[[str], Path], shard: tuple[Path, Path]
) -> None:
    prompt = "snow on the old small boat"
    short = {"max_new_tokens": 3}
    asked = caption(model(name), shard, tmp_path / "asked.jsonl", prompt=prompt, **short)
    other = caption(model(name), shard, tmp_path / "other.jsonl", **short)
    assert all(len(row["raw"].split()) <= 3 for row in asked)
    assert [row["raw"] for row in asked] != [row["raw"] for row in other]
    again = caption(model(name), shard, tmp_path / "1.jsonl", prompt=prompt, batch_size=1, **short)
    assert [row["raw"] for row in asked] == [row["raw"] for row in again]


def test_a_prompt_never_displaces_the_image(
    tmp_path: Path, model: Callable[[str], Path], shard: tuple[Path, Path]
) -> None:
    # A processor as older checkpoints have it, which would leave the image out.
    older = tmp_path / "older"
    shutil.copytree(model("blip-2"), older)
    processor = read_json(older / "processor_config.json")
    del processor["num_query_tokens"]
    write_json(older / "processor_config.json", processor)
    rows = [
        caption(folder, shard, tmp_path / f"{folder.name}.jsonl", prompt="the")
        for folder in (older, model("blip-2"))
    ]
    assert [row["raw"] for row in rows[0]] == [row["raw"] for row in rows[1]]
    assert len({row["raw"] for row in rows[0]}) > 1
    # A model that takes another token for the image's.
    config = read_json(older / "config.json")
    write_json(older / "config.json", {**config, "image_token_index": 4})
    with pytest.raises(CapsynthError, match="do not agree on the image's token"):
        caption(older, shard, tmp_path / "c.jsonl", prompt="the")


def test_weights_that_are_no_safetensors_are_refused(
    tmp_path: Path, model: Callable[[str], Path], shard: tuple[Path, Path]
) -> None:
    pickled = tmp_path / "pickled"
    shutil.copytree(model("blip"), pickled)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(CapsynthError, match=r"holds no \*\.safetensors"):
        caption(pickled, shard, tmp_path / "c.jsonl")


def test_a_chat_model_is_asked_for_one_sentence_by_default(
    tmp_path: Path, model: Callable[[str], Path], shard: tuple[Path, Path]
) -> None:
    asked = caption(model("llava"), shard, tmp_path / "asked.jsonl", prompt=CHAT_PROMPT)
    default = caption(model("llava"), shard, tmp_path / "default.jsonl")
    assert [row["raw"] for row in asked] == [row["raw"] for row in default]


def test_a_prompt_is_refused_by_the_family_that_takes_none(
    tmp_path: Path, model: Callable[[str], Path], shard: tuple[Path, Path]
) -> None:
    with pytest.raises(CapsynthError, match=r"prompt: .* family encoder-decoder; remove it"):
        caption(model("vit-gpt2"), shard, tmp_path / "c.jsonl", prompt="a photo of")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_captions_too(
    dtype: str, tmp_path: Path, model: Callable[[str], Path], shard: tuple[Path, Path]
) -> None:
    rows = caption(model("blip-2"), shard, tmp_path / "c.jsonl", dtype=dtype)
    assert len(rows) == 5
    assert any(row["caption"] for row in rows)


def test_captions_that_the_limit_ended_are_told_from_those_that_the_model_ended(
    tmp_path: Path, model: Callable[[str], Path], shard: tuple[Path, Path]
) -> None:
    short = caption(model("git"), shard, tmp_path / "short.jsonl", max_new_tokens=1, on_cut="empty")
    assert {row["status"] for row in short} == {CUT}
    assert {row["caption"] for row in short} == {""}
    assert "" not in {row["raw"] for row in short}
    long = caption(model("git"), shard, tmp_path / "long.jsonl", max_new_tokens=40)
    assert "ok" in {row["status"] for row in long}


def test_several_captions_without_sampling_are_refused(
    tmp_path: Path, model: Callable[[str], Path], shard: tuple[Path, Path]
) -> None:
    with pytest.raises(CapsynthError, match=r"num_captions: 2 captions .* set temperature"):
        caption(model("blip"), shard, tmp_path / "c.jsonl", num_captions=2)


def test_a_model_of_no_known_family_is_told_which_are_known(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(CapsynthError, match="is a 'bert'") as caught:
        find_family(str(tmp_path), None, None)
    assert ", ".join(FAMILIES) in str(caught.value)
    assert "captioners.py" in str(caught.value)


def test_the_schema_knows_the_families_that_the_library_knows() -> None:
    family = load_schema()["$defs"]["captioner"]["properties"]["family"]
    assert family["enum"] == [*FAMILIES, None]


def test_the_family_that_the_docs_add_in_twenty_lines_captions(
    repository: Path, tmp_path: Path, shard: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (repository / "docs" / "captioners.md").read_text(encoding="utf-8")
    code = text.split("```python\n")[1].split("```")[0]
    assert len([line for line in code.splitlines() if line.strip()]) < 20
    monkeypatch.setattr(captioners, "FAMILIES", dict(FAMILIES))
    exec(code, dict(vars(captioners)))
    build_paligemma(tmp_path / "model")
    alone, together = (
        caption(tmp_path / "model", shard, tmp_path / f"{size}.jsonl", batch_size=size)
        for size in (1, 8)
    )
    assert [row["raw"] for row in alone] == [row["raw"] for row in together]
    assert len({row["raw"] for row in alone}) > 1


def test_a_folder_without_a_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(CapsynthError, match=r"has no config\.json; give a folder"):
        find_family(str(tmp_path), None, None)


def test_a_family_that_is_named_wins_over_the_config(
    tmp_path: Path, model: Callable[[str], Path], shard: tuple[Path, Path]
) -> None:
    with pytest.raises(CapsynthError, match="has no chat template"):
        caption(model("blip"), shard, tmp_path / "c.jsonl", family="chat")
    with pytest.raises(CapsynthError, match="unknown captioner family 'gti'; did you mean 'git'"):
        find_family(str(model("git")), None, "gti")
