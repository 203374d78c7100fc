"""Choosing tokens: exact sampling, row by row."""

import pytest
import torch

from capsynth.decoding import Decoding, RowSampler, filled_up, nucleus
from capsynth.errors import CapsynthError


def drawn(scores: torch.Tensor, seeds: range, temperature: float, top_p: float) -> torch.Tensor:
    sampler = RowSampler(seeds, temperature, top_p)
    return sampler(torch.zeros(len(scores), 1), scores).argmax(-1)


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (2.0, 0.7)])
def test_tokens_are_drawn_as_often_as_they_are_likely(temperature: float, top_p: float) -> None:
    n = 20_000
    scores = torch.tensor([2.0, -1.0, 0.5, float("-inf"), 1.0])
    odds = (scores / temperature).softmax(-1)[None].double()
    expected = nucleus(odds, top_p)[0] if top_p < 1 else odds[0]
    expected = expected / expected.sum()
    counts = drawn(scores.repeat(n, 1), range(n), temperature, top_p).bincount(minlength=5)
    # Four standard deviations of a binomial share, at most.
    assert torch.allclose(counts / n, expected.float(), atol=4 * 0.5 / n**0.5)
    assert counts[expected == 0].sum() == 0


def test_a_row_depends_on_its_own_seed_alone() -> None:
    scores = torch.randn(6, 50, generator=torch.Generator().manual_seed(0))
    together = [drawn(scores, range(6), 1.0, 0.9) for _ in range(2)]
    alone = [drawn(scores[i : i + 1], range(i, i + 1), 1.0, 0.9).item() for i in range(6)]
    assert together[0].tolist() == together[1].tolist() == alone


def test_successive_draws_of_a_row_are_different() -> None:
    sampler = RowSampler([1], 1.0, 1.0)
    flat = torch.zeros(1, 1000)
    assert len({sampler(flat, flat).argmax().item() for _ in range(20)}) > 15


def test_the_nucleus_is_the_smallest_set_that_reaches_top_p() -> None:
    odds = torch.tensor([[0.1, 0.5, 0.3, 0.1]], dtype=torch.float64)
    assert nucleus(odds, 0.4).tolist() == [[0, 0.5, 0, 0]]
    assert nucleus(odds, 0.6).tolist() == [[0, 0.5, 0.3, 0]]
    # Of tokens that are equally likely the first in the vocabulary comes first.
    assert nucleus(odds, 0.85).tolist() == [[0.1, 0.5, 0.3, 0]]


def test_sampling_and_beams_are_refused_together() -> None:
    with pytest.raises(
        CapsynthError, match=r"temperature: sampling .* num_beams 4; use num_beams 1"
    ):
        Decoding(max_new_tokens=5, num_beams=4, temperature=1.0)


def test_short_batches_are_filled_up_with_their_last() -> None:
    assert filled_up("ab", 4) == ["a", "b", "b", "b"]
