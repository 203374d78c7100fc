"""The embedded data set: what each split shows, and that it never changes by accident."""

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from capsynth.datasets.openmoji.drawing import UNUSUAL_BACKGROUNDS, draw_background, glyph, pose_ink
from capsynth.datasets.openmoji.renditions import STYLES, draw_rendition, line_ink
from capsynth.datasets.openmoji.splits import (
    SPLITS,
    background_only_accuracy,
    background_probabilities,
    draw_real_scene,
    draw_web_scene,
    plan_real_scene,
)
from capsynth.datasets.openmoji.world import (
    BACKGROUNDS,
    CLASS_BY_ID,
    CLASSES,
    SUBTYPE_BY_ID,
    WEB_SUBTYPE_PRIOR,
)
from capsynth.errors import CapsynthError

CLASS_IDS = tuple(c.class_id for c in CLASSES)
# The generator and the captioner in models/ learned from these very scenes.
WEB_DIGEST = "87a407b996f95bd2a962728ab28d39f706adcbf50a0daa0ff58cbf2b6515df64"
DOC = Path(__file__).parents[2] / "docs" / "embedded-experiment.md"


def plans(split: str, class_id: str, n: int, bias: float = 0.5):
    return [plan_real_scene(split, 5, class_id, index, bias) for index in range(n)]


def pixels(split: str, class_id: str, index: int, bias: float = 0.5) -> np.ndarray:
    return np.asarray(draw_real_scene(split, 5, class_id, index, bias)[0])


def test_web_scenes_and_captions_are_those_the_models_learned_from():
    digest = hashlib.sha256()
    for index in range(20):
        image, scene = draw_web_scene(17, index)
        digest.update(image.tobytes())
        digest.update(scene.caption.encode())
    assert digest.hexdigest() == WEB_DIGEST


@pytest.mark.parametrize("split", SPLITS)
def test_a_scene_depends_on_its_own_name_only(split):
    first = [draw_real_scene(split, 5, "dog", index, 0.5) for index in range(3)]
    again = draw_real_scene(split, 5, "dog", 1, 0.5)
    assert again[1] == first[1][1]
    assert again[0].tobytes() == first[1][0].tobytes()
    assert first[0][0].tobytes() != first[1][0].tobytes()
    other_seed = draw_real_scene(split, 6, "dog", 1, 0.5)
    assert other_seed[0].tobytes() != again[0].tobytes()


@pytest.mark.parametrize("split", SPLITS)
def test_every_class_is_drawn_as_rgb_of_the_side_asked_for(split):
    for class_id in CLASS_IDS:
        image, scene = draw_real_scene(split, 1, class_id, 0, 0.5, side=32)
        assert (image.mode, image.size) == ("RGB", (32, 32))
        assert scene.class_id == class_id


def test_splits_share_no_draws():
    drawn = [pixels(split, "car", index).tobytes() for split in SPLITS for index in range(5)]
    assert len(set(drawn)) == len(drawn)


@given(
    split=st.sampled_from(list(SPLITS)),
    class_id=st.sampled_from(CLASS_IDS),
    index=st.integers(0, 10**6),
    bias=st.floats(0, 1),
)
def test_real_scenes_show_the_right_sense_on_a_possible_background(split, class_id, index, bias):
    scene = plan_real_scene(split, 1, class_id, index, bias)
    assert SUBTYPE_BY_ID[scene.subtype_id] in CLASS_BY_ID[class_id].subtypes
    possible = background_probabilities(SPLITS[split], CLASS_BY_ID[class_id], bias)
    assert scene.background in possible


