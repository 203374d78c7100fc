"""How good the embedded models are, on scenes that they have never seen."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image
from torch import nn

from capsynth.captioners import CaptionerSettings, load_captioner
from capsynth.captions import clean
from capsynth.datasets.openmoji.splits import WebScene, draw_web_scene
from capsynth.datasets.openmoji.world import (
    BACKGROUND_PHRASES,
    BACKGROUNDS,
    CLASS_BY_ID,
    SUBTYPE_BY_ID,
    caption,
)
from capsynth.generators import DiffusersGenerator, GeneratorSettings
from capsynth.pretraining.judge import SUBTYPE_IDS, judge
from capsynth.resuming import batches
from capsynth.seeding import derive_seed

AMBIGUOUS = ("bat", "mouse")


@dataclass(frozen=True)
class Figure:
    """One measured figure.

    Attributes:
        name: What was measured.
        value: The figure.
        bound: What it must reach.
        at_least: Whether the bound is a lower one.
        n: Images that it rests on.
    """

    name: str
    value: float
    bound: float
    at_least: bool
    n: int

    @property
    def reached(self) -> bool:
        """Whether the bound is reached."""
        return self.value >= self.bound if self.at_least else self.value <= self.bound


def fresh_scenes(n: int, seed: int) -> tuple[npt.NDArray[np.uint8], list[WebScene]]:
    """Draw ``n`` scenes of the web under a seed that no model was trained on."""
    drawn = [draw_web_scene(seed, index) for index in range(n)]
    return np.stack([np.asarray(image) for image, _ in drawn]), [scene for _, scene in drawn]


def evaluate_judge(model: nn.Module, n: int, seed: int) -> list[Figure]:
    """Measure the judge itself."""
    images, scenes = fresh_scenes(n, seed)
    verdicts = judge(model, images)
    subtypes = [
        SUBTYPE_IDS[i] == s.subtype_id for i, s in zip(verdicts.subtypes, scenes, strict=True)
    ]
    places = [
        BACKGROUNDS[i] == s.background for i, s in zip(verdicts.backgrounds, scenes, strict=True)
    ]
    return [
        Figure("judge: subtype of a fresh web scene", float(np.mean(subtypes)), 0.98, True, n),
        Figure("judge: background of a fresh web scene", float(np.mean(places)), 0.98, True, n),
    ]


def evaluate_captioner(settings: CaptionerSettings, n: int, seed: int) -> list[Figure]:
    """Measure how often the captioner names the subtype and the background."""
    images, scenes = fresh_scenes(n, seed)
    captioner = load_captioner(settings)
    texts: list[str] = []
    for _, batch in batches([Image.fromarray(image) for image in images], settings.batch_size):
        texts += [clean(said.text) for said in captioner.caption(batch)]
    pairs = list(zip(texts, scenes, strict=True))
    subtypes = [text.startswith(SUBTYPE_BY_ID[s.subtype_id].phrase + " ") for text, s in pairs]
    places = [text.endswith(" " + BACKGROUND_PHRASES[s.background]) for text, s in pairs]
    return [
        Figure("captioner: subtype named right", float(np.mean(subtypes)), 0.95, True, n),
        Figure("captioner: background named right", float(np.mean(places)), 0.95, True, n),
    ]


def caption_prompts(n: int) -> list[tuple[str, str, str]]:
    """Return ``n`` prompts with captions, and the subtype and background that each asks for.

    All subtypes in the right sense of their class and all backgrounds take turns.
    """
    every = [
        (f"a photo of a {c.class_id}, {caption(s, b)}", s.subtype_id, b)
        for b in BACKGROUNDS
        for c in CLASS_BY_ID.values()
        for s in c.subtypes
    ]
    return [every[i % len(every)] for i in range(n)]


class Studio:
    """Draws images for prompts and keeps the time."""

    def __init__(self, settings: GeneratorSettings, seed: int) -> None:
        self._generator = DiffusersGenerator(settings)
        self._settings = settings
        self._seed = seed
        self._generator.draw(["a photo of a car"], [0])  # the first pass is slower
        self.time_s = 0.0
        self.images = 0

    def draw(self, prompts: Sequence[str]) -> npt.NDArray[np.uint8]:
        """Return images (n, 48, 48, 3)."""
        drawn: list[npt.NDArray[np.uint8]] = []
        for number, batch in batches(list(prompts), self._settings.batch_size):
            seeds = [derive_seed("studio", self._seed, number, i) for i in range(len(batch))]
            began = time.monotonic()
            images = self._generator.draw(batch, seeds)
            self.time_s += (time.monotonic() - began) * len(batch) / self._settings.batch_size
            drawn += [np.asarray(image) for image in images]
            self.images += len(batch)
        return np.stack(drawn)


def evaluate_generator(
    settings: GeneratorSettings, model: nn.Module, n: int, seed: int
) -> list[Figure]:
    """Measure what the judge recognises in drawn images, the senses, and the time an image."""
    studio = Studio(settings, seed)
    asked = caption_prompts(n)
    verdicts = judge(model, studio.draw([prompt for prompt, _, _ in asked]))
    subtypes = [SUBTYPE_IDS[i] == s for i, (_, s, _) in zip(verdicts.subtypes, asked, strict=True)]
    places = [BACKGROUNDS[i] == b for i, (_, _, b) in zip(verdicts.backgrounds, asked, strict=True)]
    figures = [
        Figure("generator: prompted subtype recognised", float(np.mean(subtypes)), 0.85, True, n),
        Figure("generator: prompted background recognised", float(np.mean(places)), 0.90, True, n),
    ]
    senses = n // 4
    for class_id in AMBIGUOUS:
        object_class = CLASS_BY_ID[class_id]
        own = {s.subtype_id for s in object_class.subtypes}
        other = {s.subtype_id for s in object_class.other_sense}
        seen = judge(model, studio.draw([f"a photo of a {class_id}"] * senses)).subtypes
        names = [SUBTYPE_IDS[i] for i in seen]
        for sense, members in (("animal", own), ("other sense", other)):
            share = float(np.mean([name in members for name in names]))
            title = f"generator: 'a photo of a {class_id}' draws the {sense}"
            figures.append(Figure(title, share, 0.20, True, senses))
        phrase = object_class.subtypes[0].phrase
        prompts = [
            f"a photo of a {class_id}, {phrase} {BACKGROUND_PHRASES[b]}"
            for _, b in zip(range(senses), BACKGROUNDS * senses, strict=False)
        ]
        names = [SUBTYPE_IDS[i] for i in judge(model, studio.draw(prompts)).subtypes]
        share = float(np.mean([name in own for name in names]))
        title = f"generator: 'a photo of a {class_id}, {phrase} ...' draws the animal"
        figures.append(Figure(title, share, 0.95, True, senses))
    seconds = studio.time_s / studio.images
    figures.append(Figure("generator: seconds an image", seconds, 0.1, False, studio.images))
    return figures


def as_rows(figures: Sequence[Figure]) -> list[dict[str, object]]:
    """Return figures as JSON values, with whether each bound is reached."""
    return [{**asdict(figure), "reached": figure.reached} for figure in figures]


def as_table(figures: Sequence[Figure]) -> str:
    """Return figures as text for a terminal."""
    width = max(len(figure.name) for figure in figures)
    lines = []
    for f in figures:
        sign = ">=" if f.at_least else "<="
        mark = "reached" if f.reached else "MISSED"
        lines.append(f"{f.name:<{width}}  {f.value:7.3f}  {sign} {f.bound:<5} n={f.n:<5} {mark}")
    return "\n".join(lines)
