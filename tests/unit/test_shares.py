import itertools

import numpy as np
import numpy.typing as npt
import pytest

from capsynth import statistics
from capsynth.errors import CapsynthError
from capsynth.fingerprints import fingerprint
from capsynth.shards import OK, ShardRecord, take_fraction
from capsynth.shares import Share, mean_overlap, parse_share, share_of, take_share

N = 2000
RECORDS = [
    ShardRecord(f"bat_{index:06d}", "bat", 0, index, OK, "f", extension="png") for index in range(N)
]


def indices(share: float | Share) -> set[int]:
    return {record.index for record in take_share(RECORDS, share)}


def near(share: float) -> object:
    """Six standard deviations of the number of N images, each taken with that probability."""
    return pytest.approx(share * N, abs=6 * np.sqrt(N * share * (1 - share)))


def test_the_first_draw_is_that_of_take_fraction_and_marks_stay_as_they_were() -> None:
    for fraction in (0.1, 0.5, 1.0):
        assert take_share(RECORDS, share_of(fraction, 0)) == take_fraction(RECORDS, fraction)
        # Commands and marks name the first draw by the number alone.
        assert str(share_of(fraction, 0)) == str(fraction)
        assert fingerprint([share_of(fraction, 0)]) == fingerprint([fraction])
    assert fingerprint([share_of(0.5, 1)]) != fingerprint([0.5])
    assert fingerprint([share_of(0.5, 1)]) != fingerprint([share_of(0.5, 2)])


def test_all_of_the_images_is_the_same_set_at_any_seed() -> None:
    assert share_of(1.0, 3) == 1.0
    assert take_share(RECORDS, share_of(1.0, 3)) == RECORDS


def test_as_many_draws_as_fit_are_disjoint_and_make_up_all_images() -> None:
    parts = [indices(share_of(0.25, seed)) for seed in range(4)]
    assert sum(map(len, parts)) == N
    assert set().union(*parts) == set(range(N))
    assert all(len(part) == near(0.25) for part in parts)
    # 1 / fraction is 48.99999999999999 here.
    many = [indices(share_of(1 / 49, seed)) for seed in range(49)]
    assert sum(map(len, many)) == len(set().union(*many)) == N


def test_draws_of_different_turns_have_their_fraction_in_common() -> None:
    draws = [indices(share_of(0.5, seed)) for seed in range(4)]
    assert not draws[0] & draws[1]
    assert not draws[2] & draws[3]
    for one, other in itertools.product(draws[:2], draws[2:]):
        assert len(one & other) == near(0.25)
    # Two thirds fit once only.
    one, other = indices(2 / 3), indices(Share(2 / 3, 1))
    assert len(one & other) == near(4 / 9)


def test_the_mean_overlap_is_over_pairs() -> None:
    assert mean_overlap(0.25, [0, 1, 2]) == 0.0
    assert mean_overlap(0.5, [0, 1]) == 0.0
    assert mean_overlap(0.5, [0, 1, 2]) == pytest.approx((0 + 0.5 + 0.5) / 3)
    assert mean_overlap(0.8, [0, 1, 5]) == pytest.approx(0.8)


def test_a_share_is_read_as_it_is_written() -> None:
    for share in (0.25, 1.0, Share(0.25, 1), Share(1 / 3, 4294967295)):
        assert parse_share(str(share)) == share
    for text in ("half", "0.5:one", ":1"):
        with pytest.raises(CapsynthError, match=f"'{text}' is no share; write 0.25"):
            parse_share(text)


@pytest.mark.parametrize(("fraction", "seeds"), [(0.25, 3), (0.5, 3), (0.8, 3), (0.6, 2)])
def test_the_component_is_that_of_independent_samples_whatever_the_overlap(
    fraction: float, seeds: int
) -> None:
    # Images of a population of mean 0 and variance 1; an accuracy is the mean of the images drawn,
    # so that n of them make it vary by 1 / n. Each repetition is another pool of N images.
    repetitions, trainings, noise = 4000, 2, 0.01
    rng = np.random.default_rng(1)
    pools = rng.normal(size=(repetitions, N)).astype(np.float32)
    draws = [sorted(indices(share_of(fraction, seed))) for seed in range(seeds)]
    means = np.stack([pools[:, draw].mean(axis=1) for draw in draws]).astype(np.float64)
    values = means[:, None] + rng.normal(0, noise, (seeds, trainings, repetitions))
    nothing: npt.NDArray[np.float64] = np.zeros((seeds, trainings, 2, repetitions))
    truth = float(np.mean([1 / len(draw) for draw in draws]))
    overlap = mean_overlap(fraction, range(seeds))

    def mean_component(overlap: float) -> float:
        found = statistics.variance_components(values, nothing, overlap)
        return float(found.generation.mean())

    # s² of 3 draws varies by its own size: 4,000 of them have a standard error of 1.6 %.
    if overlap == 0:
        assert mean_component(0.0) == pytest.approx(truth, rel=0.08)
    else:
        # Cut off at 0 the component is a little too high where little is seen of it.
        assert mean_component(overlap) == pytest.approx(truth, rel=0.12)
        assert mean_component(0.0) == pytest.approx((1 - overlap) * truth, rel=0.12)

    # What an interval of the mean is made from: the variance of the mean over pools.
    by_draw = values.mean(axis=1)
    apart = statistics.overlap_factor(seeds, overlap)
    variance = apart * float(by_draw.var(axis=0, ddof=1).mean()) / seeds
    actual = float(by_draw.mean(axis=0).var())
    assert variance > 0.92 * actual
    # Noise of training grows with the draws: too wide rather than too narrow.
    assert apart == pytest.approx((1 + (seeds - 1) * overlap) / (1 - overlap))
    expected = truth * (1 + (seeds - 1) * overlap) + apart * noise**2 / trainings
    assert variance == pytest.approx(expected / seeds, rel=0.08)
