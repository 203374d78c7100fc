import imagehash
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter
from sklearn.neighbors import NearestNeighbors

from capsynth import statistics
from capsynth.errors import CapsynthError
from capsynth.privacy import images

SEEDS = st.integers(0, 2**32 - 1)


def world(
    rng: np.random.Generator, classes: int = 4, each: int = 12, leak: float = 0.0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Features of real images by class, and of one synthetic image of each that looks like it."""
    group = np.repeat(np.arange(classes), each)
    centre = rng.normal(size=(classes, 8))[group]
    real = centre + rng.normal(size=(len(group), 8))
    synthetic = centre + rng.normal(size=real.shape) + leak * (real - centre)
    source = np.arange(len(group))
    return images.unit_rows(synthetic), source, images.unit_rows(real), group


@given(SEEDS, st.booleans())
def test_matched_pairs_agree_with_a_naive_loop(seed: int, within: bool) -> None:
    rng = np.random.default_rng(seed)
    synthetic, _, real, group = world(rng, 3, 5, 0.5)
    source = rng.integers(len(real), size=len(synthetic))
    group = group if within else np.zeros_like(group)
    found = images.match_pairs(synthetic, source, real, group)
    wins, gaps = [], []
    for i, own in enumerate(source):
        similarity = [float(synthetic[i].astype(float) @ row.astype(float)) for row in real]
        others = [s for j, s in enumerate(similarity) if j != own and group[j] == group[own]]
        assert found.matched[i] == pytest.approx(similarity[own], rel=1e-5, abs=1e-6)
        assert found.others[i] == pytest.approx(np.mean(others), rel=1e-5, abs=1e-6)
        wins.append(np.mean([similarity[own] > s for s in others]))
        gaps.append(similarity[own] - np.mean(others))
    assert found.auc == pytest.approx(np.mean(wins))
    assert found.gap == pytest.approx(np.mean(gaps), rel=1e-5, abs=1e-6)


@given(SEEDS)
def test_influence_is_the_derivative_by_the_weight_of_a_real_image(seed: int) -> None:
    rng = np.random.default_rng(seed)
    synthetic, _, real, group = world(rng, 2, 4, 0.5)
    source = rng.integers(len(real), size=len(synthetic))
    found = images.match_pairs(synthetic, source, real, group)
    similarity = synthetic.astype(float) @ real.T.astype(float)

    def weighted(weights: np.ndarray) -> float:
        top = bottom = 0.0
        for i, own in enumerate(source):
            others = [j for j in range(len(real)) if j != own and group[j] == group[own]]
            wins = sum(weights[j] * (similarity[i, own] > similarity[i, j]) for j in others)
            top += weights[own] * wins / sum(weights[j] for j in others)
            bottom += weights[own]
        return top / bottom

    for j in range(len(real)):
        step = 1e-5 * np.eye(len(real))[j]
        slope = (weighted(1 + step) - weighted(1 - step)) / 2e-5
        assert found.auc_influence[j] == pytest.approx(slope, abs=1e-6)


def test_blocks_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    synthetic, source, real, group = world(np.random.default_rng(1), leak=0.5)
    whole = images.match_pairs(synthetic, source, real, group)
    nearest = images.nearest_by_features(synthetic, real)
    monkeypatch.setattr(images, "PAIRS_PER_BLOCK", 30)
    small = images.match_pairs(synthetic, source, real, group)
    assert small.auc == pytest.approx(whole.auc)
    np.testing.assert_allclose(small.auc_influence, whole.auc_influence, atol=1e-12)
    np.testing.assert_array_equal(
        images.nearest_by_features(synthetic, real).position, nearest.position
    )


@pytest.mark.parametrize("each", [5, 40])
def test_without_a_leak_the_matched_area_is_one_half_as_often_as_its_interval_says(
    each: int,
) -> None:
    rng = np.random.default_rng(2)
    covered, areas = np.zeros(2), []
    for repetition in range(200):
        synthetic, source, real, group = world(rng, 8, each)
        pairs = images.match_pairs(synthetic, source, real, group)
        design = statistics.image_design([str(g) for g in group], [str(i) for i in source])
        low, high = statistics.interval(pairs.replicates(design, 200, repetition))
        covered += (low <= [0.5, 0.0]) & (high >= [0.5, 0.0])
        areas.append(pairs.auc)
    assert abs(np.mean(areas) - 0.5) < 4 * np.std(areas) / np.sqrt(200)
    assert covered.min() / 200 >= 0.90
    assert covered.max() / 200 <= 0.99


def test_a_leak_within_the_class_is_found() -> None:
    synthetic, source, real, group = world(np.random.default_rng(3), 10, 40, 1.0)
    pairs = images.match_pairs(synthetic, source, real, group)
    design = statistics.image_design([str(g) for g in group], [str(i) for i in source])
    low, _ = statistics.interval(pairs.replicates(design, 200, 0))
    assert pairs.auc > 0.7
    assert low[0] > 0.6
    assert low[1] > 0.0


def test_classes_alone_look_like_a_leak_among_images_of_any_class() -> None:
    synthetic, source, real, group = world(np.random.default_rng(4), 10, 40)
    within = images.match_pairs(synthetic, source, real, group)
    anywhere = images.match_pairs(synthetic, source, real, np.zeros_like(group))
    assert abs(within.auc - 0.5) < 0.06
    assert anywhere.auc > 0.75


def test_equal_similarities_count_half() -> None:
    real = np.eye(4, dtype=np.float32)[[0, 0, 0]]
    pairs = images.match_pairs(real[:1], np.array([0]), real, np.zeros(3, dtype=int))
    assert (pairs.auc, pairs.gap) == (0.5, 0.0)


def test_a_class_of_one_real_image_takes_no_part() -> None:
    synthetic, source, real, group = world(np.random.default_rng(5), 2, 6, 0.5)
    keep = np.arange(7)
    pairs = images.match_pairs(synthetic[keep], source[keep], real[keep], group[keep])
    alone = images.match_pairs(synthetic[:6], source[:6], real[:6], group[:6])
    assert pairs.auc == pytest.approx(alone.auc)
    assert np.isnan(pairs.others[6])
    with pytest.raises(CapsynthError, match="no class has two real images"):
        images.match_pairs(synthetic[:1], source[:1], real[:1], group[:1])


@given(SEEDS)
def test_nearest_images_agree_with_scikit_learn(seed: int) -> None:
    synthetic, _, real, _ = world(np.random.default_rng(seed))
    found = images.nearest_by_features(synthetic, real)
    distance, position = (
        NearestNeighbors(n_neighbors=1, metric="cosine").fit(real).kneighbors(synthetic)
    )
    np.testing.assert_array_equal(found.position, position[:, 0])
    np.testing.assert_allclose(found.value, 1 - distance[:, 0], atol=1e-5)
    without_itself = images.nearest_by_features(real, real, itself=True)
    expected = NearestNeighbors(n_neighbors=2, metric="cosine").fit(real).kneighbors(real)[1]
    np.testing.assert_array_equal(without_itself.position, expected[:, 1])


def test_as_many_held_out_images_make_one_half_where_nothing_leaks() -> None:
    rng = np.random.default_rng(6)
    shares = []
    for _ in range(100):
        real, held_out, synthetic = (images.unit_rows(rng.normal(size=(60, 8))) for _ in range(3))
        nearer = images.nearer_to_sources(
            images.nearest_by_features(synthetic, real).value,
            images.nearest_by_features(synthetic, held_out).value,
        )
        shares.append(nearer.mean())
    assert abs(np.mean(shares) - 0.5) < 4 * np.std(shares) / 10
    assert images.nearer_to_sources(np.array([1.0, 2.0, 3.0]), np.full(3, 2.0)).tolist() == [
        0.0,
        0.5,
        1.0,
    ]


def test_zero_features_are_refused() -> None:
    with pytest.raises(CapsynthError, match="zero or not finite"):
        images.unit_rows(np.zeros((1, 3)))


def picture(seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    return small.resize((48, 48), Image.Resampling.BICUBIC)


def test_exact_duplicates_are_those_of_equal_pixels_and_size() -> None:
    first, second = picture(1), picture(2)
    reshaped = Image.frombytes("RGB", (24, 96), first.tobytes())
    digests = [images.pixel_digest(i) for i in (first, second, first.convert("RGBA"), reshaped)]
    assert images.repeats(digests) == 1
    assert images.equal_positions(digests, [digests[1], digests[0], digests[0]]).tolist() == [
        1,
        0,
        1,
        -1,
    ]


def test_near_duplicates_differ_in_few_bits_and_other_pictures_in_many() -> None:
    originals = [picture(seed) for seed in range(40)]
    altered = [p.filter(ImageFilter.GaussianBlur(0.6)).resize((64, 64)) for p in originals]
    hashes = np.array([images.difference_hash(p) for p in originals])
    nearest = images.nearest_by_hash(np.array([images.difference_hash(p) for p in altered]), hashes)
    np.testing.assert_array_equal(nearest.position, np.arange(40))
    assert nearest.value.max() <= images.NEAR_BITS
    assert images.nearest_by_hash(hashes, hashes, itself=True).value.min() > images.NEAR_BITS


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=20), SEEDS)
def test_hash_distances_agree_with_counted_bits(numbers: list[int], seed: int) -> None:
    hashes = np.array(numbers, dtype=np.uint64)
    others = np.random.default_rng(seed).integers(0, 2**64, size=7, dtype=np.uint64)
    found = images.nearest_by_hash(hashes, others)
    for number, distance in zip(numbers, found.value, strict=True):
        assert distance == min((number ^ int(other)).bit_count() for other in others)


def test_the_difference_hash_has_the_bits_of_imagehash_in_their_order() -> None:
    expected = str(imagehash.dhash(picture(3)))
    assert f"{int(images.difference_hash(picture(3))):016x}" == expected
