"""Standard errors of numbers of two sets of images, other images being drawn.

None of the usual ways is right for numbers such as the Fréchet distance. Between sets that differ
little they are quadratic in what chance does to the images: their variance falls with the square of
the number of images, not with the number. Random halves, scaled as if it fell with the number, then
give a standard error that is √3 = 1.73 times too large; so does a bootstrap, whose images are
moreover each other's nearest neighbours; a jackknife gives √2 times too much (Efron and Stein,
Annals of Statistics 9(3), 1981).

Here the variance is measured at two sizes, from parts that share no image: parts are samples as
good as the whole, only smaller. Images are dealt into quarters. Four quarters show the variance at
n / 4, and the three ways to join them into two halves that at n / 2. A variance A/n + B/n², linear
and quadratic in chance, is 2A/n + 4B/n² at n / 2 and 4A/n + 16B/n² at n / 4: three quarters of the
first less an eighth of the second are what it is at n. (Subsampling with a rate that is estimated:
Bertail, Politis and Romano, JASA 94, 1999.)
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from capsynth.errors import CapsynthError

Doubles = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer]
Strings = npt.NDArray[np.str_]
Score = Callable[[Integers, Integers], Sequence[float]]

HALVES = (((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2)))


def standard_errors(
    score: Score,
    groups: tuple[Strings, Strings],
    class_ids: tuple[Strings, Strings],
    draws: int = 5,
    seed: int = 0,
    paired: bool = False,
) -> list[float]:
    """Return the standard error of each number of ``score``.

    Args:
        score: Returns numbers of some images of the first set and some of the second, given by
            their places, shapes (at most n,) and (at most m,).
        groups: Of every image of each set, shapes (n,) and (m,), the group it is drawn in: images
            of one group stay together, such as synthetic images of one source.
        class_ids: Its class: the classes stay as large as they are.
        draws: How often images are dealt into quarters. Each takes ten calls of ``score``, six with
            half and four with a quarter of the images.
        seed: Seed of the deals.
        paired: Whether equal groups of both sets stay together.

    Returns:
        The standard errors; NaN where a quarter of the images has no number.

    Raises:
        CapsynthError: If there is no draw.
    """
    if draws < 1:
        raise CapsynthError(f"{draws} draws have no spread; ask for at least 1")
    rng = np.random.default_rng(seed)
    at_quarter, at_half = [], []
    for _ in range(draws):
        first = _quarters(groups[0], class_ids[0], rng)
        second = _quarters(groups[1], class_ids[1], rng, groups[0] if paired else None, first)
        quarters = [_score(score, (part,), first, second) for part in range(4)]
        at_quarter.append(np.var(quarters, axis=0, ddof=1))
        halves = [[_score(score, parts, first, second) for parts in pair] for pair in HALVES]
        at_half.append(np.mean([np.square(a - b) / 2 for a, b in halves], axis=0))
    half, quarter = np.mean(at_half, axis=0), np.mean(at_quarter, axis=0)
    # By chance it may seem to fall faster than with the square: up to the cube it is believed.
    return np.sqrt(np.maximum(0.75 * half - quarter / 8, half / 8)).tolist()


def _score(score: Score, parts: tuple[int, ...], first: Integers, second: Integers) -> Doubles:
    is_in = np.isin(np.arange(4), parts)
    places = [np.flatnonzero(is_in[labels]) for labels in (first, second)]
    return np.array(score(*places), dtype=np.float64)


def _quarters(
    groups: Strings,
    class_ids: Strings,
    rng: np.random.Generator,
    known: Strings | None = None,
    labels: Integers | None = None,
) -> Integers:
    """Return a quarter, 0 to 3, of every image: of all and of each class a fourth, up to one group.

    Args:
        groups: Shape (n,); all images of a group get one quarter.
        class_ids: Shape (n,).
        rng: What deals them.
        known: Groups that have a quarter already, shape (m,).
        labels: Their quarters, shape (m,).
    """
    names, firsts, inverse = np.unique(groups, return_index=True, return_inverse=True)
    order = np.lexsort((rng.random(len(names)), class_ids[firsts]))
    deals = rng.permuted(np.tile(np.arange(4), (-(-len(names) // 4), 1)), axis=1)
    quarters = np.empty(len(names), dtype=np.int64)
    quarters[order] = deals.ravel()[: len(names)]
    if known is not None and labels is not None:
        dealt = dict(zip(known.tolist(), labels.tolist(), strict=True))
        quarters = np.array([dealt.get(n, q) for n, q in zip(names, quarters, strict=True)], int)
    return np.asarray(quarters[inverse])
