"""Exporting a variant as a data set folder that can be published.

The folder holds the images as WebDataset tars, a manifest of all samples, a card and checksums. It
says nothing of the machine it was made on: models are named by their hub identifier or by the name
of their folder, images by their keys, and an image that carries metadata is refused. The same
variant gives the same bytes.
"""

import contextlib
import hashlib
import io
import os
import re
import shutil
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from capsynth.errors import CapsynthError
from capsynth.fetching.locks import read_stamp
from capsynth.files import dump_json, flush_folder, read_json_lines, set_mode
from capsynth.fingerprints import file_digest
from capsynth.parquet import write_parquet
from capsynth.seeding import derive_seed
from capsynth.shards import OK, ShardReader, ShardRecord, read_manifest, usable
from capsynth.source_images import is_bare

README, MANIFEST, SUMS = "README.md", "manifest.parquet", "SHA256SUMS"
# The card has a row a class up to so many.
MOST_CLASS_ROWS = 100
OPENMOJI_LICENSE = "cc-by-sa-4.0"
OPENMOJI_ATTRIBUTION = (
    "The captioned images, and those that the embedded models learned from, are made from "
    "[OpenMoji](https://openmoji.org) 17: all emojis designed by OpenMoji, the open-source emoji "
    "and icon project, licence [CC BY-SA 4.0](https://creativecommons.org/licenses/by-sa/4.0/)."
)
# The hub's size classes: https://github.com/huggingface/hub-docs/blob/main/datasetcard.md
SIZE_CLASSES = (
    (10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"),
    (10**7, "1M<n<10M"), (10**8, "10M<n<100M"),
)  # fmt: skip


@dataclass(frozen=True)
class ModelSource:
    """A model that had a part in the images.

    Attributes:
        role: What it did, in words.
        name: Hub identifier, or the name of its folder.
        mark: Name of the weights of a local folder, None for a model of the hub.
        path: Where it lies; a model of the hub has a stamp beside it.
        settings: What it was told.
    """

    role: str
    name: str
    mark: str | None
    path: str
    settings: Mapping[str, Any]

    def revision(self) -> str:
        """Return what names the weights: the commit, or the mark of a local folder."""
        return f"local, weights {self.mark}" if self.mark else str(self._stamp()["revision"])

    def license(self) -> str:
        """Return the licence that the hub, or the card of a local folder, states."""
        about = front_matter(Path(self.path) / README) if self.mark else self._stamp()
        return str(about.get("license") or "not stated")

    def _stamp(self) -> dict[str, Any]:
        return read_stamp(Path(f"{self.path}.json"))


def front_matter(card: Path) -> dict[str, Any]:
    """Return the YAML front matter of a card; {} if there is no card or none in it."""
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    parts = text.split("---\n", 2)
    found = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0] else None
    return found if isinstance(found, dict) else {}


@dataclass(frozen=True)
class ExportSettings:
    """What a card says and how a data set is cut.

    Attributes:
        dataset: Name of the real data set.
        variant: Name of the variant.
        source: Where the real images came from: ``openmoji``, ``folder`` …
        classes: Pairs of identifier and name, in the order of the class indices.
        prompts: Strategy, templates and the other settings that prompts were written with.
        generator: Settings that images were drawn with, without paths.
        models: ``ModelSource`` as mappings: the generator first, then what wrote the captions.
        images_per_shard: Images of a tar at most.
        license: Licence identifier of the hub, None if none was given.
        attribution: Who is to be named, Markdown; None if nobody was given.
    """

    dataset: str
    variant: str
    source: str
    classes: tuple[Sequence[str], ...]
    prompts: Mapping[str, Any]
    generator: Mapping[str, Any]
    models: tuple[Mapping[str, Any], ...]
    images_per_shard: int
    license: str | None
    attribution: str | None

    @property
    def class_names(self) -> dict[str, str]:
        """The names of the classes by identifier, in the order of the class indices."""
        return {class_id: class_name for class_id, class_name in self.classes}


@dataclass(frozen=True)
class ShardSources:
    """Where a synthetic shard and its prompts lie."""

    tar: Path
    manifest: Path
    prompts: Path


