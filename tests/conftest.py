"""Fixtures that several tests share: small folders of scenes and tiny models."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from dry_runs import DryRuns
from hypothesis import settings

from capsynth.datasets.openmoji.splits import draw_web_scene
from capsynth.packing import pack_class_shard
from capsynth.shards import shard_name
from capsynth.source_images import ImageFormat

# A shell that starts the tests in the background has them ignore SIGINT, and so what they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The machine that runs the tests may be busy: no test is judged by the time it takes.
settings.register_profile("capsynth", deadline=None)
settings.load_profile("capsynth")

KEEP = ImageFormat(side=None, extension="png")


FOLDER = Path(__file__).parent
# Folders whose tests take longest, in the order in which they are begun.
LONG = ("slurm", "workflow")

Draw = Callable[..., Path]
Pack = Callable[..., tuple[Path, Path]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest tests: where several processes run them, none is left with those."""

    def place(item: pytest.Item) -> int:
        folder = item.path.relative_to(FOLDER).parts[0]
        return LONG.index(folder) if folder in LONG else len(LONG)

    items.sort(key=place)


def _draw_folder(folder: Path, n: int, start: int = 0) -> Path:
    """Fill ``folder`` with ``n`` pictures of 48 x 48 pixels."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(start, start + n):
        draw_web_scene(5, index)[0].save(folder / f"{folder.name}_{index:06d}.png")
    return folder


def _pack_folder(folder: Path, out: Path, class_index: int = 0) -> tuple[Path, Path]:
    """Pack a class folder into one shard; return tar and manifest."""
    name = shard_name(folder.name, 0)
    tar, manifest = out / f"{name}.tar", out / f"{name}.jsonl"
    index = out / f".{name}.sources.json"
    pack_class_shard(folder, folder.name, class_index, 0, 1, KEEP, "t", tar, manifest, index)
    return tar, manifest


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the repository."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def draw_folder() -> Draw:
    """``draw_folder(folder, n, start=0)`` fills a class folder with pictures."""
    return _draw_folder


@pytest.fixture(scope="session")
def pack_folder() -> Pack:
    """``pack_folder(folder, out, class_index=0)`` packs a class folder: tar and manifest."""
    return _pack_folder


@pytest.fixture(scope="session")
def dry_runs() -> Iterator[DryRuns]:
    """Dry runs without the time that the imports of Snakemake take."""
    with DryRuns() as dry_runs:
        yield dry_runs


@pytest.fixture(scope="session")
def tiny_captioner(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an encoder-decoder captioner of random weights."""
    import torch

    from capsynth.pretraining.captioner import build_captioner, build_image_processor
    from capsynth.pretraining.vocabulary import build_caption_tokenizer

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("captioner")
    tokenizer = build_caption_tokenizer()
    build_captioner(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    build_image_processor().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_generator(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a Stable Diffusion pipeline of random weights that draws 16 x 16 pixels."""
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from capsynth.pretraining.denoiser import Parts, build_pipeline
    from capsynth.pretraining.vocabulary import PROMPT_TOKENS, build_prompt_tokenizer

    torch.manual_seed(0)
    tokenizer = build_prompt_tokenizer()
    text_encoder = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            intermediate_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            max_position_embeddings=PROMPT_TOKENS,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    unet = UNet2DConditionModel(
        sample_size=4,
        block_out_channels=(8, 16),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=2,
        norm_num_groups=4,
    )
    vae = AutoencoderKL(
        latent_channels=4,
        sample_size=16,
        block_out_channels=(8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=4,
    )
    folder = tmp_path_factory.mktemp("generator")
    build_pipeline(vae, Parts(unet, text_encoder), tokenizer).save_pretrained(folder)
    return folder
