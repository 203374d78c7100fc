"""The embedded generator's image autoencoder: 48 x 48 RGB to 12 x 12 x 4 and back."""

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional as F

from capsynth.pretraining.loop import Schedule, batch_indices, train
from capsynth.pretraining.web import Web

# Weight of the Kullback-Leibler term: just enough to keep the latents near the origin.
KL_WEIGHT = 1e-6
# Weight of the error of four-fold reduced images, which teaches colour before detail.
COLOUR_WEIGHT = 2.0
# Noise on the latents while the decoder is refined, as a share of their standard deviation.
LATENT_NOISE = 0.05


@dataclass(frozen=True)
class AutoencoderResult:
    """A trained autoencoder and its loss curve."""

    model: AutoencoderKL
    history: list[dict[str, float]]


def build_autoencoder() -> AutoencoderKL:
    """Return the untrained autoencoder: four-fold reduction, four latent channels."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        sample_size=48,
        block_out_channels=(16, 32, 64),
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=8,
        mid_block_add_attention=False,
        scaling_factor=1.0,
    )


def to_tensor(images: Tensor) -> Tensor:
    """Map uint8 images (n, side, side, 3) to float (n, 3, side, side) in [-1, 1]."""
    return images.permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0)


def image_error(y: Tensor, x: Tensor) -> Tensor:
    """Return the absolute error of pixels, of image gradients and of colours."""
    gradient = (y.diff(dim=2) - x.diff(dim=2)).abs().mean() + (
        y.diff(dim=3) - x.diff(dim=3)
    ).abs().mean()
    colour = F.l1_loss(F.avg_pool2d(y, 4), F.avg_pool2d(x, 4))
    return F.l1_loss(y, x) + gradient + COLOUR_WEIGHT * colour


def train_autoencoder(web: Web, schedule: Schedule, checkpoint: Path) -> AutoencoderResult:
    """Train on the web's images: absolute error of pixels, gradients and colours, a little KL."""
    torch.manual_seed(schedule.seed)
    model = build_autoencoder()
    n = len(web.scenes)

    def loss_of_step(step: int, generator: torch.Generator) -> Tensor:
        index = batch_indices(n, schedule.batch_size, step, schedule.seed)
        x = to_tensor(torch.from_numpy(web.images[index])).contiguous()
        posterior = model.encode(x).latent_dist
        y = model.decode(posterior.sample(generator=generator)).sample
        return image_error(y, x) + KL_WEIGHT * posterior.kl().mean()

    average, history = train(model, schedule, loss_of_step, checkpoint)
    model.load_state_dict(average)
    return AutoencoderResult(model.eval(), history)


@torch.inference_mode()
def encode_images(model: AutoencoderKL, web: Web, batch_size: int = 250) -> Tensor:
    """Return the latent means of all images, shape (n, 4, 12, 12), unscaled."""
    chunks = []
    for start in range(0, len(web.scenes), batch_size):
        x = to_tensor(torch.from_numpy(web.images[start : start + batch_size]))
        chunks.append(model.encode(x).latent_dist.mean)
    return torch.cat(chunks)


def refine_decoder(
    web: Web, model: AutoencoderKL, schedule: Schedule, checkpoint: Path
) -> AutoencoderResult:
    """Train the decoder further while the encoder, and so the latents, stay as they are.

    The denoiser learns from the latents; the decoder can go on meanwhile. A little noise on the
    latents makes it forgive the denoiser's errors.
    """
    model.requires_grad_(False)
    decoder = torch.nn.ModuleDict(
        {"post_quant_conv": model.post_quant_conv, "decoder": model.decoder}
    ).requires_grad_(True)
    latents = encode_images(model, web)
    spread = latents.std()
    n = len(web.scenes)

    def loss_of_step(step: int, generator: torch.Generator) -> Tensor:
        index = batch_indices(n, schedule.batch_size, step, schedule.seed)
        x = to_tensor(torch.from_numpy(web.images[index])).contiguous()
        z = latents[torch.from_numpy(index)]
        z = z + LATENT_NOISE * spread * torch.randn(z.shape, generator=generator)
        return image_error(model.decode(z).sample, x)

    average, history = train(decoder, schedule, loss_of_step, checkpoint)
    decoder.load_state_dict(average)
    return AutoencoderResult(model.eval(), history)
