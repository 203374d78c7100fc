"""Weights that do not fit the architecture they are loaded into, by every loader."""

import re
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from language_models import build_language_model
from safetensors.torch import load_file, save_file
from settings import captioner_settings, generator_settings

from capsynth.captioners import CaptionerSettings, load_captioner
from capsynth.classifiers import ClassifierCard, build_classifier, load_classifier, save_classifier
from capsynth.decoding import load_model
from capsynth.errors import CapsynthError
from capsynth.extractors import ExtractorSettings, load_extractor
from capsynth.generators import DiffusersGenerator, GeneratorSettings
from capsynth.transforms import Preprocessing
from capsynth.weights import needed

Tensors = Mapping[str, torch.Tensor]
Edit = Callable[[Tensors], Tensors]


def caption_with(model: Path) -> Any:
    return load_captioner(CaptionerSettings(**captioner_settings(model))).model


def draw_with(model: Path) -> Any:
    return DiffusersGenerator(GeneratorSettings(**generator_settings(model)))


def extract_with(model: Path) -> Any:
    return load_extractor(
        ExtractorSettings(str(model), None, None, "float32", 2, False, None)
    ).model


def rewrite_with(model: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return load_model(AutoModelForCausalLM, str(model), None, "float32")


LOADERS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "captioner": (caption_with, ""),
    "rewriter": (rewrite_with, ""),
    "text_encoder": (draw_with, "text_encoder"),
    "unet": (draw_with, "unet"),
    "vae": (draw_with, "vae"),
    "timm": (extract_with, ""),
}


