"""Seeds: they depend on what they are for and on nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from capsynth.prompting import noise_seed
from capsynth.seeding import bucket, derive_seed

parts = st.lists(st.one_of(st.text(), st.integers()), min_size=1, max_size=5)


@given(parts)
def test_a_seed_fits_torch_and_repeats(values: list[str | int]) -> None:
    assert 0 <= derive_seed(*values) < 2**63
    assert derive_seed(*values) == derive_seed(*values)


@given(parts, parts)
def test_different_parts_give_different_seeds(a: list[str | int], b: list[str | int]) -> None:
    assert (derive_seed(*a) == derive_seed(*b)) == (a == b)


def test_seeds_are_the_same_on_every_machine() -> None:
    assert derive_seed("noise", "openmoji", "bat", 7, 0) == 1844245417813910585


def test_no_two_images_of_a_data_set_share_their_noise() -> None:
    seeds = {noise_seed("imagenet", f"n{c:08d}", i, 0) for c in range(100) for i in range(1300)}
    assert len(seeds) == 130_000


def test_buckets_are_even() -> None:
    counts = [0] * 10
    for i in range(10_000):
        counts[bucket(f"image-{i}", 10)] += 1
    assert min(counts) > 900
    assert max(counts) < 1100
