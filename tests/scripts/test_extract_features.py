"""Features: every family, a tiny model of random weights, through the stage's command line."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import extract_features
from capsynth.errors import CapsynthError
from capsynth.extractors import FAMILIES, ExtractorSettings, find_family, load_extractor
from capsynth.features import Features, cosines, read_features
from capsynth.files import dump_json
from capsynth.schema import load_schema
from capsynth.shards import OK, REJECTED, Sample, ShardRecord, encode_image, write_shard

SIDE = 32
WORDS = "a photo of the cat dog bird boat red blue".split()
PROMPTS = ["a photo of the cat", None, "a photo of the dog", "a red bird", "the blue boat"]
LAYERS = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


def build_dinov2(folder: Path) -> None:
    from transformers import BitImageProcessor, Dinov2Config, Dinov2Model

    Dinov2Model(Dinov2Config(image_size=SIDE, patch_size=8, **LAYERS)).save_pretrained(folder)
    save_processor(BitImageProcessor, folder)


def build_dinov2_with_registers(folder: Path) -> None:
    from transformers import (
        BitImageProcessor,
        Dinov2WithRegistersConfig,
        Dinov2WithRegistersModel,
    )

    config = Dinov2WithRegistersConfig(image_size=SIDE, patch_size=8, **LAYERS)
    Dinov2WithRegistersModel(config).save_pretrained(folder)
    save_processor(BitImageProcessor, folder)


def build_clip(folder: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import (
        CLIPConfig,
        CLIPImageProcessor,
        CLIPModel,
        PreTrainedTokenizerFast,
    )

    vocabulary = {word: i for i, word in enumerate(["<pad>", "<start>", *WORDS, "<end>"])}
    inner = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    ends = [(token, vocabulary[token]) for token in ("<start>", "<end>")]
    inner.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=ends
    )
    PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<start>", eos_token="<end>"
    ).save_pretrained(folder)
    sizes = {**LAYERS, "intermediate_size": 32}
    text = {**sizes, "vocab_size": len(vocabulary), "max_position_embeddings": 12}
    config = CLIPConfig(
        text_config={**text, "eos_token_id": vocabulary["<end>"], "bos_token_id": 1},
        vision_config={**sizes, "image_size": SIDE, "patch_size": 8},
        projection_dim=12,
    )
    CLIPModel(config).save_pretrained(folder)
    save_processor(CLIPImageProcessor, folder)


def save_processor(kind: Any, folder: Path) -> None:
    kind(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE}).save_pretrained(
        folder
    )


def build_inception(folder: Path) -> None:
    import timm
    from timm.models import save_for_hf

    model = timm.create_model("inception_v3", num_classes=3)
    save_for_hf(model, folder, data_config={"input_size": (3, 96, 96)}, safe_serialization=True)


BUILDERS: Mapping[str, tuple[str, int, Callable[[Path], None]]] = {
    "dinov2": ("dinov2", 16, build_dinov2),
    "dinov2-registers": ("dinov2", 16, build_dinov2_with_registers),
    "clip": ("clip", 12, build_clip),
    "inception": ("timm", 2048, build_inception),
}
MODELS = [*BUILDERS, "captioner"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, tiny_captioner: Path) -> Callable[[str], Path]:
    """``model(name)`` is the folder of a tiny model of ``BUILDERS``, or the tiny captioner."""
    import torch

    built: dict[str, Path] = {"captioner": tiny_captioner}

    def build(name: str) -> Path:
        if name not in built:
            torch.manual_seed(0)
            built[name] = tmp_path_factory.mktemp(name)
            BUILDERS[name][2](built[name])
        return built[name]

    return build


@pytest.fixture(scope="module")
def shard(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Five synthetic images of different sizes, one of no prompt, and a rejected one."""
    root = tmp_path_factory.mktemp("drawn")
    noise = np.random.default_rng(0)
    samples = []
    for index, size in enumerate([(40, 40), (64, 32), (32, 48), (40, 40), (96, 64)]):
        small = noise.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        image = Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)
        record = ShardRecord(
            f"cat_{index}", "cat", 0, index, OK, "f", "png",
            source_key=f"real{index}" if index else None, prompt=PROMPTS[index],
        )  # fmt: skip
        samples.append(Sample(record, encode_image(image, "png")))
    samples.insert(2, Sample(ShardRecord("cat_9", "cat", 0, 9, REJECTED, "f", reason="b"), None))
    write_shard(root / "cat-0.tar", root / "cat-0.jsonl", samples)
    return root / "cat-0.tar", root / "cat-0.jsonl"


def settings_of(model: Path | None, **changes: Any) -> dict[str, Any]:
    values = {
        "model": str(model) if model else None,
        "revision": None,
        "family": None,
        "dtype": "float32",
    }
    return {
        **values, "batch_size": 2, "prompt_agreement": False, "random_weights": None, **changes
    }  # fmt: skip


