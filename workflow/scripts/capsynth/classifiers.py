"""Classifiers: timm architectures, stored with all that is needed to use them."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from capsynth.errors import CapsynthError
from capsynth.files import atomic_path, dump_json


@dataclass(frozen=True)
class ClassifierCard:
    """What a checkpoint says of itself.

    Attributes:
        model: timm architecture.
        image_size: Side of the square input, pixels.
        class_ids: Classes in the order of the outputs.
        fingerprint: Fingerprint of training set, recipe and seed.
    """

    model: str
    image_size: int
    class_ids: tuple[str, ...]
    fingerprint: str


def build_classifier(model: str, classes: int) -> torch.nn.Module:
    """Return an untrained timm model with ``classes`` outputs.

    Raises:
        CapsynthError: If timm has no such architecture.
    """
    import timm

    if not timm.is_model(model):
        near = timm.list_models(f"*{model.split('_')[0]}*")[:5]
        hint = f"; similar: {', '.join(near)}" if near else ""
        raise CapsynthError(f"recipe model {model!r} is not a timm architecture{hint}")
    built: torch.nn.Module = timm.create_model(model, pretrained=False, num_classes=classes)
    return built


def save_classifier(path: Path, model: torch.nn.Module, card: ClassifierCard) -> None:
    """Write weights and card as one safetensors file, atomically."""
    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, {"card": dump_json(asdict(card))})


def load_classifier(path: Path) -> tuple[torch.nn.Module, ClassifierCard]:
    """Read a classifier, ready to evaluate."""
    with safe_open(path, framework="pt") as file:
        card = ClassifierCard(**json.loads(file.metadata()["card"]))
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    model = build_classifier(card.model, len(card.class_ids))
    model.load_state_dict(tensors)
    return model.eval(), card
