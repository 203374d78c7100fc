"""Classifiers: timm architectures, stored with all that is needed to use them."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from capsynth.errors import CapsynthError
from capsynth.files import atomic_path, dump_json, read_json
from capsynth.integrity import check_file, unreadable
from capsynth.transforms import Preprocessing
from capsynth.weights import fitting


@dataclass(frozen=True)
class ClassifierCard:
    """What a checkpoint says of itself.

    Attributes:
        model: timm architecture.
        image_size: Side of the square input in training, pixels.
        preprocessing: What evaluation does to an image.
        class_ids: Classes in the order of the outputs.
        fingerprint: Fingerprint of training set, recipe and seed.
    """

    model: str
    image_size: int
    preprocessing: Preprocessing
    class_ids: tuple[str, ...]
    fingerprint: str


def build_classifier(
    model: str, classes: int, image_size: int, dropout: float = 0.0, drop_path: float = 0.0
) -> torch.nn.Module:
    """Return an untrained timm model.

    Args:
        model: Name of an architecture.
        classes: Number of outputs.
        image_size: Side of the input, pixels; decides the shape of models whose input is fixed.
        dropout: Probability of dropout before the last layer.
        drop_path: Probability of stochastic depth.

    Raises:
        CapsynthError: If timm has no such architecture, or it has no dropout or stochastic depth.
    """
    import timm

    if not timm.is_model(model):
        near = timm.list_models(f"*{model.split('_')[0]}*")[:5]
        hint = f"; similar: {', '.join(near)}" if near else ""
        raise CapsynthError(f"recipe model {model!r} is not a timm architecture{hint}")
    options: dict[str, float] = {}
    if has_fixed_size(model):
        options["img_size"] = image_size
    if dropout > 0:
        options["drop_rate"] = dropout
    if drop_path > 0:
        options["drop_path_rate"] = drop_path
    try:
        built: torch.nn.Module = timm.create_model(
            model, pretrained=False, num_classes=classes, **options
        )
    except TypeError as error:
        raise CapsynthError(
            f"recipe model {model!r} cannot be built with {options}: {error}; set what it does not "
            "take to 0"
        ) from error
    return built


def has_fixed_size(model: str) -> bool:
    """Return whether a timm architecture takes images of one size only, as most ViTs do."""
    import timm

    config = timm.get_pretrained_cfg(model)
    return config is not None and bool(config.fixed_input_size)


def save_classifier(path: Path, model: torch.nn.Module, card: ClassifierCard) -> None:
    """Write weights and card as one safetensors file, atomically."""
    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {"card": dump_json(asdict(card))})


def load_classifier(path: Path) -> tuple[torch.nn.Module, ClassifierCard]:
    """Read a classifier, ready to evaluate.

    Raises:
        Damaged: If it is not the one that its job wrote or its history names, or cut short.
        CapsynthError: If the file says not what it holds, or its weights do not fit.
    """
    check_file(path, *_named_by_history(path))
    try:
        with safe_open(path, framework="pt") as file:
            card = _card_from(json.loads((file.metadata() or {})["card"]))
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise unreadable(path, error) from error
    except (KeyError, TypeError, ValueError) as error:
        raise CapsynthError(
            f"{path} is no checkpoint of train_classifier: its metadata has no card that says what "
            f"it is ({error!r}); train it again, or write one as save_classifier does"
        ) from error
    model = build_classifier(card.model, len(card.class_ids), card.image_size)
    model.load_state_dict(fitting(model, tensors, card.model, path), strict=False)
    return model.eval(), card


def _named_by_history(checkpoint: Path) -> tuple[str | None, str]:
    """Return what a checkpoint's history says its SHA-256 is, and the path of the history."""
    history = checkpoint.with_suffix(".json")
    about = read_json(history) if history.is_file() else None
    said = about.get("checkpoint_sha256") if isinstance(about, dict) else None
    return said, str(history)


def _card_from(value: dict[str, Any]) -> ClassifierCard:
    preprocessing = value["preprocessing"]
    channels = {name: tuple(preprocessing[name]) for name in ("mean", "std")}
    return ClassifierCard(
        model=value["model"],
        image_size=value["image_size"],
        preprocessing=Preprocessing(**{**preprocessing, **channels}),
        class_ids=tuple(value["class_ids"]),
        fingerprint=value["fingerprint"],
    )
