"""What is taken of a source: slices that never overlap, samples that hold each other."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capsynth.datasets.selection import ALL, Selection, place_of, select
from capsynth.seeding import bucket

NAMES = st.lists(st.text(min_size=1, max_size=12), unique=True, max_size=60)
BOUND = st.floats(0, 1)


def take(names: list[str], share: tuple[float, float] = (0, 1), n: int | None = None) -> list[str]:
    return select(names, "bat", Selection(share, n), lambda name: name)


@given(NAMES, st.lists(BOUND, min_size=1, max_size=4))
def test_neighbouring_shares_are_disjoint_and_together_everything(
    names: list[str], cuts: list[float]
) -> None:
    bounds = [0.0, *sorted(cuts), 1.0]
    slices = [take(names, (low, high)) for low, high in itertools.pairwise(bounds)]
    assert sorted(name for part in slices for name in part) == sorted(names)


@given(NAMES, st.tuples(BOUND, BOUND, BOUND, BOUND))
def test_a_share_within_another_is_part_of_it(names: list[str], cuts: tuple[float, ...]) -> None:
    low, inner_low, inner_high, high = sorted(cuts)
    assert set(take(names, (inner_low, inner_high))) <= set(take(names, (low, high)))


@given(NAMES, BOUND, st.integers(1, 60), st.integers(1, 60))
def test_more_images_per_class_contain_fewer(names: list[str], low: float, n: int, m: int) -> None:
    fewer, more = sorted((n, m))
    all_of_share = take(names, (low, 1))
    small, large = take(names, (low, 1), fewer), take(names, (low, 1), more)
    assert set(small) <= set(large) <= set(all_of_share)
    assert len(small) == min(fewer, len(all_of_share))


@given(NAMES, st.text(min_size=1, max_size=12), st.integers(1, 20))
def test_an_added_image_takes_at_most_one_place(names: list[str], new: str, n: int) -> None:
    before, after = set(take(names, n=n)), set(take([*names, new], n=n))
    assert after - before <= {new}
    assert len(before - after) <= 1


def test_the_order_is_kept_and_everything_is_the_default() -> None:
    names = [f"{i:03d}" for i in range(50)]
    assert select(names, "bat", ALL, lambda name: name) == names
    assert take(names, (0.2, 0.9), 20) == sorted(take(names, (0.2, 0.9), 20))


def test_a_share_is_near_its_size_and_differs_between_classes() -> None:
    names = [f"{i:05d}" for i in range(4000)]
    assert len(take(names, (0.25, 0.5))) == pytest.approx(1000, abs=90)
    assert place_of("bat", "1") != place_of("car", "1")


def sample(seed: int, n: int, number: int = 200) -> set[str]:
    names = [f"{i:03d}" for i in range(number)]
    return set(select(names, "bat", Selection((0, 1), n, seed), lambda name: name))


def test_another_sample_seed_draws_another_sample_of_the_same_size() -> None:
    first, second, third = (sample(seed, 100) for seed in range(3))
    assert len(first) == len(second) == len(third) == 100
    # Independent halves share a quarter of all: 50 of 200, give or take 3.5.
    for one, other in ((first, second), (first, third), (second, third)):
        assert len(one & other) == pytest.approx(50, abs=14)
    assert sample(1, 10) < sample(1, 100)


def test_sample_seed_0_draws_what_was_drawn_before_there_was_one() -> None:
    # By the hash of "choice/{class}/{name}" alone.
    ranked = sorted((bucket(f"choice/bat/{i:03d}", 1 << 30), f"{i:03d}") for i in range(200))
    assert sample(0, 5) == {name for _, name in ranked[:5]}
