"""Models that draw nothing that can be used: stopped at the first batch, counted otherwise."""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from settings import generator_settings

import generate_images
from capsynth.errors import CapsynthError
from capsynth.files import dump_json
from capsynth.generation import attempt_seed
from capsynth.generators import DiffusersGenerator
from capsynth.shards import read_manifest

N = 6


def generate(model: Path, out: Path, max_rejected: float = 0.5, **changes: object) -> Path:
    """Draw ``N`` images in batches of two; return the manifest."""
    out.mkdir(exist_ok=True)
    rows = [
        {"key": f"bat_{i}", "class_id": "bat", "class_index": 0, "index": i, "prompt": f"a bat {i}",
         "seed": 1000 + i, "source_key": None, "status": "ok", "fingerprint": "p"}
        for i in range(N)
    ]  # fmt: skip
    (out / "prompts.jsonl").write_text("".join(dump_json(row) + "\n" for row in rows))
    settings = generator_settings(model, safety_retries=2, **changes)
    flags = {
        "settings": dump_json(settings), "model-mark": "m", "threads": "1", "extension": "png",
        "prompts": out / "prompts.jsonl", "tar": out / "bat-0.tar", "manifest": out / "bat-0.jsonl",
        "max-rejected": max_rejected,
    }  # fmt: skip
    generate_images.main([str(w) for name, value in flags.items() for w in (f"--{name}", value)])
    return out / "bat-0.jsonl"


@pytest.fixture
def blank(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[int]]:
    """``blank(*indices)`` has images come out black at every try; the list counts those drawn."""
    draw, drawn = DiffusersGenerator.draw, list[int]()

    def begin(*indices: int) -> list[int]:
        seeds_of = {attempt_seed(1000 + i, attempt) for i in indices for attempt in range(10)}

        def some(self: DiffusersGenerator, prompts: Sequence[str], seeds: Sequence[int]) -> list:
            drawn.extend(seeds)
            images = draw(self, prompts, seeds)
            pairs = zip(images, seeds, strict=True)
            return [Image.new("RGB", i.size) if seed in seeds_of else i for i, seed in pairs]

        monkeypatch.setattr(DiffusersGenerator, "draw", some)
        return drawn

    return begin


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -1e9])
def test_a_model_that_draws_only_blank_images_is_stopped_at_the_first_batch(
    value: float, tiny_generator: Path, tmp_path: Path, blank: Callable[..., list[int]]
) -> None:
    model = Path(shutil.copytree(tiny_generator, tmp_path / "m"))
    (file,) = (model / "vae").glob("*.safetensors")
    tensors = load_file(file)
    tensors["decoder.conv_out.bias"][:] = value
    save_file(tensors, file, {"format": "pt"})
    drawn = blank()
    with pytest.raises(CapsynthError, match=r"bat-0: all 2 images of a batch are blank.*weights"):
        generate(model, tmp_path / "out", max_rejected=1.0)
    assert len(drawn) == 2 * 3  # one batch, each image once and twice again
    assert not (tmp_path / "out" / "bat-0.tar").exists()


def test_half_precision_is_named_where_it_may_be_the_reason(
    tiny_generator: Path, tmp_path: Path, blank: Callable[..., list[int]]
) -> None:
    blank(*range(N))
    with pytest.raises(CapsynthError, match=r"In bfloat16 .*overflow.*set dtype: bfloat16 or floa"):
        generate(tiny_generator, tmp_path, dtype="bfloat16")


def test_what_is_set_aside_is_counted_against_a_bound(
    tiny_generator: Path, tmp_path: Path, blank: Callable[..., list[int]]
) -> None:
    blank(0, 2, 5)
    manifest = generate(tiny_generator, tmp_path / "half", max_rejected=0.5)
    assert [record.status for record in read_manifest(manifest)].count("rejected") == 3
    with pytest.raises(
        CapsynthError,
        match=r"bat-0: 3 of the 6 images drawn so far cannot be used, and max_rejected of the "
        r"generator allows 2 of 6: 3 x none of 3 drawn is usable: 3 blank",
    ):
        generate(tiny_generator, tmp_path / "less", max_rejected=0.49)


def test_a_later_batch_that_is_blank_as_a_whole_stops_a_shard_that_began_well(
    tiny_generator: Path, tmp_path: Path, blank: Callable[..., list[int]]
) -> None:
    blank(2, 3)
    with pytest.raises(CapsynthError, match=r"all 2 images of a batch .* 2 of 4 images can be"):
        generate(tiny_generator, tmp_path, max_rejected=1.0)


def test_one_unlucky_image_in_a_batch_of_its_own_is_set_aside(
    tiny_generator: Path, tmp_path: Path, blank: Callable[..., list[int]]
) -> None:
    blank(2)
    manifest = generate(tiny_generator, tmp_path, batch_size=1)
    assert [record.status for record in read_manifest(manifest)].count("rejected") == 1


def test_a_restart_counts_what_an_earlier_start_has_set_aside(
    tiny_generator: Path, tmp_path: Path, blank: Callable[..., list[int]]
) -> None:
    drawn = blank(0, 2, 5)
    with pytest.raises(CapsynthError, match=r"allows 2 of 6"):
        generate(tiny_generator, tmp_path, max_rejected=0.4)
    before = len(drawn)
    with pytest.raises(CapsynthError, match=r"allows 1 of 6"):
        generate(tiny_generator, tmp_path, max_rejected=0.2)
    assert len(drawn) == before  # it is over the bound as it begins