def export_variant(
    settings: ExportSettings, shards: Sequence[ShardSources], folder: Path
) -> dict[str, int]:
    """Write a variant as a data set folder, all of it or nothing; return its counts.

    Args:
        settings: What the card says and how the tars are cut.
        shards: The variant's shards.
        folder: The folder to write; one that exists is replaced.

    Returns:
        Prompts, images, rejected samples and tars.

    Raises:
        CapsynthError: If no image is usable, or one carries metadata, or manifests do not fit.
    """
    places: dict[str, tuple[ShardRecord, Path]] = {}
    prompt_status: dict[str, str] = {}
    for shard in shards:
        for record in read_manifest(shard.manifest):
            places[record.key] = (record, shard.tar)
        prompt_status |= {row["key"]: row["status"] for row in read_json_lines(shard.prompts)}
    records = sorted((r for r, _ in places.values()), key=lambda r: (r.class_index, r.key))
    ids = list(settings.class_names)
    for record in records:
        if ids[record.class_index : record.class_index + 1] != [record.class_id]:
            raise CapsynthError(
                f"{record.key!r} has the class index {record.class_index}, which is not that of "
                f"{record.class_id!r}; draw it again"
            )
    if lacking := [record.key for record in records if record.key not in prompt_status]:
        raise CapsynthError(f"{lacking[0]!r} has no prompt; run write_prompts and draw it again")
    images = _shuffled(usable(records), settings)
    if not images:
        raise CapsynthError(f"variant {settings.variant!r} has no usable image to export")
    size = settings.images_per_shard
    cuts = [images[i : i + size] for i in range(0, len(images), size)]
    tar_of: dict[str, str] = {}
    with atomic_folder(folder) as temporary:
        (temporary / "data").mkdir()
        for number, cut in enumerate(cuts):
            name = f"data/train-{number:05d}.tar"
            _write_tar(temporary / name, cut, {k: tar for k, (_, tar) in places.items()}, settings)
            tar_of |= {record.key: name for record in cut}
        _write_manifest(temporary / MANIFEST, records, prompt_status, tar_of, settings)
        card = card_text(settings, records, prompt_status, len(cuts))
        (temporary / README).write_text(card, encoding="utf-8", newline="\n")
        _write_sums(temporary)
    return {
        "prompts": len(records),
        "images": len(images),
        "rejected": len(records) - len(images),
        "tars": len(cuts),
    }


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path`` that takes its place if the block succeeds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    replaced = temporary.with_suffix(".old")
    try:
        yield temporary
        flush_folder(temporary)
        set_mode(temporary, 0o777)
        if path.exists():
            os.replace(path, replaced)
        os.replace(temporary, path)
    finally:
        for leftover in (temporary, replaced):
            shutil.rmtree(leftover, ignore_errors=True)


def _shuffled(records: Iterable[ShardRecord], settings: ExportSettings) -> list[ShardRecord]:
    """Return the records in an order that mixes classes: each tar is a sample of the whole."""
    place = ("export", settings.dataset, settings.variant)
    return sorted(records, key=lambda record: derive_seed(*place, record.key))


def _write_tar(
    path: Path, records: Sequence[ShardRecord], tars: Mapping[str, Path], settings: ExportSettings
) -> None:
    """Write a WebDataset tar: an image, its class index and what is known of it for each key."""
    members: set[str] = set()
    class_names = settings.class_names
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for record in records:
            with ShardReader(tars[record.key]) as reader:
                image = reader.read_bytes(record, check=False)  # _check_image does
            _check_image(tars[record.key], record, image)
            # WebDataset takes what follows the first dot for the kind of a member.
            name = record.key.replace(".", "_")
            if name in members:
                raise CapsynthError(f"two keys are {name!r} without their dots; rename one class")
            members.add(name)
            about = {
                "key": record.key,
                "class_id": record.class_id,
                "class_name": class_names[record.class_id],
                "prompt": record.prompt,
                "source_key": record.source_key,
                "seed": record.seed,
            }
            _add(tar, f"{name}.{record.extension}", image)
            _add(tar, f"{name}.json", dump_json(about).encode())
            _add(tar, f"{name}.cls", str(record.class_index).encode())


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Append a member with constant headers."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    info.mode = 0o644
    tar.addfile(info, io.BytesIO(data))


def _check_image(tar: Path, record: ShardRecord, data: bytes) -> None:
    """Raise CapsynthError if an image is not what its record says, or carries metadata."""
    if hashlib.sha256(data).hexdigest() != record.sha256:
        raise CapsynthError(
            f"{tar}: {record.key!r} is not what its manifest says; delete the tar and run the same "
            "command again, which draws it anew"
        )
    if not is_bare(data):
        raise CapsynthError(
            f"{record.key!r} carries metadata, which may tell of a person or a machine; "
            "draw it again"
        )


