"""From a number in a table to the images behind it, and to the runs and jobs that made each file.

Everything is read from the working directory: artefacts, and the records of runs (``provenance``).
The records are needed for what no artefact says of itself: the mixture of a training set, and
where the images of the data set came from. Fingerprints say whether the files that lie there now
are those that the result was made from.
"""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from capsynth.errors import CapsynthError
from capsynth.files import atomic_path, dump_json, read_json, read_json_lines
from capsynth.fingerprints import file_digest, files_digest, fingerprint
from capsynth.names import check_name
from capsynth.provenance import Job, read_run, run_names
from capsynth.recipes import NEUTRAL
from capsynth.run_history import read_history
from capsynth.shards import ShardReader, ShardRecord, read_manifest, shard_name
from capsynth.shares import Share, share_of

RESULTS = Path("results")
SCORES = RESULTS / "scores.csv"


@dataclass(frozen=True)
class Result:
    """Names of one run on one evaluation set.

    Attributes:
        dataset: Name of the data set.
        training_set: Name of the training set.
        recipe: Name of the recipe.
        seed: Training seed.
        eval_set: Name of the evaluation set.
    """

    dataset: str
    training_set: str
    recipe: str
    seed: int
    eval_set: str

    @property
    def predictions(self) -> Path:
        """Where the predictions lie."""
        run = f"{self.training_set}/{self.recipe}/seed{self.seed}"
        return RESULTS / self.dataset / "predictions" / run / f"{self.eval_set}.parquet"

    @property
    def checkpoint(self) -> Path:
        """Where the classifier lies."""
        run = f"{self.training_set}/{self.recipe}/seed{self.seed}"
        return RESULTS / self.dataset / "checkpoints" / f"{run}.safetensors"


@dataclass
class Makers:
    """Which run and job made a file.

    Attributes:
        jobs: The runs and jobs that made a file, the latest last, by the file's path.
        damaged: What is wrong with a record that is left out, by the run's name.
    """

    jobs: dict[str, list[tuple[str, Job]]] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls) -> "Makers":
        """Read the records of all runs that can be read."""
        makers = cls()
        history = read_history()
        makers.damaged = history.damaged
        for run, jobs, _ in history.runs:
            for job in jobs:
                if job.done:
                    for output in job.outputs:
                        makers.jobs.setdefault(output, []).append((run, job))
        return makers

    def run_of(self, path: Path) -> str | None:
        """Return the run that made a file, None if no record tells."""
        found = self.jobs.get(str(path))
        return found[-1][0] if found else None

    def describe(self, path: Path) -> str:
        """Say in one line what made a file."""
        found = self.jobs.get(str(path))
        if not found:
            return "no record tells which run made it"
        run, job = found[-1]
        words = [f"{job.rule} in run {run}"]
        if job.host is not None:
            words.append(f"on {job.host}")
        if job.slurm_job_id is not None:
            words.append(f"as SLURM job {job.slurm_job_id}")
        if job.wall_s is not None:
            words.append(f"in {job.wall_s} s with {job.peak_memory_mb} MB")
        if len(found) > 1:
            words.append(f"(and before in {', '.join(dict.fromkeys(r for r, _ in found[:-1]))})")
        return " ".join(words)


@dataclass(frozen=True)
class FoundImage:
    """An image of the chain.

    Attributes:
        name: What it is called when it is extracted.
        tar: The shard that holds it.
        record: Its place there.
    """

    name: str
    tar: Path
    record: ShardRecord


def find_result(
    dataset: str | None, training_set: str, recipe: str, seed: int, eval_set: str
) -> Result:
    """Return the one result of these names; the data set is found if it is not named.

    Raises:
        CapsynthError: If there is none, or several data sets have one.
    """
    datasets = sorted(path.parent.name for path in RESULTS.glob("*/predictions"))
    named = [dataset] if dataset else datasets
    results = [Result(name, training_set, recipe, seed, eval_set) for name in named]
    found = [result for result in results if result.predictions.exists()]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(result.dataset for result in found)
        raise CapsynthError(f"several data sets have this result: {names}; name one: --dataset")
    wanted = Result(dataset or "*", training_set, recipe, seed, eval_set).predictions
    known = [str(path) for path in sorted(RESULTS.glob("*/predictions/*/*/*/*.parquet"))]
    raise CapsynthError(
        f"no predictions at {wanted}; there are {', '.join(known[:5]) or 'none at all'}"
        f"{' ...' if len(known) > 5 else ''}"
    )


def result_of(path: Path) -> Result | None:
    """Return the result whose predictions lie at ``path``, None if it has another place."""
    try:
        dataset, kind, training_set, recipe, seed, _ = path.relative_to(RESULTS).parts
    except ValueError:
        return None
    if kind != "predictions":
        return None
    number = int(seed.removeprefix("seed"))
    return Result(dataset, training_set, recipe, number, path.stem)