@given(
    class_id=st.sampled_from(CLASS_IDS),
    index=st.integers(0, 10**6),
    low=st.floats(0, 1),
    high=st.floats(0, 1),
)
def test_more_context_bias_only_moves_scenes_onto_typical_backgrounds(class_id, index, low, high):
    low, high = sorted((low, high))
    before = plan_real_scene("train", 1, class_id, index, low)
    after = plan_real_scene("train", 1, class_id, index, high)
    assert (before.subtype_id, before.pose) == (after.subtype_id, after.pose)
    if before.background != after.background:
        assert after.background in CLASS_BY_ID[class_id].typical_backgrounds


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("bias", [0.0, 0.5, 1.0])
def test_backgrounds_occur_as_often_as_documented(split, bias):
    n = 1500
    chances = background_probabilities(SPLITS[split], CLASS_BY_ID["bat"], bias)
    assert sum(chances.values()) == pytest.approx(1)
    counts = Counter(scene.background for scene in plans(split, "bat", n, bias))
    for background, chance in chances.items():
        # Four standard errors: a fixed seed, so this cannot come and go.
        tolerance = 4 * np.sqrt(chance * (1 - chance) / n) + 1e-9
        assert counts[background] / n == pytest.approx(chance, abs=tolerance)


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("class_id", ["car", "bat"])
def test_subtypes_are_even_except_in_v2_which_favours_what_the_web_shows_rarely(split, class_id):
    n = 1500
    subtypes = CLASS_BY_ID[class_id].subtypes
    weights = WEB_SUBTYPE_PRIOR[: len(subtypes)][::-1] if split == "v2" else (1,) * len(subtypes)
    counts = Counter(scene.subtype_id for scene in plans(split, class_id, n))
    for subtype, weight in zip(subtypes, weights, strict=True):
        assert counts[subtype.subtype_id] / n == pytest.approx(weight / sum(weights), abs=0.05)


@pytest.mark.parametrize("bias", [0.0, 0.5, 0.9, 1.0])
def test_the_background_alone_reaches_what_the_derivation_says(bias):
    assert background_only_accuracy("train", CLASS_IDS, bias) == pytest.approx((1 + 3 * bias) / 10)


def test_a_rule_learned_from_backgrounds_reaches_the_bound_and_fails_on_a():
    n = 300
    seen = Counter((s.background, c) for c in CLASS_IDS for s in plans("train", c, n))
    rule = {b: max(CLASS_IDS, key=lambda c: seen[b, c]) for b in BACKGROUNDS}

    def accuracy(split: str) -> float:
        right = [rule.get(s.background) == c for c in CLASS_IDS for s in plans(split, c, n)]
        return float(np.mean(right))

    assert accuracy("val") == pytest.approx(0.25, abs=0.03)
    assert accuracy("v2") == pytest.approx(0.175, abs=0.03)
    assert accuracy("a") == 0


def test_sketches_are_black_strokes_on_white():
    for class_id in CLASS_IDS:
        for index in range(4):
            image = pixels("sketch", class_id, index)
            assert (image == image[..., :1]).all(), "no colour"
            assert (image > 230).mean() > 0.5, "mostly white paper"
            assert image.min() < 60, "strokes are black"
            assert 0.02 < (image < 128).mean() < 0.35, "lines, neither specks nor fills"


def test_lines_of_a_glyph_do_not_depend_on_its_fill():
    dark = np.asarray(line_ink(SUBTYPE_BY_ID["black-bat"]), np.int16)
    light = np.asarray(line_ink(SUBTYPE_BY_ID["white-bat"]), np.int16)
    assert np.abs(dark - light).mean() < 8
    alpha = np.asarray(glyph(SUBTYPE_BY_ID["black-bat"]))[..., 3] > 128
    assert (dark[..., 3] > 128).sum() < 0.5 * alpha.sum(), "the dark wings are not filled"


