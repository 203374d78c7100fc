"""The embedded captioner: a ViT encoder and a GPT-2 decoder, as VisionEncoderDecoderModel."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Tokenizer,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTImageProcessor,
    ViTModel,
)

from capsynth.datasets.openmoji.splits import IMAGE_SIDE
from capsynth.pretraining.autoencoder import to_tensor
from capsynth.pretraining.loop import Schedule, batch_indices, train
from capsynth.pretraining.vocabulary import PROMPT_TOKENS
from capsynth.pretraining.web import Web

WIDTH = 128
# Largest shift of a training image, pixels: the poses of the web, a little further apart.
SHIFT = 3


@dataclass(frozen=True)
class CaptionerResult:
    """A trained captioner and its loss curve."""

    model: VisionEncoderDecoderModel
    history: list[dict[str, float]]


def build_captioner(tokenizer: GPT2Tokenizer) -> VisionEncoderDecoderModel:
    """Return the untrained captioner."""
    encoder = ViTModel(
        ViTConfig(
            image_size=IMAGE_SIDE,
            patch_size=8,
            hidden_size=WIDTH,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=4 * WIDTH,
        ),
        add_pooling_layer=False,
    )
    decoder = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=len(tokenizer),
            n_positions=PROMPT_TOKENS,
            n_embd=WIDTH,
            n_layer=2,
            n_head=4,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
            is_decoder=True,
            add_cross_attention=True,
        )
    )
    model = VisionEncoderDecoderModel(encoder=encoder, decoder=decoder)
    model.config.decoder_start_token_id = tokenizer.bos_token_id
    model.config.pad_token_id = tokenizer.pad_token_id
    model.config.eos_token_id = tokenizer.eos_token_id
    model.generation_config = GenerationConfig(
        decoder_start_token_id=tokenizer.bos_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        max_new_tokens=PROMPT_TOKENS - 1,
    )
    return model


def build_image_processor() -> ViTImageProcessor:
    """Return the processor that maps 48 x 48 RGB to [-1, 1]."""
    half = [0.5, 0.5, 0.5]
    return ViTImageProcessor(
        size={"height": IMAGE_SIDE, "width": IMAGE_SIDE}, image_mean=half, image_std=half
    )


def caption_labels(tokenizer: GPT2Tokenizer, captions: list[str]) -> Tensor:
    """Return labels (n, length): the tokens, one end token, then -100, which no loss counts."""
    rows = [[*tokenizer(text).input_ids, tokenizer.eos_token_id] for text in captions]
    labels = torch.full((len(rows), max(map(len, rows))), -100)
    for label, row in zip(labels, rows, strict=True):
        label[: len(row)] = torch.tensor(row)
    return labels


def train_captioner(
    web: Web, tokenizer: GPT2Tokenizer, schedule: Schedule, checkpoint: Path
) -> CaptionerResult:
    """Train on the web's images and their full captions."""
    torch.manual_seed(schedule.seed)
    model = build_captioner(tokenizer)
    labels = caption_labels(tokenizer, [scene.full_caption for scene in web.scenes])
    n = len(web.scenes)

    def loss_of_step(step: int, generator: torch.Generator) -> Tensor:
        index = batch_indices(n, schedule.batch_size, step, schedule.seed)
        x = to_tensor(torch.from_numpy(web.images[index]))
        x = torch.nn.functional.pad(x, (SHIFT,) * 4, mode="replicate")
        dy, dx = torch.randint(0, 2 * SHIFT + 1, (2,), generator=generator).tolist()
        x = x[:, :, dy : dy + IMAGE_SIDE, dx : dx + IMAGE_SIDE]
        # Dropout draws from the global generator: seeded here, a resumed training is the same.
        torch.manual_seed(int(torch.randint(0, 2**62, (1,), generator=generator)))
        return model(pixel_values=x, labels=labels[torch.from_numpy(index)]).loss

    average, history = train(model, schedule, loss_of_step, checkpoint, weight_decay=0.05)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in average.items():
            parameters[name].copy_(value)
    return CaptionerResult(model.eval(), history)