def extract(model: Path | None, shard: tuple[Path, Path], output: Path, **changes: Any) -> Features:
    flags = {
        "settings": dump_json(settings_of(model, **changes)),
        "model-mark": model.name if model else "none",
        "threads": 1,
        "tar": shard[0],
        "manifest": shard[1],
        "output": output,
    }
    extract_features.main([f"--{name}={value}" for name, value in flags.items()])
    return read_features([output])


@pytest.mark.parametrize("name", MODELS)
def test_features_are_alike_in_batches_of_1_and_8(
    name: str, tmp_path: Path, model: Callable[[str], Path], shard: tuple[Path, Path]
) -> None:
    alone = extract(model(name), shard, tmp_path / "1.parquet", batch_size=1)
    together = extract(model(name), shard, tmp_path / "8.parquet", batch_size=8)
    assert alone.keys.tolist() == [f"cat_{index}" for index in range(5)]
    scale = np.abs(alone.values).max()
    np.testing.assert_allclose(alone.values, together.values, rtol=1e-4, atol=1e-5 * scale)
    # They are about the images.
    spread = np.linalg.norm(alone.values - alone.values.mean(axis=0), axis=1)
    assert (spread > 1e-3 * np.linalg.norm(alone.values, axis=1)).all()


@pytest.mark.parametrize("name", MODELS)
def test_equal_images_give_equal_bytes(
    name: str, tmp_path: Path, model: Callable[[str], Path], shard: tuple[Path, Path]
) -> None:
    for number in (1, 2):
        extract(model(name), shard, tmp_path / f"{number}.parquet")
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()


@pytest.mark.parametrize("name", BUILDERS)
def test_a_family_is_known_by_its_own_config(
    name: str, tmp_path: Path, model: Callable[[str], Path], shard: tuple[Path, Path]
) -> None:
    family, dimensions, _ = BUILDERS[name]
    assert find_family(str(model(name)), None) is FAMILIES[family]
    made = extract(model(name), shard, tmp_path / "f.parquet", batch_size=8)
    assert made.values.shape == (5, dimensions)


RANDOM = {"architecture": "vgg11", "dimensions": 24, "image_size": 32, "seed": 0}


def test_a_network_of_random_weights_needs_no_model(
    tmp_path: Path, shard: tuple[Path, Path]
) -> None:
    import torch

    for number in (1, 2):
        torch.manual_seed(number)
        path = tmp_path / f"{number}.parquet"
        made = extract(None, shard, path, random_weights=RANDOM)
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()
    assert made.values.shape == (5, 24)
    spread = np.linalg.norm(made.values - made.values.mean(axis=0), axis=1)
    assert (spread > 1e-2 * np.linalg.norm(made.values, axis=1)).all()
    other = {**RANDOM, "seed": 1}
    extract(None, shard, tmp_path / "3.parquet", random_weights=other)
    with pytest.raises(CapsynthError, match=r"3\.parquet: another feature space"):
        read_features([tmp_path / "1.parquet", tmp_path / "3.parquet"])


def test_dinov2_gives_its_class_token_as_the_library_does(
    tmp_path: Path, model: Callable[[str], Path], shard: tuple[Path, Path]
) -> None:
    import torch
    from transformers import AutoImageProcessor, AutoModel

    from capsynth.shards import ShardReader, read_manifest, usable

    folder = model("dinov2")
    made = extract(folder, shard, tmp_path / "f.parquet")
    processor, bare = AutoImageProcessor.from_pretrained(folder), AutoModel.from_pretrained(folder)
    with ShardReader(shard[0]) as reader:
        images = [reader.read_image(record) for record in usable(read_manifest(shard[1]))]
    with torch.inference_mode():
        tokens = bare(**processor(images=images, return_tensors="pt")).last_hidden_state
    np.testing.assert_allclose(made.values, tokens[:, 0].numpy(), rtol=1e-4, atol=1e-5)


def test_prompt_agreement_is_the_cosine_of_the_projected_image_and_prompt(
    tmp_path: Path, model: Callable[[str], Path], shard: tuple[Path, Path]
) -> None:
    import torch
    from transformers import AutoTokenizer, CLIPModel

    folder = model("clip")
    made = extract(folder, shard, tmp_path / "f.parquet", prompt_agreement=True)
    assert np.isnan(made.prompt_agreement).tolist() == [prompt is None for prompt in PROMPTS]
    bare, tokenizer = CLIPModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    for place, prompt in enumerate(PROMPTS):
        if prompt is not None:
            tokens = tokenizer(prompt, return_tensors="pt")
            with torch.inference_mode():
                text = bare.get_text_features(
                    input_ids=tokens.input_ids, attention_mask=tokens.attention_mask
                ).pooler_output
            image = torch.tensor(made.values[place : place + 1])
            expected = torch.nn.functional.cosine_similarity(image, text).item()
            assert made.prompt_agreement[place] == pytest.approx(expected, abs=1e-5)
    assert np.nanstd(made.prompt_agreement) > 1e-3
    without = extract(folder, shard, tmp_path / "g.parquet")
    assert np.isnan(without.prompt_agreement).all()
    np.testing.assert_array_equal(without.values, made.values)