def test_renditions_use_every_style_and_none_looks_like_another_or_like_the_plain_scene():
    scenes = plans("r", "fish", 200)
    assert {scene.style for scene in scenes} == set(STYLES)
    plain, scene = draw_real_scene("train", 1, "fish", 0, 0.5)
    pictures = {"plain": np.asarray(plain, np.float64)}
    for style in STYLES:
        rng = np.random.default_rng(0)
        subtype = SUBTYPE_BY_ID[scene.subtype_id]
        image = draw_rendition(subtype, scene.background, scene.pose, style, rng, 48)
        pictures[style] = np.asarray(image, np.float64)
    names = list(pictures)
    for number, one in enumerate(names):
        for other in names[:number]:
            assert np.abs(pictures[one] - pictures[other]).mean() > 12, (one, other)


def test_scenes_of_a_are_cut_by_one_edge_and_never_in_their_usual_place():
    side = 400
    backgrounds = set()
    edges = Counter()
    for class_id in CLASS_IDS:
        for scene in plans("a", class_id, 25):
            backgrounds.add(scene.background)
            assert scene.background not in CLASS_BY_ID[class_id].typical_backgrounds
            assert 0.62 <= scene.pose.size <= 0.86, "as large as in training"
            assert abs(scene.pose.angle) <= 30
            ink, (left, top) = pose_ink(glyph(SUBTYPE_BY_ID[scene.subtype_id]), scene.pose, side)
            # Pixels beyond the edges, first and last of each axis.
            beyond = (
                (-left, left + ink.width - side, ink.width),
                (-top, top + ink.height - side, ink.height),
            )
            cut = []
            for axis, (first, last, extent) in enumerate(beyond):
                other_first, other_last, _ = beyond[1 - axis]
                # The other axis holds the object whole, or, if it is too long, cuts it evenly.
                # Positions are rounded to pixels, and the posed glyph to a pixel or two more.
                inside = max(other_first, other_last) <= 3
                if inside or abs(other_first - other_last) <= 3:
                    slack = 3 / extent
                    shares = (first / extent, last / extent)
                    cut += [
                        (axis, edge)
                        for edge, share in enumerate(shares)
                        if 0.05 - slack <= share <= 0.20 + slack
                    ]
            assert cut, scene
            edges.update(cut[:1])
    assert set(UNUSUAL_BACKGROUNDS) < backgrounds
    assert len(edges) == 4


def test_unusual_backgrounds_are_unknown_to_the_web():
    assert not set(UNUSUAL_BACKGROUNDS) & set(BACKGROUNDS)
    for name in UNUSUAL_BACKGROUNDS:
        image = draw_background(name, np.random.default_rng(1), 48)
        assert (image.mode, image.size) == ("RGB", (48, 48))
        assert np.asarray(image, np.float64).std() > 10


def test_unknown_background_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="brick-wall"):
        draw_background("brik-wall", np.random.default_rng(1), 48)


def test_unknown_split_and_class_are_refused_with_the_nearest_name():
    with pytest.raises(CapsynthError, match="unknown split 'sketsh'; did you mean 'sketch'"):
        draw_real_scene("sketsh", 1, "car", 0, 0.5)
    with pytest.raises(CapsynthError, match="unknown class 'mouze'; did you mean 'mouse'"):
        draw_real_scene("val", 1, "mouze", 0, 0.5)


@pytest.mark.parametrize("bias", [-0.1, 1.1, float("nan")])
def test_a_context_bias_that_is_no_share_is_refused(bias):
    with pytest.raises(CapsynthError, match="from 0 to 1"):
        draw_real_scene("val", 1, "car", 0, bias)


def test_the_documentation_describes_every_split_as_the_code_does():
    text = DOC.read_text(encoding="utf-8")
    for split in SPLITS.values():
        assert f"| `{split.name}` | {split.differs} |" in text


def test_sample_pictures_are_small_and_readable():
    folder = DOC.parent / "images"
    pictures = sorted(folder.glob("*.png"))
    own = [p for p in pictures if p.name in ("evaluation-sets.png", "corruptions.png")]
    assert len(own) == 2
    assert sum(p.stat().st_size for p in own) < 400_000
    for path in own:
        with Image.open(path) as image:
            image.verify()