def _write_manifest(
    path: Path,
    records: Sequence[ShardRecord],
    prompt_status: Mapping[str, str],
    tar_of: Mapping[str, str],
    settings: ExportSettings,
) -> None:
    """Write one row a sample, rejected ones included, sorted by class and key."""
    generator, names = dump_json(settings.generator), settings.class_names
    columns = {
        "key": pa.array([r.key for r in records], pa.string()),
        "class_id": pa.array([r.class_id for r in records], pa.string()),
        "class_name": pa.array([names[r.class_id] for r in records], pa.string()),
        "class_index": pa.array([r.class_index for r in records], pa.int64()),
        "index": pa.array([r.index for r in records], pa.int64()),
        "status": pa.array([r.status for r in records], pa.string()),
        "reason": pa.array([r.reason for r in records], pa.string()),
        "prompt": pa.array([r.prompt for r in records], pa.string()),
        "prompt_status": pa.array([prompt_status[r.key] for r in records], pa.string()),
        "prompt_tokens_over": pa.array([r.prompt_tokens_over for r in records], pa.int64()),
        "source_key": pa.array([r.source_key for r in records], pa.string()),
        "seed": pa.array([r.seed for r in records], pa.int64()),
        "attempts": pa.array([r.attempts for r in records], pa.int64()),
        "sha256": pa.array([r.sha256 for r in records], pa.string()),
        "fingerprint": pa.array([r.fingerprint for r in records], pa.string()),
        "tar": pa.array([tar_of.get(r.key) for r in records], pa.string()),
        "generator_settings": pa.array([generator] * len(records), pa.string()),
    }
    write_parquet(path, pa.table(columns))


def _write_sums(folder: Path) -> None:
    """Write the checksum of every file, as ``sha256sum --check`` reads them."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    lines = [f"{file_digest(path)}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8", newline="\n")


# ---- the card -----------------------------------------------------------------------------------


def size_class(n: int) -> str:
    """Return the hub's name for the size of a data set."""
    return next((name for bound, name in SIZE_CLASSES if n < bound), "n>100M")


def card_text(
    settings: ExportSettings,
    records: Sequence[ShardRecord],
    prompt_status: Mapping[str, str],
    tars: int,
) -> str:
    """Return the data set card: YAML front matter, then Markdown."""
    images = usable(records)
    is_openmoji = settings.source == "openmoji"
    licence = settings.license or (OPENMOJI_LICENSE if is_openmoji else "unknown")
    name = f"{settings.dataset}-{settings.variant}"
    front = {
        "license": licence,
        "pretty_name": name,
        "task_categories": ["image-classification"],
        "size_categories": [size_class(len(images))],
        "tags": ["synthetic", "webdataset", "text-to-image"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": "train", "path": "data/train-*.tar"}],
            }
        ],
    }
    parts = [
        f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n",
        f"# {name}\n",
        f"{len(images):,} synthetic images of {len(settings.class_names)} classes, drawn by a "
        f"text-to-image model for the data set {settings.dataset} and made with capsynth: variant "
        f"`{settings.variant}`. The label of an image is the class that its prompt names.\n",
        _files_section(tars),
        _prompts_section(settings, records, prompt_status),
        _models_section(settings),
        _counts_section(settings, records, prompt_status),
        _limits_section(settings),
        _licence_section(settings, licence, is_openmoji),
    ]
    return "\n".join(parts)


def _files_section(tars: int) -> str:
    last = f"{{00000..{tars - 1:05d}}}" if tars > 1 else "00000"
    return f"""## Files

- `data/train-*.tar`: WebDataset tars. A sample is an image, `.cls` with the index of its class,
  and `.json` with key, class, prompt, seed and the key of the real image whose caption was used.
  Samples are shuffled over the tars by a fixed hash of their keys.
- `{MANIFEST}`: a row a sample, rejected ones included: key, class, status and reason, prompt,
  key of the captioned image, seed, generator settings, SHA-256 of the image and its tar.
- `{SUMS}`: checksums of all files, for `sha256sum --check {SUMS}`.

```python
from datasets import load_dataset
images = load_dataset("path/of/this/folder", split="train")

import webdataset
images = webdataset.WebDataset("data/train-{last}.tar", shardshuffle=False).decode("pil")

import pandas
manifest = pandas.read_parquet("{MANIFEST}")
```
"""


def _code(text: object) -> str:
    """Return text as Markdown code on one line, whatever backticks and bars it holds."""
    words = " ".join(str(text).split()).replace("|", "\\|")
    longest = max((len(ticks) for ticks in re.findall("`+", words)), default=0)
    if not longest:
        return f"`{words}`"
    return f"{'`' * (longest + 1)} {words} {'`' * (longest + 1)}"


