"""The embedded generator's denoiser: a text-conditional UNet and its CLIP text encoder."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from capsynth.pretraining.loop import Schedule, batch_indices, train
from capsynth.pretraining.vocabulary import PROMPT_TOKENS

TEXT_WIDTH = 128
UNET_CHANNELS = (32, 112)
UNET_HEADS = 4
# Share of captions replaced by the empty prompt, for classifier-free guidance
# (Ho and Salimans, arXiv 2207.12598, find 0.1 to 0.2 best).
CAPTION_DROPOUT = 0.1
# Clamp of the signal-to-noise weight (Hang et al., arXiv 2303.09556, equation 7, gamma = 5).
MIN_SNR_GAMMA = 5.0
NOISE_SCHEDULE = {
    "num_train_timesteps": 1000,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "prediction_type": "v_prediction",
}


class TextConditionalDenoiser(nn.Module):
    """Text encoder and UNet, trained together."""

    def __init__(self, tokenizer: CLIPTokenizer) -> None:
        super().__init__()
        self.text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=TEXT_WIDTH,
                intermediate_size=4 * TEXT_WIDTH,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=PROMPT_TOKENS,
                projection_dim=TEXT_WIDTH,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        # The 12 x 12 level only joins and splits 2 x 2 patches; the work is done on 6 x 6
        # positions, where wide channels and attention are cheap on a CPU.
        self.unet = UNet2DConditionModel(
            sample_size=12,
            in_channels=4,
            out_channels=4,
            block_out_channels=UNET_CHANNELS,
            layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            mid_block_type="UNetMidBlock2DCrossAttn",
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=TEXT_WIDTH,
            attention_head_dim=UNET_HEADS,
            norm_num_groups=16,
        )
        nn.init.zeros_(self.unet.conv_out.weight)
        nn.init.zeros_(self.unet.conv_out.bias)

    def forward(self, noisy: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        """Predict v for latents (n, 4, 12, 12), timesteps (n,) and tokens (n, PROMPT_TOKENS)."""
        text = self.text_encoder(tokens).last_hidden_state
        return self.unet(noisy, timesteps, text).sample


@dataclass(frozen=True)
class DenoiserResult:
    """A trained denoiser and its loss curve."""

    model: TextConditionalDenoiser
    history: list[dict[str, float]]


def tokenize(tokenizer: CLIPTokenizer, prompts: list[str]) -> Tensor:
    """Return tokens of shape (n, PROMPT_TOKENS), padded as the pipeline pads."""
    return tokenizer(
        prompts,
        padding="max_length",
        max_length=PROMPT_TOKENS,
        truncation=True,
        return_tensors="pt",
    ).input_ids


def train_denoiser(
    latents: Tensor,
    captions: list[str],
    tokenizer: CLIPTokenizer,
    schedule: Schedule,
    checkpoint: Path,
) -> DenoiserResult:
    """Train on latents of unit variance and their captions, with v-prediction.

    Args:
        latents: Shape (n, 4, 12, 12).
        captions: n captions.
        tokenizer: The generator's tokenizer.
        schedule: Steps, batch size, learning rate, seed.
        checkpoint: File of the training state.
    """
    torch.manual_seed(schedule.seed)
    model = TextConditionalDenoiser(tokenizer)
    noise_schedule = DDPMScheduler(**NOISE_SCHEDULE)
    signal = noise_schedule.alphas_cumprod
    snr = signal / (1 - signal)
    weights = snr.clamp(max=MIN_SNR_GAMMA) / (snr + 1)
    tokens = tokenize(tokenizer, captions)
    empty = tokenize(tokenizer, [""])[0]

    def loss_of_step(step: int, generator: torch.Generator) -> Tensor:
        index = torch.from_numpy(
            batch_indices(len(captions), schedule.batch_size, step, schedule.seed)
        )
        clean = latents[index]
        text = tokens[index]
        n = len(index)
        dropped = torch.rand(n, generator=generator) < CAPTION_DROPOUT
        text = torch.where(dropped[:, None], empty, text)
        noise = torch.randn(clean.shape, generator=generator)
        # One timestep in each n-th of the range: less variance at no cost.
        position = (torch.arange(n) + torch.rand(n, generator=generator)) / n
        timesteps = (position * len(signal)).long()
        noisy = noise_schedule.add_noise(clean, noise, timesteps)
        target = noise_schedule.get_velocity(clean, noise, timesteps)
        predicted = model(noisy, timesteps, text)
        error = (predicted - target).square().mean(dim=(1, 2, 3))
        return (weights[timesteps] * error).sum() / weights[timesteps].sum()

    average, history = train(model, schedule, loss_of_step, checkpoint)
    load_average(model, average)
    return DenoiserResult(model.eval(), history)


def load_average(model: nn.Module, average: dict[str, Tensor]) -> None:
    """Replace the model's parameters by their moving average."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in average.items():
            parameters[name].copy_(value)


@dataclass(frozen=True)
class Parts:
    """The parts of a trained denoiser."""

    unet: UNet2DConditionModel
    text_encoder: CLIPTextModel


def build_pipeline(
    autoencoder: AutoencoderKL, denoiser: TextConditionalDenoiser | Parts, tokenizer: CLIPTokenizer
) -> StableDiffusionPipeline:
    """Return the generator as diffusers knows it, with a fast sampler as its scheduler."""
    scheduler = DPMSolverMultistepScheduler(
        **NOISE_SCHEDULE,
        algorithm_type="dpmsolver++",
        solver_order=2,
        timestep_spacing="trailing",
        steps_offset=1,
    )
    return StableDiffusionPipeline(
        vae=autoencoder,
        text_encoder=denoiser.text_encoder,
        tokenizer=tokenizer,
        unet=denoiser.unet,
        scheduler=scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def unit_variance(latents: Tensor) -> tuple[Tensor, float]:
    """Scale latents to unit variance; return them and the factor (``scaling_factor``)."""
    factor = float(1 / np.sqrt(latents.double().square().mean().item()))
    return latents * factor, factor