class Trace:
    """A trace as it is told.

    Attributes:
        lines: What was found, a line each.
        images: The images that were found.
    """

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.images: list[FoundImage] = []
        self._makers = Makers.read()
        for problem in self._makers.damaged.values():
            self.say("record", problem)

    def say(self, label: str, text: str = "") -> None:
        """Add a line."""
        self.lines.append(f"{label:<14}{text}".rstrip())

    def file(self, label: str, path: Path) -> None:
        """Add a file and what made it."""
        self.say(label, str(path) if path.exists() else f"{path} (is not there)")
        self.say("  made by", self._makers.describe(path))

    def result(self, result: Result, metric: str, key: str | None) -> None:
        """Follow a score to the shards of its training set, and a key to its images.

        Raises:
            CapsynthError: If nothing has the key, or no record holds the configuration.
        """
        self._scores(result, metric)
        card, eval_key = self._predictions(result, key)
        sources = self._training(result, card)
        if key is not None and not self._training_images(result, sources, key) and not eval_key:
            raise CapsynthError(
                f"no image {key!r}: neither {result.eval_set} nor a shard of {result.training_set} "
                f"has it; keys stand in the manifests, {sources[0].with_suffix('.jsonl')} for one"
            )

    def _scores(self, result: Result, metric: str) -> None:
        names = {k: str(getattr(result, k)) for k in ("training_set", "recipe", "seed", "eval_set")}
        with SCORES.open(encoding="utf-8", newline="") as file:
            of_run = [row for row in csv.DictReader(file) if names.items() <= row.items()]
        check_name("metric", metric, [row["metric"] for row in of_run])
        for row in of_run:
            if row["metric"] == metric:
                interval = f"[{row['ci_low']}, {row['ci_high']}]" if row["ci_low"] else ""
                self.say("score", f"{metric} = {row['value']} {interval} of {row['n']} images")
        self.file("scores", SCORES)

    def _predictions(self, result: Result, key: str | None) -> tuple[dict[str, Any], bool]:
        """Return the checkpoint's card and whether the evaluation set has the key."""
        from safetensors import safe_open

        from capsynth.predictions import read_predictions

        answers = read_predictions(result.predictions)
        self.file("predictions", result.predictions)
        manifest = RESULTS / "eval_sets" / f"{result.eval_set}.jsonl"
        self.file("evaluation", manifest)
        self.file("checkpoint", result.checkpoint)
        with safe_open(result.checkpoint, framework="np") as file:
            card: dict[str, Any] = json.loads(file.metadata()["card"])
        history = read_json(result.checkpoint.with_suffix(".json"))
        digest = file_digest(result.checkpoint)
        self.say("  sha256", digest)
        self._verdict(
            "the checkpoint is the one that its training ended with",
            history["checkpoint_sha256"],
            digest,
        )
        self.say("  fingerprint", card["fingerprint"])
        made_of = fingerprint(card["fingerprint"], file_digest(manifest))
        self._verdict(
            "checkpoint and evaluation set are what was asked", answers.fingerprint, made_of
        )
        position = {name: place for place, name in enumerate(answers.keys.tolist())}.get(key or "")
        if position is None:
            return card, False
        predicted = int(answers.prediction[position])
        share = float(answers.probabilities[position, predicted])
        true = answers.sample_class_ids[position]
        self.say("asked", f"{key}, a {true}: {answers.class_ids[predicted]} ({share:.3f})")
        self._image("asked", manifest, str(key))
        return card, True

    def _verdict(self, claim: str, expected: str, found: str) -> None:
        self.say("  checked", claim if expected == found else f"NOT SO: {claim}")

    def _config(self, path: Path) -> dict[str, Any]:
        """Return the configuration that made a file, or else the latest there is."""
        runs = [run for run in run_names() if run not in self._makers.damaged]
        run = self._makers.run_of(path) or (runs[-1] if runs else None)
        if run is None:
            raise CapsynthError(
                "results/provenance has no record of a run, and so nothing says what the training "
                "set was made of; records are kept from the next run on"
            )
        config: dict[str, Any] = read_run(run)["config"]
        return config

    def _training(self, result: Result, card: Mapping[str, Any]) -> list[Path]:
        """Return the tars of a training set, in the order in which the training read them."""
        config = self._config(result.checkpoint)
        mixture = config["training_sets"][result.training_set]
        fractions = {"real": mixture["real"]} if mixture["real"] > 0 else {}
        fractions |= {f"images/{name}": share for name, share in mixture["variants"].items()}
        seed = mixture.get("sample_seed", 0)  # which older records lack
        folders = {name: share_of(fraction, seed) for name, fraction in fractions.items()}
        parts = range(config["dataset"]["parts_per_class"])
        shards = [shard_name(class_id, part) for class_id in card["class_ids"] for part in parts]
        tars: list[Path] = []
        shares: list[float | Share] = []
        for folder, share in folders.items():
            place = RESULTS / result.dataset / folder
            drawn = f", sample seed {seed}" if isinstance(share, Share) else ""
            self.say(
                "trained on", f"{fractions[folder]:g} of {place}/, {len(shards)} shards{drawn}"
            )
            tars += [place / f"{shard}.tar" for shard in shards]
            shares += [share] * len(shards)
        recipe = config["recipes"][result.recipe]
        settings = {k: v for k, v in recipe.items() if k not in ("base", *NEUTRAL)}
        marked = fingerprint(
            settings,
            card["class_ids"],
            result.seed,
            files_digest([tar.with_suffix(".jsonl") for tar in tars]),
            shares,
        )
        self._verdict("the shards are what it was trained on", card["fingerprint"], marked)
        return tars

    def _training_images(self, result: Result, tars: Sequence[Path], key: str) -> bool:
        found = False
        for manifest in (tar.with_suffix(".jsonl") for tar in tars):
            # Reading a manifest takes a hundred times as long as looking for a few bytes in it.
            if dump_json(key).encode() in manifest.read_bytes():
                found = self.sample(result.dataset, manifest, key) or found
        return found

    def sample(self, dataset: str, manifest: Path, key: str) -> bool:
        """Follow an image of a real or synthetic shard to where it came from.

        Returns:
            Whether the shard has it.
        """
        if manifest.parent.name == "real":
            return self._real(dataset, manifest, key)
        variant, shard = manifest.parent.name, manifest.stem
        record = self._image(variant, manifest, key)
        if record is None:
            return False
        about = self._config(manifest)["variants"][variant]
        self.say("  generator", f"{about['generator']}, fingerprint {record.fingerprint}")
        self.say("  seed", str(record.seed))
        self.say("  prompt", str(record.prompt))
        folder = RESULTS / dataset
        self.file("prompts", folder / "prompts" / variant / f"{shard}.jsonl")
        if record.source_key is not None:
            self._captions(folder, about["captioner"], shard, record.source_key)
            self._real(dataset, folder / "real" / f"{shard}.jsonl", record.source_key)
        return True

    def _captions(self, folder: Path, captioner: str, shard: str, key: str) -> None:
        """Tell the captions of a real image, and those that a rewriter had before itself."""
        path = folder / "captions" / captioner / f"{shard}.jsonl"
        self.file("captions", path)
        for row in read_json_lines(path):
            if row["key"] == key:
                self.say("  caption", f"{row['caption']!r}, {row['status']}: {captioner}")
        rewriter = self._config(path)["rewriters"].get(captioner)
        if rewriter is not None:
            self._captions(folder, rewriter["captioner"], shard, key)

    def _real(self, dataset: str, manifest: Path, key: str) -> bool:
        tar = manifest.with_suffix(".tar")
        if any((image.tar, image.record.key) == (tar, key) for image in self.images):
            self.say("  real image", f"{key} of {tar}, above")
            return True
        record = self._image("real", manifest, key)
        if record is None:
            return False
        for place in _sources(self._config(manifest)["dataset"], dataset, manifest, record):
            self.say("  source", place)
        return True

    def _image(self, name: str, manifest: Path, key: str) -> ShardRecord | None:
        """Tell where an image lies in its shard."""
        # What is not as it was written is told, not refused.
        record = next((r for r in read_manifest(manifest, check=False) if r.key == key), None)
        if record is None:
            return None
        tar = manifest.with_suffix(".tar")
        self.file(name, tar)
        if record.reason is not None:
            self.say("  rejected", record.reason)
            return record
        self.say("  image", f"{key}: {record.size} bytes from {record.offset}")
        self.say("  sha256", str(record.sha256))
        self.images.append(FoundImage(name, tar, record))
        return record


