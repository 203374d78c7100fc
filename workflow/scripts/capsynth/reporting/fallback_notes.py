"""What a reader of scores has to know of the prompts behind them: how many fell back."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from capsynth.fallbacks import REASONS, told
from capsynth.prompt_statistics import read_prompts
from capsynth.prompting import DROPPED


def fallback_notes(
    prompts: Mapping[str, Sequence[Path]], training_sets: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """Yield a sentence on each variant of which prompts fell back.

    Args:
        prompts: Files of prompts by variant.
        training_sets: Variants that each training set holds images of, by its name.
    """
    for variant, paths in prompts.items():
        reasons: Counter[str] = Counter()
        drawn = 0
        for record in read_prompts(paths):
            drawn += record.status != DROPPED
            if record.fell_back is not None and record.status != DROPPED:
                reasons[record.fell_back] += 1
        lost = sum(reasons[reason] for reason in REASONS)
        if lost:
            holders = [name for name, held in training_sets.items() if variant in held]
            yield (
                f"Of the {drawn:,} prompts of variant {variant}, {lost:,} ({lost / drawn:.1%}) "
                f"fell back, as their captions are {told(reasons)}: their images, in training set "
                f"{', '.join(holders)}, are not those of the prompts that the variant is named for."
            )
