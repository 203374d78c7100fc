"""Networks of random weights: their bits, their independence of all else, and what they see."""

import hashlib
import math

import numpy as np
import pytest
import torch
from PIL import Image

from capsynth.errors import CapsynthError
from capsynth.extractors import ExtractorSettings, Random, load_extractor
from capsynth.files import dump_json
from capsynth.random_networks import (
    ARCHITECTURES,
    BEFORE_RELU,
    PROJECTION,
    RandomWeights,
    build_random_network,
    draw_weights,
)
from capsynth.schema import load_schema
from capsynth.seeding import derive_seed
from capsynth.settings import settings_from_json

WEIGHTS = RandomWeights("vgg11", dimensions=8, image_size=32, seed=0)
# Of all weights of ``WEIGHTS`` as little-endian float32, from the image on, the projection last.
SHA256 = "6fdcd7bcf12933434a5db5f4ba9f18d22f940a6d316f256206caf999b2ac7e3d"


def settings_of(weights: RandomWeights = WEIGHTS) -> ExtractorSettings:
    return ExtractorSettings(None, None, None, "float32", 4, False, weights)


def digest(weights: RandomWeights) -> str:
    network, projection = build_random_network(weights)
    parts = [*network.parameters(), projection]
    return hashlib.sha256(
        b"".join(part.detach().numpy().astype("<f4").tobytes() for part in parts)
    ).hexdigest()


@pytest.fixture(scope="module")
def extractor() -> Random:
    made = load_extractor(settings_of())
    assert isinstance(made, Random)
    return made


def noise(seed: int, side: int = 32) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(values)


def grey(level: int) -> Image.Image:
    return Image.new("RGB", (32, 32), (level, level, level))


def test_weights_are_pinned_to_the_bit() -> None:
    assert digest(WEIGHTS) == SHA256


def test_weights_do_not_depend_on_global_generators_and_leave_them_alone() -> None:
    torch.manual_seed(7)
    np.random.seed(7)  # the global generator is what is tested
    state = torch.get_rng_state()
    assert digest(WEIGHTS) == SHA256
    assert torch.equal(state, torch.get_rng_state())
    expected = np.random.RandomState(7).random_sample()
    assert np.random.random_sample() == expected


