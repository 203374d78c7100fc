"""Models that turn images into features, by family.

A family is a small subclass of ``Extractor`` and its entry in ``FAMILIES``: how its models are
loaded, what they do to an image first, and which of their numbers are the image's feature. Which
family a model belongs to is read off its own ``config.json``.
"""

import abc
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from capsynth.decoding import UNUSED, filled_up, load_model, require_safetensors
from capsynth.devices import device
from capsynth.digests import require_as_taken
from capsynth.errors import CapsynthError
from capsynth.files import read_json
from capsynth.names import check_name
from capsynth.random_networks import RandomWeights, build_random_network
from capsynth.weights import loading_checked

Features = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ExtractorSettings:
    """A feature space: what images are turned into.

    Attributes:
        model: Folder of the model; None for a network of random weights.
        revision: Revision of a model from the hub.
        family: Name in ``FAMILIES``, None to read it off the model.
        dtype: ``float32``, ``bfloat16`` or ``float16``.
        batch_size: Images a forward pass.
        prompt_agreement: Whether images that were drawn from a prompt are compared with it.
        random_weights: The network of random weights that stands in the place of a model.
    """

    model: str | None
    revision: str | None
    family: str | None
    dtype: str
    batch_size: int
    prompt_agreement: bool
    random_weights: RandomWeights | None

    @property
    def name(self) -> str:
        """What messages call the model."""
        if self.random_weights is None:
            return str(self.model)
        return f"{self.random_weights.architecture} of random weights"

    @property
    def folder(self) -> str:
        """Folder of the model.

        Raises:
            CapsynthError: If there is none.
        """
        if self.model is None:
            raise CapsynthError(
                "a feature extractor names neither a model nor random_weights; give one of them"
            )
        return self.model


class Extractor(abc.ABC):
    """An image model; subclasses say what is special about a family.

    Attributes:
        model_types: Values of ``model_type`` in ``config.json`` that belong to the family.
        model_class: Name of the class of transformers that loads the model.
        unused: Pattern of the names of weights that no feature depends on: they may be missing.
        reads_text: Whether the family has features of texts, comparable with those of images.
    """

    model_types: ClassVar[Collection[str]] = ()
    model_class: ClassVar[str] = "AutoModel"
    unused: ClassVar[str] = UNUSED
    reads_text: ClassVar[bool] = False

    def __init__(self, settings: ExtractorSettings) -> None:
        self.settings = settings
        if settings.prompt_agreement and not self.reads_text:
            readers = [name for name, family in FAMILIES.items() if family.reads_text]
            raise CapsynthError(
                f"prompt_agreement: {settings.name} has no features of texts; remove it, or use a "
                f"model of {', '.join(readers)}"
            )
        self.load()

    def load(self) -> None:
        """Set ``model``, and ``processor``, which prepares images."""
        import transformers

        settings = self.settings
        kind = getattr(transformers, self.model_class)
        self.model = load_model(
            kind, settings.folder, settings.revision, settings.dtype, self.unused
        )
        self.processor = transformers.AutoImageProcessor.from_pretrained(settings.folder)

    @property
    def dimensions(self) -> int:
        """Width of a feature."""
        return int(self.model.config.hidden_size)

    def pixels(self, images: Sequence[Image.Image]) -> Any:
        """Return what the model takes for RGB images, a tensor (n, 3, height, width)."""
        return self.processor(images=list(images), return_tensors="pt").pixel_values

    @abc.abstractmethod
    def forward(self, pixels: Any) -> Any:
        """Return the features, a tensor (n, dimensions)."""

    def features(self, images: Sequence[Image.Image]) -> Features:
        """Return the features of at most ``batch_size`` images.

        A short batch is filled up with its last image: every batch has the same shape, so an
        image's feature does not depend on how many others are left.
        """
        import torch

        pixels = self.pixels(filled_up(images, self.settings.batch_size))
        with torch.inference_mode():
            made = self.forward(self.placed(pixels))
        return made[: len(images)].float().cpu().numpy()

    def placed(self, pixels: Any) -> Any:
        """Return a tensor on the model's device and in its number format."""
        weight = next(self.model.parameters())
        return pixels.to(weight.device, weight.dtype)

    def text_features(self, texts: Sequence[str]) -> Features:
        """Return features of at most ``batch_size`` texts, a row each.

        Raises:
            CapsynthError: If the family has none, see ``reads_text``.
        """
        raise CapsynthError(f"{self.settings.name} has no features of texts")


class Dinov2(Extractor):
    """DINOv2, with or without registers; the class token after the last norm.

    It is the feature of ``dgm-eval`` (Stein et al., NeurIPS 2023, arXiv 2306.04675), which resizes
    an image to 224 pixels; the processor of the published models cuts 224 out of 256.
    """

    model_types = ("dinov2", "dinov2_with_registers")

    def forward(self, pixels: Any) -> Any:
        """Return the class token."""
        return self.model(pixel_values=pixels).pooler_output