def _sources(
    settings: Mapping[str, Any], dataset: str, manifest: Path, record: ShardRecord
) -> Iterator[str]:
    """Yield where a real image was read from, as far as packing wrote it down."""
    drawn = RESULTS / dataset / "source"
    index = manifest.parent / f".{manifest.stem}.sources.json"
    root = settings["path"] if settings["source"] == "folder" and settings["path"] else drawn
    for name, (_, _, digest) in read_json(index).get("files", {}).items():
        if Path(name).stem == record.key or digest == record.sha256:
            yield f"{root}/{name}"
    rows = drawn / f"{record.class_id}.jsonl"
    if rows.exists():
        for row in read_json_lines(rows):
            if row["key"] == record.key or row["sha256"] == record.sha256:
                yield f"{settings['path'] or settings['download']}: {dump_json(row)}"


def extract(images: Sequence[FoundImage], folder: Path) -> list[Path]:
    """Write images as files of their own, after their checksums are found right.

    Raises:
        CapsynthError: If a shard holds other bytes than its manifest says.
    """
    written = []
    for image in images:
        with ShardReader(image.tar) as reader:
            data = reader.read_bytes(image.record, check=False)
        path = folder / f"{image.name}-{image.record.key}.{image.record.extension}"
        with atomic_path(path) as temporary:
            temporary.write_bytes(data)
            if file_digest(temporary) != image.record.sha256:
                raise CapsynthError(
                    f"{image.tar}: {image.record.key} has other bytes than its manifest says; "
                    "delete the shard and run again"
                )
        written.append(path)
    return written