def test_weights_are_the_documented_function_of_the_raw_numbers_of_philox() -> None:
    raw = [int(n) for n in np.random.Philox(key=derive_seed("random weights", 5, 2)).random_raw(12)]
    halves = [half for number in raw for half in (number % 2**32, number // 2**32)]
    bound = math.sqrt(3 * 2 / 12)  # 12 inputs
    expected = [((2 * (half // 2**8) + 1) / 2**24 - 1) * bound for half in halves]
    found = draw_weights((2, 3, 2, 2), BEFORE_RELU, seed=5, layer=2)
    assert found.shape == (2, 3, 2, 2)
    np.testing.assert_array_equal(found.reshape(-1), np.array(expected, dtype=np.float32))


@pytest.mark.parametrize(("gain", "variance"), [(BEFORE_RELU, 2 / 50), (PROJECTION, 1 / 50)])
def test_weights_have_mean_0_and_the_variance_of_their_gain(gain: float, variance: float) -> None:
    values = draw_weights((4000, 50), gain, seed=0, layer=0).astype(float)
    # 200,000 uniform numbers: standard errors of 0.0022 sd of the mean, 0.2 % of the variance.
    assert abs(values.mean()) < 5 * math.sqrt(variance / values.size)
    assert values.var() == pytest.approx(variance, rel=0.01)


def test_every_seed_is_another_network_and_every_layer_another_draw() -> None:
    assert digest(RandomWeights("vgg11", 8, 32, seed=1)) != SHA256
    first, second = (draw_weights((8, 9), 1.0, 0, layer) for layer in (0, 1))
    assert abs(np.corrcoef(first.reshape(-1), second.reshape(-1))[0, 1]) < 0.5


@pytest.mark.parametrize("architecture", ["vgg11", "vgg16"])
def test_features_are_those_of_torchvision_with_the_same_weights(architecture: str) -> None:
    import torchvision

    weights = RandomWeights(architecture, 8, 32, 0)
    network, projection = build_random_network(weights)
    other = getattr(torchvision.models, architecture)(weights=None).features.eval()
    own = [part for part in network.modules() if isinstance(part, torch.nn.Conv2d)]
    theirs = [part for part in other if isinstance(part, torch.nn.Conv2d)]
    with torch.inference_mode():
        for mine, part in zip(own, theirs, strict=True):
            part.weight.copy_(mine.weight)
            part.bias.zero_()
        pixels = torch.from_numpy(np.stack([np.asarray(noise(n)) for n in range(3)]))
        maps = other(pixels.permute(0, 3, 1, 2).float() / 127.5 - 1)
        expected = torch.einsum("nchw,dc->nd", maps, projection) / (maps.shape[2] * maps.shape[3])
    found = load_extractor(settings_of(weights)).features([noise(n) for n in range(3)])
    assert found.shape == (3, 8)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-5)


def test_an_image_of_six_tenths_of_the_contrast_has_six_tenths_of_the_feature(
    extractor: Random,
) -> None:
    # Without biases a network of ReLUs is homogeneous. Levels 0 and 255 are -1 and 1, 51 and 204
    # are -0.6 and 0.6.
    black, dark, white, bright = extractor.features([grey(n) for n in (0, 51, 255, 204)])
    np.testing.assert_allclose(dark, 0.6 * black, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(bright, 0.6 * white, rtol=1e-4, atol=1e-6)
    # So black is nearer to dark (0.4 of its length) than dark to the grey between (0.6).
    assert np.linalg.norm(black - dark) < np.linalg.norm(dark)
    assert np.linalg.norm(white - black) > 0.1 * np.linalg.norm(black)


def test_distances_order_images_as_people_would(extractor: Random) -> None:
    # Noise; noise with 2 of its 32 rows from other noise; other noise; no noise at all.
    values = np.asarray(noise(0)).copy()
    values[[0, 16]] = np.asarray(noise(1))[[0, 16]]
    images = [noise(0), Image.fromarray(values), noise(1), grey(0)]
    features = extractor.features(images)
    again, disturbed, other, flat = np.linalg.norm(features - features[0], axis=1)
    assert again == 0.0
    assert 0 < disturbed < other < flat


def test_the_middle_square_is_seen_whole(extractor: Random) -> None:
    wide = Image.new("RGB", (96, 32), (255, 0, 0))
    wide.paste(noise(0), (32, 0))
    np.testing.assert_array_equal(*extractor.features([wide, noise(0)]))


def test_what_is_no_network_of_random_weights_is_named() -> None:
    with pytest.raises(CapsynthError, match="did you mean 'vgg16'"):
        build_random_network(RandomWeights("vgg166", 8, 32, 0))
    bare = ExtractorSettings(None, None, None, "float32", 4, False, None)
    with pytest.raises(CapsynthError, match="neither a model nor random_weights"):
        load_extractor(bare)
    with pytest.raises(CapsynthError, match="a/model is a model; give random_weights"):
        load_extractor(ExtractorSettings("a/model", None, "random", "float32", 4, False, None))
    with pytest.raises(CapsynthError, match="vgg11 of random weights has no features of texts"):
        load_extractor(ExtractorSettings(None, None, None, "float32", 4, True, WEIGHTS))


def test_settings_of_random_weights_are_read_from_json() -> None:
    values = {
        **{"model": None, "revision": None, "family": None, "dtype": "float32", "batch_size": 4},
        "prompt_agreement": False,
        "random_weights": {"architecture": "vgg11", "dimensions": 8, "image_size": 32, "seed": 0},
    }
    assert settings_from_json(ExtractorSettings, dump_json(values)) == settings_of()
    without = {**values, "model": "a/model", "random_weights": None}
    assert settings_from_json(ExtractorSettings, dump_json(without)).random_weights is None
    wrong = {**values, "random_weights": {"architecture": "vgg11"}}
    with pytest.raises(CapsynthError, match="settings lack 'dimensions'"):
        settings_from_json(ExtractorSettings, dump_json(wrong))


def test_the_schema_knows_the_architectures_that_the_library_knows() -> None:
    weights = load_schema()["$defs"]["feature_extractor"]["properties"]["random_weights"]
    assert weights["properties"]["architecture"]["enum"] == list(ARCHITECTURES)