def test_cosines_are_those_of_rows() -> None:
    a, b = np.float32([[1, 0], [3, 4], [2, 2]]), np.float32([[0, 5], [6, 8], [-1, -1]])
    np.testing.assert_allclose(cosines(a, b), [0, 1, -1], atol=1e-7)


def test_only_clip_reads_prompts(model: Callable[[str], Path]) -> None:
    settings = ExtractorSettings(**settings_of(model("captioner"), prompt_agreement=True))
    with pytest.raises(CapsynthError, match=r"prompt_agreement: .* use a model of clip"):
        load_extractor(settings)


@pytest.mark.parametrize("name", ["clip", "inception"])
def test_half_precision_gives_nearly_the_same(
    name: str, tmp_path: Path, model: Callable[[str], Path], shard: tuple[Path, Path]
) -> None:
    half = extract(model(name), shard, tmp_path / "h.parquet", dtype="bfloat16")
    full = extract(model(name), shard, tmp_path / "f.parquet")
    assert half.space != full.space
    assert (cosines(half.values, full.values) > 0.98).all()


def test_a_shard_without_images_has_a_file_that_is_read_with_others(
    tmp_path: Path, model: Callable[[str], Path], shard: tuple[Path, Path]
) -> None:
    none = Sample(ShardRecord("cat_9", "cat", 0, 9, REJECTED, "f", reason="blank"), None)
    write_shard(tmp_path / "none.tar", tmp_path / "none.jsonl", [none])
    empty = tmp_path / "empty.parquet"
    extract(model("captioner"), (tmp_path / "none.tar", tmp_path / "none.jsonl"), empty)
    made = extract(model("captioner"), shard, tmp_path / "f.parquet")
    assert len(read_features([empty])) == 0
    both = read_features([empty, tmp_path / "f.parquet"])
    np.testing.assert_array_equal(both.values, made.values)
    assert both.class_ids.tolist() == ["cat"] * 5
    assert both.source_keys.tolist() == ["", "real1", "real2", "real3", "real4"]


def test_features_of_two_spaces_are_not_read_as_one(
    tmp_path: Path, model: Callable[[str], Path], shard: tuple[Path, Path]
) -> None:
    paths = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    for name, path in zip(("dinov2", "clip"), paths, strict=True):
        extract(model(name), shard, path)
    with pytest.raises(CapsynthError, match=r"b\.parquet: another feature space"):
        read_features(paths)


def test_files_that_are_no_features_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CapsynthError, match="does not exist; extract the features first"):
        read_features([tmp_path / "f.parquet"])
    (tmp_path / "f.parquet").write_text("no")
    with pytest.raises(CapsynthError, match="not a file of features"):
        read_features([tmp_path / "f.parquet"])
    with pytest.raises(CapsynthError, match="no files of features"):
        read_features([])


@pytest.mark.parametrize("name", ["clip", "inception"])
def test_weights_that_are_no_safetensors_are_refused(
    name: str, tmp_path: Path, model: Callable[[str], Path], shard: tuple[Path, Path]
) -> None:
    pickled = tmp_path / "pickled"
    shutil.copytree(model(name), pickled)
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    with pytest.raises(CapsynthError, match=r"holds no \*\.safetensors"):
        extract(pickled, shard, tmp_path / "f.parquet")


def test_models_of_no_known_family_are_named(tmp_path: Path) -> None:
    with pytest.raises(CapsynthError, match=r"has no config\.json; give a folder"):
        find_family(str(tmp_path), None)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(CapsynthError, match="is a 'bert'") as caught:
        find_family(str(tmp_path), None)
    assert ", ".join(FAMILIES) in str(caught.value)
    with pytest.raises(CapsynthError, match="did you mean 'dinov2'"):
        find_family(str(tmp_path), "dino")


def test_a_model_that_is_not_there_is_named_before_anything_is_loaded(
    tmp_path: Path, shard: tuple[Path, Path]
) -> None:
    with pytest.raises(CapsynthError, match="is not there"):
        extract(tmp_path / "none", shard, tmp_path / "f.parquet")


def test_the_schema_knows_the_families_that_the_library_knows() -> None:
    family = load_schema()["$defs"]["feature_extractor"]["properties"]["family"]
    assert family["enum"] == [*FAMILIES, None]


def test_the_embedded_captioner_tells_classes_apart(
    repository: Path, tmp_path: Path, draw_folder: Any, pack_folder: Any
) -> None:
    # Images of the embedded world from the shipped weights, compared with themselves.
    folder = draw_folder(tmp_path / "cat", 6)
    made = extract(
        repository / "models" / "captioner",
        pack_folder(folder, tmp_path),
        tmp_path / "f.parquet",
        batch_size=4,
    )
    assert made.values.shape == (6, 128)
    distances = np.linalg.norm(made.values[:, None] - made.values[None], axis=2)
    assert distances[~np.eye(6, dtype=bool)].min() > 0.1 * distances.max()