@pytest.fixture(scope="module")
def whole(
    tiny_captioner: Path, tiny_generator: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """``whole(loader)`` is the folder of a tiny model that fits."""
    folders = {"captioner": tiny_captioner}

    def build(loader: str) -> Path:
        if LOADERS[loader][0] is draw_with:
            return tiny_generator
        if loader not in folders:
            folders[loader] = tmp_path_factory.mktemp(loader)
            builders[loader](folders[loader])
        return folders[loader]

    builders: dict[str, Callable[[Path], Any]] = {
        "rewriter": lambda folder: build_language_model(folder, "gpt2"),
        "timm": build_timm,
    }
    return build


def build_timm(folder: Path) -> None:
    import timm
    from timm.models import save_for_hf

    model = timm.create_model("test_resnet", num_classes=3)
    save_for_hf(model, folder, safe_serialization=True)


def with_weights(model: Path, part: str, folder: Path, edit: Edit) -> tuple[Path, Path]:
    """Return a copy of a model whose weights were edited, and their file."""
    copy = Path(shutil.copytree(model, folder))
    (file,) = (copy / part).glob("*.safetensors")
    save_file(dict(edit(load_file(file))), file, metadata={"format": "pt"})
    return copy, file


def renamed(prefix: str) -> Edit:
    return lambda tensors: {prefix + name: tensor for name, tensor in tensors.items()}


def first_dropped(tensors: Tensors) -> Tensors:
    name = next(name for name in sorted(tensors) if tensors[name].dim() == 4 or "attn" in name)
    return {key: tensor for key, tensor in tensors.items() if key != name}


def first_narrowed(tensors: Tensors) -> Tensors:
    name = next(name for name in sorted(tensors) if tensors[name].dim() > 1)
    return {**tensors, name: tensors[name][:-1].clone()}


@pytest.mark.parametrize("loader", [name for name in LOADERS if name != "timm"])
def test_weights_saved_from_a_wrapper_are_refused_and_the_command_told_mends_them(
    loader: str,
    whole: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load, part = LOADERS[loader]
    model, file = with_weights(whole(loader), part, tmp_path / "m", renamed("module._orig_mod."))
    with pytest.raises(CapsynthError, match=r"are missing, such as .*torch\.compile") as told:
        load(model)
    assert str(file) in str(told.value)
    command = re.search(r"python -c .*", str(told.value))
    assert command is not None
    _, _, code, *words = shlex.split(command[0])
    monkeypatch.setattr(sys, "argv", ["-c", *words])
    exec(code, {})
    load(model)


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("edit", [first_dropped, first_narrowed, renamed("net.")])
def test_weights_that_do_not_fit_are_refused_by_name(
    edit: Edit, loader: str, whole: Callable[[str], Path], tmp_path: Path
) -> None:
    load, part = LOADERS[loader]
    model, file = with_weights(whole(loader), part, tmp_path / "m", edit)
    said = r" do not fit its architecture \w+: (\d+ of \d+ are missing, |\S+ has)"
    with pytest.raises(CapsynthError, match=re.escape(str(file)) + said):
        load(model)


@pytest.mark.parametrize("loader", LOADERS)
def test_weights_that_nothing_reads_are_no_reason_to_refuse_a_model(
    loader: str, whole: Callable[[str], Path], tmp_path: Path
) -> None:
    load, part = LOADERS[loader]
    extra = {"of.another.head": torch.zeros(3), "text_model.position_ids": torch.arange(3)}
    model, _ = with_weights(whole(loader), part, tmp_path / "m", lambda tensors: tensors | extra)
    load(model)


def test_a_captioner_may_lack_the_pooler_that_no_caption_depends_on(tmp_path: Path) -> None:
    from transformers import GPT2Config, VisionEncoderDecoderConfig, ViTConfig
    from transformers import VisionEncoderDecoderModel as Model

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    decoder = GPT2Config(vocab_size=8, n_embd=16, n_layer=1, n_head=2, add_cross_attention=True)
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        ViTConfig(image_size=16, patch_size=8, intermediate_size=16, **sizes), decoder
    )
    Model(config).save_pretrained(tmp_path / "whole")
    without, _ = with_weights(
        tmp_path / "whole", "", tmp_path / "m",
        lambda tensors: {k: v for k, v in tensors.items() if "pooler" not in k},
    )  # fmt: skip
    load_model(Model, str(without), None, "float32")


def test_an_extractor_that_reads_the_encoder_may_lack_the_decoder(
    tiny_captioner: Path, tmp_path: Path
) -> None:
    model, _ = with_weights(
        tiny_captioner, "", tmp_path / "m",
        lambda tensors: {k: v for k, v in tensors.items() if k.startswith("encoder.")},
    )  # fmt: skip
    assert extract_with(model).encoder is not None
    with pytest.raises(CapsynthError, match=r"are missing, such as decoder\."):
        caption_with(model)


def test_tied_weights_and_buffers_that_are_computed_may_be_missing_but_statistics_may_not() -> None:
    model = torch.nn.Module()
    model.embed, model.head = torch.nn.Embedding(3, 2), torch.nn.Linear(2, 3, bias=False)
    model.head.weight = model.embed.weight
    model.norm = torch.nn.BatchNorm1d(2)
    model.register_buffer("position_ids", torch.arange(3))
    assert needed(model, ["head.weight", "position_ids", "norm.num_batches_tracked"]) == []
    assert needed(model, ["head.weight", "embed.weight"]) == ["embed.weight", "head.weight"]
    assert needed(model, ["norm.running_var"]) == ["norm.running_var"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (renamed("module."), r"test_resnet: .*are missing, .*'module\.'"),
        (first_dropped, r"1 of \d+ are missing, "),
        (first_narrowed, r"has the shape \("),
        (None, "cannot be understood .*: damaged, cut or another kind of file"),
        (dict, "has no card that says what it is"),
    ],
)
def test_a_checkpoint_that_is_none_of_its_architecture_is_refused(
    damage: Edit | None, said: str, tmp_path: Path
) -> None:
    path = tmp_path / "seed0.safetensors"
    preprocessing = Preprocessing(32, "center", 1.0, "bilinear", (0.5,) * 3, (0.5,) * 3)
    card = ClassifierCard("test_resnet", 32, preprocessing, ("cat", "dog"), "f")
    model = build_classifier("test_resnet", 2, 32)
    save_classifier(path, model, card)
    assert load_classifier(path)[1] == card
    if damage is None:
        path.write_bytes(path.read_bytes()[:1000])
    elif damage is dict:
        save_file(load_file(path), path)
    else:
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
        save_file(dict(damage(load_file(path))), path, metadata)
    with pytest.raises(CapsynthError, match=said):
        load_classifier(path)