class Clip(Extractor):
    """CLIP; the projection of an image into the space that it shares with texts."""

    model_types = ("clip",)
    model_class = "CLIPModel"
    unused = rf"{UNUSED}|^logit_scale$"
    reads_text = True

    def load(self) -> None:
        """Load the tokenizer too."""
        import transformers

        super().load()
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(self.settings.folder)

    @property
    def dimensions(self) -> int:
        """Width of the shared space."""
        return int(self.model.config.projection_dim)

    def forward(self, pixels: Any) -> Any:
        """Return the projected images."""
        return self.model.get_image_features(pixel_values=pixels).pooler_output

    def text_features(self, texts: Sequence[str]) -> Features:
        """Return the projected texts; what is longer than the model reads is cut off."""
        import torch

        tokens = self.tokenizer(
            filled_up(texts, self.settings.batch_size),
            padding="max_length",
            truncation=True,
            max_length=self.model.config.text_config.max_position_embeddings,
            return_tensors="pt",
        ).to(self.model.device)
        with torch.inference_mode():
            made = self.model.get_text_features(
                input_ids=tokens.input_ids, attention_mask=tokens.attention_mask
            ).pooler_output
        return made[: len(texts)].float().cpu().numpy()


class CaptionerEncoder(Extractor):
    """The image encoder of a captioner, such as the embedded one.

    The mean of its last layer over all tokens: a decoder that describes the image looks at every
    token, and none of them was trained to stand for the whole.
    """

    model_types = ("vision-encoder-decoder",)
    model_class = "VisionEncoderDecoderModel"
    unused = rf"{UNUSED}|^(decoder|enc_to_dec_proj)\."

    @property
    def dimensions(self) -> int:
        """Width of the encoder."""
        return int(self.model.encoder.config.hidden_size)

    def forward(self, pixels: Any) -> Any:
        """Return the mean over tokens."""
        return self.model.encoder(pixel_values=pixels).last_hidden_state.mean(dim=1)


class Timm(Extractor):
    """Any model of timm, such as Inception; what its last layer, left out, would be given."""

    def load(self) -> None:
        """Load model and transform from a folder in timm's own format."""
        import timm
        import torch

        folder = self.settings.folder
        require_safetensors(folder)
        with loading_checked(folder, Path(folder)):
            model = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0)
        require_as_taken()
        self.model = model.to(device(), getattr(torch, self.settings.dtype)).eval()
        config = timm.data.resolve_model_data_config(model)
        self.transform = timm.data.create_transform(**config, is_training=False)

    @property
    def dimensions(self) -> int:
        """Width before the last layer."""
        return int(self.model.num_features)

    def pixels(self, images: Sequence[Image.Image]) -> Any:
        """Return the images as the model's evaluation prepares them."""
        import torch

        return torch.stack([self.transform(image) for image in images])

    def forward(self, pixels: Any) -> Any:
        """Return the pooled features."""
        return self.model(pixels)


class Random(Extractor):
    """A convolutional network of random weights; the mean of its last feature map, projected.

    Nothing that made the images had a part in it: see ``random_networks``. The largest square in
    the middle of an image is resized; channels lie between -1 and 1.
    """

    def load(self) -> None:
        """Draw the network."""
        import torch

        settings = self.settings
        if settings.random_weights is None:
            raise CapsynthError(
                f"family random: {settings.model} is a model; give random_weights in its place"
            )
        self.weights = settings.random_weights
        dtype = getattr(torch, settings.dtype)
        network, projection = build_random_network(self.weights)
        self.model = network.to(device(), dtype)
        self.projection = projection.to(device(), dtype)

    @property
    def dimensions(self) -> int:
        """Width of the projection."""
        return self.weights.dimensions

    def pixels(self, images: Sequence[Image.Image]) -> Any:
        """Return the squares in the middle of the images, resized."""
        import torch

        side = self.weights.image_size
        squares = [ImageOps.fit(one, (side, side), Image.Resampling.BICUBIC) for one in images]
        values = torch.from_numpy(np.stack([np.asarray(square) for square in squares]))
        return values.permute(0, 3, 1, 2).float() / 127.5 - 1

    def forward(self, pixels: Any) -> Any:
        """Return the projected means of the last feature map."""
        return self.model(pixels)[-1].mean(dim=(2, 3)) @ self.projection.T


FAMILIES: dict[str, type[Extractor]] = {
    "dinov2": Dinov2,
    "clip": Clip,
    "encoder-decoder": CaptionerEncoder,
    # What has a config.json of timm: an architecture, and no model_type.
    "timm": Timm,
    "random": Random,
}


def find_family(model: str, family: str | None) -> type[Extractor]:
    """Return the family that a model belongs to, or the one that is named.

    Raises:
        CapsynthError: If the name is not known, the model has no ``config.json``, or it belongs to
            no family.
    """
    if family is not None:
        return FAMILIES[check_name("family of feature extractors", family, FAMILIES)]
    path = Path(model) / "config.json"
    if not path.is_file():
        raise CapsynthError(
            f"model {model} has no config.json; give a folder that save_pretrained of transformers "
            "or save_for_hf of timm has written, or the id of such a model on the hub"
        )
    config = read_json(path)
    model_type = config.get("model_type")
    if model_type is None and "architecture" in config:
        return Timm
    for known in FAMILIES.values():
        if model_type in known.model_types:
            return known
    raise CapsynthError(
        f"model {model} is a {model_type!r} (model_type of its config.json), which belongs to no "
        f"family of feature extractors; known: {', '.join(FAMILIES)}; use another model, name one "
        "of them under `family`, or add one to FAMILIES in workflow/scripts/capsynth/extractors.py"
    )


def load_extractor(settings: ExtractorSettings) -> Extractor:
    """Load the model that ``settings`` name.

    Raises:
        CapsynthError: If its family is not known, or is asked for features of texts and has none.
    """
    if settings.random_weights is not None:
        return Random(settings)
    return find_family(settings.folder, settings.family)(settings)
