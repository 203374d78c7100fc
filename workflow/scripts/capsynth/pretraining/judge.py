"""A judge of scenes: which subtype and which background an image shows.

The judge learns from the web's images, never from drawn ones, and is made anew where it is needed:
it is a measuring device, not a part of the experiment.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from capsynth.datasets.openmoji.splits import IMAGE_SIDE
from capsynth.datasets.openmoji.world import ALL_SUBTYPES, BACKGROUNDS
from capsynth.pretraining.autoencoder import to_tensor
from capsynth.pretraining.loop import Schedule, batch_indices, train
from capsynth.pretraining.web import Web

SUBTYPE_IDS = tuple(subtype.subtype_id for subtype in ALL_SUBTYPES)
SHIFT = 3


@dataclass(frozen=True)
class Verdicts:
    """What the judge sees in n images.

    Attributes:
        subtypes: Positions in ``SUBTYPE_IDS``, shape (n,).
        backgrounds: Positions in ``BACKGROUNDS``, shape (n,).
    """

    subtypes: npt.NDArray[np.int64]
    backgrounds: npt.NDArray[np.int64]


def build_judge() -> nn.Module:
    """Return the untrained judge: a small residual network with two heads side by side."""
    return timm.create_model("test_resnet", num_classes=len(SUBTYPE_IDS) + len(BACKGROUNDS))


def truth(web: Web) -> Verdicts:
    """Return what the web's images really show."""
    return Verdicts(
        np.array([SUBTYPE_IDS.index(scene.subtype_id) for scene in web.scenes]),
        np.array([BACKGROUNDS.index(scene.background) for scene in web.scenes]),
    )


def train_judge(web: Web, schedule: Schedule, checkpoint: Path) -> nn.Module:
    """Train the judge on the web's images, slightly shifted and blurred at random.

    Drawn images are a little softer than rendered ones; the blur keeps the judge from reading
    that as a difference.
    """
    torch.manual_seed(schedule.seed)
    model = build_judge()
    target = truth(web)
    subtypes = torch.from_numpy(target.subtypes)
    backgrounds = torch.from_numpy(target.backgrounds)
    n = len(web.scenes)

    def loss_of_step(step: int, generator: torch.Generator) -> Tensor:
        index = batch_indices(n, schedule.batch_size, step, schedule.seed)
        x = to_tensor(torch.from_numpy(web.images[index]))
        x = F.pad(x, (SHIFT,) * 4, mode="replicate")
        dy, dx = torch.randint(0, 2 * SHIFT + 1, (2,), generator=generator).tolist()
        x = x[:, :, dy : dy + IMAGE_SIDE, dx : dx + IMAGE_SIDE]
        share = 0.8 * torch.rand(len(x), 1, 1, 1, generator=generator)
        x = (1 - share) * x + share * F.avg_pool2d(x, 3, 1, 1, count_include_pad=False)
        logits = model(x)
        rows = torch.from_numpy(index)
        return F.cross_entropy(logits[:, : len(SUBTYPE_IDS)], subtypes[rows]) + F.cross_entropy(
            logits[:, len(SUBTYPE_IDS) :], backgrounds[rows]
        )

    train(model, schedule, loss_of_step, checkpoint, weight_decay=0.05)
    return model.eval()


@torch.inference_mode()
def judge(model: nn.Module, images: npt.NDArray[np.uint8], batch_size: int = 250) -> Verdicts:
    """Judge uint8 images of shape (n, 48, 48, 3)."""
    logits = torch.cat(
        [
            model(to_tensor(torch.from_numpy(images[start : start + batch_size])))
            for start in range(0, len(images), batch_size)
        ]
    )
    split = len(SUBTYPE_IDS)
    return Verdicts(
        logits[:, :split].argmax(dim=1).numpy(), logits[:, split:].argmax(dim=1).numpy()
    )
