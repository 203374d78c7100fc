"""The captioned web as arrays on disk."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from capsynth.datasets.openmoji.splits import IMAGE_SIDE, WebScene, draw_web_scene
from capsynth.files import atomic_path, read_json_lines, write_json_lines

CHUNK = 500


@dataclass(frozen=True)
class Web:
    """Captioned scenes.

    Attributes:
        images: uint8 array of shape (scenes, side, side, 3), read from disk as needed.
        scenes: What each image shows and what is said of it.
    """

    images: npt.NDArray[np.uint8]
    scenes: list[WebScene]


def _draw_chunk(job: tuple[int, int, int]) -> tuple[npt.NDArray[np.uint8], list[WebScene]]:
    seed, start, stop = job
    drawn = [draw_web_scene(seed, index) for index in range(start, stop)]
    return np.stack([np.asarray(image) for image, _ in drawn]), [scene for _, scene in drawn]


def render_web(folder: Path, scenes: int, seed: int, processes: int) -> None:
    """Draw ``scenes`` captioned scenes into ``folder`` (``images.npy``, ``scenes.jsonl``)."""
    folder.mkdir(parents=True, exist_ok=True)
    jobs = [(seed, start, min(start + CHUNK, scenes)) for start in range(0, scenes, CHUNK)]
    records: list[WebScene] = []
    with atomic_path(folder / "images.npy") as temporary:
        shape = (scenes, IMAGE_SIDE, IMAGE_SIDE, 3)
        array = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
        with ProcessPoolExecutor(processes) as pool:
            for images, chunk in pool.map(_draw_chunk, jobs):
                array[len(records) : len(records) + len(chunk)] = images
                records += chunk
        array.flush()
        del array
    write_json_lines(folder / "scenes.jsonl", (asdict(record) for record in records))


def read_web(folder: Path) -> Web:
    """Read what ``render_web`` wrote."""
    images = np.load(folder / "images.npy", mmap_mode="r")
    scenes = [WebScene(**row) for row in read_json_lines(folder / "scenes.jsonl")]
    return Web(images, scenes)
