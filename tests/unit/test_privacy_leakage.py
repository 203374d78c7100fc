"""Leakage of images that were drawn from real ones, on pictures made for it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from capsynth.errors import CapsynthError
from capsynth.files import dump_json
from capsynth.privacy.leakage import Shards, measure_leakage
from capsynth.privacy.results import Leakage
from capsynth.shards import OK, Sample, ShardRecord, encode_image, write_shard

CLASS_IDS = ["bat", "car"]
N = 10  # images a class

Make = Callable[..., Shards]
Rows = dict[tuple[str, str, str], Leakage]


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (16, 16, 3)).astype(np.uint8)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """``make(name, pixels, features, sources, prompts)`` packs 2 N images."""

    def pack(
        name: str,
        pixels: list[np.ndarray],
        features: np.ndarray,
        sources: list[str] | None = None,
        prompts: list[str] | None = None,
        space: str = "s",
        keys: list[str] | None = None,
    ) -> Shards:
        records, samples = [], []
        for i, image in enumerate(pixels):
            key = f"{name}_{i:06d}" if keys is None else keys[i]
            record = ShardRecord(key, CLASS_IDS[i // N], i // N, i % N, OK, "f", extension="png")
            if sources is not None:
                prompt = None if prompts is None else prompts[i]
                record = replace(record, source_key=sources[i], prompt=prompt)
            records.append(record)
            samples.append(Sample(record, encode_image(Image.fromarray(image), "png")))
        shards = []
        for class_index in range(2):
            tar = tmp_path / f"{name}-{class_index}.tar"
            of_class = [s for s in samples if s.record.class_index == class_index]
            write_shard(tar, tar.with_suffix(".jsonl"), of_class)
            shards.append((tar, tar.with_suffix(".jsonl")))
        flat = pa.array(features.astype(np.float32).reshape(-1), pa.float32())
        table = pa.table(
            {
                "key": [r.key for r in records],
                "class_id": [r.class_id for r in records],
                "source_key": pa.array([r.source_key for r in records], pa.string()),
                "prompt_agreement": pa.nulls(len(records), pa.float32()),
                "feature": pa.FixedSizeListArray.from_arrays(flat, features.shape[1]),
            }
        ).replace_schema_metadata({b"capsynth": dump_json({"space": space}).encode()})
        pq.write_table(table, tmp_path / f"{name}.parquet")
        return Shards(tuple(shards), (tmp_path / f"{name}.parquet",))

    return pack


@pytest.fixture
def real(make: Make) -> Shards:
    rng = np.random.default_rng(0)
    return make("real", [picture(i) for i in range(2 * N)], rng.normal(size=(2 * N, 6)))


@pytest.fixture
def held_out(make: Make) -> Shards:
    rng = np.random.default_rng(1)
    return make("held", [picture(100 + i) for i in range(2 * N)], rng.normal(size=(2 * N, 6)))


SOURCES = [f"real_{i:06d}" for i in range(2 * N)]


def test_images_of_one_key_in_two_classes_descend_each_from_its_own(
    real: Shards, held_out: Shards, make: Make
) -> None:
    rng = np.random.default_rng(2)
    own, seen = rng.normal(size=(2 * N, 6)), [picture(i) for i in range(2 * N)]
    keys = [f"{i % N:04d}" for i in range(2 * N)]
    drawn = make("drawn", seen, own, keys)
    rows = measured(make("equal", seen, own, keys=keys), held_out, drawn)
    assert rows["caption", "hash", "own_is_nearest"].value == 1.0
    assert rows["caption", "dino", "auc/any"].value == 1.0


def measured(real: Shards, held_out: Shards, drawn: Shards, space: str | None = "dino") -> Rows:
    rows = measure_leakage("toy", real, held_out, {"caption": drawn}, space, 200)
    return {(row.variant, row.space, row.metric): row for row in rows}


def test_the_numbers_are_those_of_a_naive_loop(real: Shards, held_out: Shards, make: Make) -> None:
    rng = np.random.default_rng(2)
    of_real = np.random.default_rng(0).normal(size=(2 * N, 6))
    of_held = np.random.default_rng(1).normal(size=(2 * N, 6))
    of_drawn = of_real + 1.5 * rng.normal(size=(2 * N, 6))
    pixels = [picture(200 + i) for i in range(2 * N)]
    prompts = [f"prompt {i // 2}" for i in range(2 * N)]
    found = measured(real, held_out, make("drawn", pixels, of_drawn, SOURCES, prompts))

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    groups = {"any": lambda i: 0, "class": lambda i: i // N, "class+prompt": lambda i: i // 2}
    for others, group in groups.items():
        shares, gaps = [], []
        for i in range(2 * N):
            own = cosine(of_drawn[i], of_real[i])
            rest = [j for j in range(2 * N) if j != i and group(i) == group(j)]
            values = [cosine(of_drawn[i], of_real[j]) for j in rest]
            shares.append(np.mean([own > v for v in values]))
            gaps.append(own - np.mean(values))
        auc, gap = (found["caption", "dino", f"{name}/{others}"] for name in ("auc", "gap"))
        assert auc.value == pytest.approx(np.mean(shares), abs=1e-6)
        assert gap.value == pytest.approx(np.mean(gaps), abs=1e-6)
        assert auc.ci_low is not None
        assert auc.ci_high is not None
        assert auc.ci_low < auc.value < auc.ci_high
    near = [max(cosine(d, r) for r in of_real) for d in of_drawn]
    nearer = [a > max(cosine(d, h) for h in of_held) for a, d in zip(near, of_drawn, strict=True)]
    assert found["caption", "dino", "nearest_similarity"].value == pytest.approx(np.mean(near))
    assert found["caption", "dino", "nearer_to_sources"].value == pytest.approx(np.mean(nearer))
    own = [int(np.argmax([cosine(d, r) for r in of_real])) == i for i, d in enumerate(of_drawn)]
    assert found["caption", "dino", "own_is_nearest"].value == pytest.approx(np.mean(own))
    assert found["caption", "dino", "own_is_nearest_by_chance"].value == 1 / (2 * N)
    assert found["caption", "dino", "nearer_to_sources_by_chance"].value == 0.5


def test_copies_are_found_in_pixels_and_hashes(real: Shards, held_out: Shards, make: Make) -> None:
    # Three real images as they are, one that is a little darker, twice, and 15 others.
    darker = (picture(3) * 0.97).astype(np.uint8)
    pixels = [picture(0), picture(1), picture(2), darker, darker]
    pixels += [picture(300 + i) for i in range(15)]
    rng = np.random.default_rng(3)
    sources = [f"real_{i:06d}" for i in (0, 1, 2, 3, 3, *range(5, 20))]
    found = measured(real, held_out, make("drawn", pixels, rng.normal(size=(20, 6)), sources))
    assert found["caption", "pixels", "exact_duplicates"].value == 3 / 20
    assert found["caption", "hash", "near_duplicates"].value == 5 / 20
    assert found["caption", "pixels", "repeats"].value == 1 / 20
    assert found["real", "hash", "near_duplicates"].value == 0.0
    # Clopper and Pearson of 3 in 20.
    bounds = found["caption", "pixels", "exact_duplicates"]
    assert (bounds.ci_low, bounds.ci_high) == pytest.approx((0.0321, 0.3789), abs=1e-4)


def test_without_a_feature_space_pixels_are_compared_alone(
    real: Shards, held_out: Shards, make: Make
) -> None:
    pixels = [picture(200 + i) for i in range(2 * N)]
    drawn = make("drawn", pixels, np.ones((2 * N, 6)), SOURCES)
    bare = (replace(shards, features=()) for shards in (real, held_out, drawn))
    found = measured(*bare, space=None)
    assert {space for _, space, _ in found} == {"pixels", "hash"}
    assert found["caption", "hash", "own_is_nearest"].n == 2 * N


def test_images_without_a_source_are_refused(real: Shards, held_out: Shards, make: Make) -> None:
    drawn = make("drawn", [picture(i) for i in range(2 * N)], np.ones((2 * N, 6)))
    with pytest.raises(CapsynthError, match="'caption': drawn_000000 descends from no real image"):
        measured(real, held_out, drawn)


def test_features_of_another_space_are_refused(real: Shards, held_out: Shards, make: Make) -> None:
    pixels = [picture(i) for i in range(2 * N)]
    drawn = make("drawn", pixels, np.ones((2 * N, 6)), SOURCES, space="other")
    with pytest.raises(CapsynthError, match="not of one feature space"):
        measured(real, held_out, drawn)