def _prompts_section(
    settings: ExportSettings, records: Sequence[ShardRecord], prompt_status: Mapping[str, str]
) -> str:
    prompts = settings.prompts
    lines = ["## Prompts", "", f"Strategy `{prompts['strategy']}`. Templates:", ""]
    lines += [f"- {_code(template)}" for template in prompts["templates"]]
    if prompts["backgrounds"]:
        listed = ", ".join(map(_code, prompts["backgrounds"]))
        lines += ["", f"`{{background}}` is in turn {listed}."]
    with_caption = any(record.source_key for record in records)
    lines += [
        "",
        (
            "`{caption}` is the caption of a real image, named by `source_key`. "
            f"Images a caption: {prompts['images_per_caption']:g}. Captions without a word of the "
            f"class name: {prompts['on_classless']}."
            if with_caption
            else "No captions were used. Images a class: "
            f"{prompts['images_per_class'] or 'as many as it has real ones'}."
        ),
        f"Generation seed {prompts['seed']}; the initial noise of an image follows from its class, "
        "its index and this seed, and stands in `seed`.",
        "",
        "Examples, the first by key of some classes:",
        "",
    ]
    firsts: dict[str, str] = {}
    for record in usable(records):
        if record.prompt is not None:
            firsts.setdefault(record.class_id, record.prompt)
    lines += [f"- {_code(prompt)}" for prompt in list(firsts.values())[:5]]
    return "\n".join(lines) + "\n"


def _models_section(settings: ExportSettings) -> str:
    lines = ["## Models", "", "| part | model | revision | licence |", "|---|---|---|---|"]
    told = []
    for values in settings.models:
        model = ModelSource(**values)
        lines.append(
            f"| {model.role} | {_code(model.name)} | {model.revision()} | {model.license()} |"
        )
        told += ["", f"Settings of the {model.role}:", "", *_settings_rows(model.settings)]
    return "\n".join([*lines, *told]) + "\n"


def _settings_rows(settings: Mapping[str, Any]) -> list[str]:
    return [
        f"- `{name}`: {_code(dump_json(value))}"
        for name, value in sorted(settings.items())
        if value is not None
    ]


def _counts_section(
    settings: ExportSettings, records: Sequence[ShardRecord], prompt_status: Mapping[str, str]
) -> str:
    checker = settings.generator.get("safety_checker", "off")
    retries = settings.generator.get("safety_retries", 0)
    images = usable(records)
    reasons = Counter(
        record.reason or "no reason given" for record in records if record.status != OK
    )
    fallbacks = sum(prompt_status[record.key] == "fallback" for record in records)
    cut = sum(bool(record.prompt_tokens_over) for record in images)
    lines = [
        "## Filters and counts",
        "",
        f"Safety checker: {checker}. Images of one colour or not finite are drawn again, at most "
        f"{retries} times, and then rejected. No image was chosen or left out for how it looks or "
        "for how a classifier sees it.",
        "",
        "| what | number |",
        "|---|---:|",
        f"| prompts | {len(records)} |",
        f"| images | {len(images)} |",
        f"| rejected | {len(records) - len(images)} |",
        *(f"| rejected: {_code(reason)} | {n} |" for reason, n in sorted(reasons.items())),
        f"| prompts without their caption, the class name alone | {fallbacks} |",
        f"| images whose prompt was longer than the generator reads | {cut} |",
        "",
    ]
    by_class = Counter(record.class_id for record in images)
    numbers = [by_class[class_id] for class_id in settings.class_names]
    if len(numbers) > MOST_CLASS_ROWS:
        lines.append(f"Images a class: {min(numbers)} to {max(numbers)}.")
    else:
        lines += ["| index | class | name | images |", "|---:|---|---|---:|"]
        lines += [
            f"| {i} | {_code(class_id)} | {_code(class_name)} | {by_class[class_id]} |"
            for i, (class_id, class_name) in enumerate(settings.class_names.items())
        ]
    return "\n".join(lines) + "\n"


def _limits_section(settings: ExportSettings) -> str:
    return """## Known limits

- Labels were not checked: an image may show another sense of the class name, or something else.
- The images have the biases of the generator and of what it learned from and, where captions were
  used, those of the captioner and of the captioned images: their backgrounds, company and gaps.
- A generator may repeat images that it learned from. Whether it did was not examined here.
- Prompts may hold captions of real images, which may describe persons. The real images are not
  included.
- Accuracy of a classifier trained on these images says nothing of images of other kinds.
"""


def _licence_section(settings: ExportSettings, licence: str, is_openmoji: bool) -> str:
    lines = ["## Licence and attribution", ""]
    if licence == "unknown":
        lines.append(
            "No licence was stated (`export.license`). The licences of the models and of the "
            "captioned images apply; ask before you use these images."
        )
    else:
        lines.append(f"Licence: {licence}.")
    if settings.attribution:
        lines += ["", settings.attribution]
    if is_openmoji:
        lines += ["", OPENMOJI_ATTRIBUTION]
    lines += [
        "",
        "The method is that of [Image Captions are Natural Prompts for Text-to-Image "
        "Models](https://arxiv.org/abs/2307.08526).",
    ]
    return "\n".join(lines) + "\n"
