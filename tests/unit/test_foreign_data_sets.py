"""Data sets of others in the library's formats: no file outside their folder is read."""

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from capsynth.datasets.folder import NEVER_PACKED
from capsynth.datasets.rows import SourceSettings, read_rows
from capsynth.datasets.sources import CACHE, index_source, index_token, source_of
from capsynth.errors import CapsynthError
from capsynth.packing import pack_indexed_shard
from capsynth.shards import ShardReader, read_manifest
from capsynth.source_images import ImageFormat

OUTSIDE = "which is not in its folder and is not read"


def picture(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (number, 2, 90)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def private(tmp_path: Path) -> Path:
    """A file that nobody who made a data set may have packed."""
    (tmp_path / "private.png").write_bytes(picture(255))
    return tmp_path / "private.png"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "set" / "data").mkdir(parents=True)
    return tmp_path / "set"


def write(path: Path, images: list[dict[str, Any] | None], labels: Any = None) -> Path:
    """Write a Parquet file as anybody may, without the library."""
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    labels = pa.array(labels or ["bat"] * len(images))
    pq.write_table(pa.table({"image": pa.array(images, kind), "label": labels}), path)
    return path


def row(number: int, path: str | None = None) -> dict[str, Any]:
    return {"bytes": picture(number), "path": path}


def settings_of(root: Path, **changes: Any) -> SourceSettings:
    columns = {"split": "train", "image_column": "image", "label_column": "label"}
    return SourceSettings("huggingface", str(root), **{**columns, **changes})


def index(root: Path, **changes: Any) -> tuple[SourceSettings, Path]:
    settings, out = settings_of(root, **changes), root.parent / "index"
    index_source(settings, ["bat"], index_token(settings, out), out)
    return settings, out


def pack(root: Path, **changes: Any) -> list[tuple[str, bytes | str | None]]:
    """Index and pack a class; return status and bytes, or the reason, of each row."""
    settings, out = index(root, **changes)
    tar, manifest = out / "s.tar", out / "s.jsonl"
    form = ImageFormat(None, "png")
    pack_indexed_shard(
        settings, out / "bat.jsonl", "bat", 0, 0, 1, form, "t", tar, manifest, out / "s.json"
    )
    with ShardReader(tar) as reader:
        return [
            (r.status, reader.read_bytes(r) if r.status == "ok" else r.reason)
            for r in read_manifest(manifest)
        ]


# ---- rows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["{private}", "../private.png", "link.png", "/dev/zero"])
def test_a_row_that_names_a_file_outside_its_folder_is_refused(
    root: Path, private: Path, name: str
) -> None:
    (root / "link.png").symlink_to(private)
    name = name.format(private=private)
    write(root / "data/train.parquet", [row(1), {"bytes": None, "path": name}])
    with pytest.raises(CapsynthError, match=f"row 1 names '{name}', a file outside its folder"):
        index(root)


def test_rows_without_an_image_to_read_are_set_aside_with_the_reason(root: Path) -> None:
    os.mkfifo(root / "pipe.png")
    (root / "real.png").write_bytes(picture(7))
    names = ["gone.png", "pipe.png", "data", "real.png", "nul\0.png", None]
    images: list[dict[str, Any] | None] = [{"bytes": None, "path": name} for name in names]
    # Where the bytes are there, a path is a name: such rows are common, of the maker's machine.
    images += [row(9, "/home/somebody/9.png"), None]
    write(root / "data/train.parquet", images)
    packed = {str(said).split(": ", 1)[-1] for status, said in pack(root) if status == "rejected"}
    assert packed == {
        "its file gone.png is missing",
        "a pipe or device",
        "a folder",
        "neither bytes nor the path of a file",
    }
    used = [data for status, data in pack(root) if status == "ok"]
    assert sorted(used) == sorted([picture(7), picture(9)])


def test_a_column_of_paths_is_guarded_too(root: Path, private: Path) -> None:
    (root / "real.png").write_bytes(picture(7))
    (root / "data/train.csv").write_text("image,label\nreal.png,bat\n")
    assert pack(root) == [("ok", picture(7))]
    (root / "data/train.csv").write_text(f"image,label\nreal.png,bat\n{private},bat\n")
    with pytest.raises(CapsynthError, match="a file outside its folder"):
        index(root)


@pytest.mark.parametrize(
    "labels",
    [[["bat"], ["bat", "car"]], [{"a": 1}, {"a": 2}], [b"bat", b"car"]],
)
def test_a_column_that_holds_no_labels_is_named(root: Path, labels: list[Any]) -> None:
    write(root / "data/train.parquet", [row(0), row(1)], labels)
    with pytest.raises(CapsynthError, match=r"column 'label' holds .*set label_column to another"):
        index(root)


@pytest.mark.parametrize(
    ("labels", "keys"),
    [
        ([0.0, None, 1.0, float("nan")], ["00000000"]),
        ([False, True, False, None], ["00000000", "00000002"]),
        ([0, 1, -1, 0], ["00000000", "00000003"]),
    ],
)
def test_numbers_of_any_kind_are_labels(root: Path, labels: list[Any], keys: list[str]) -> None:
    write(root / "data/train.parquet", [row(n) for n in range(4)], labels)
    _, out = index(root, label_classes=("bat", "car"))
    assert [r.key for r in read_rows(out / "bat.jsonl")] == keys


def test_a_column_that_holds_no_images_is_named(root: Path) -> None:
    pq.write_table(pa.table({"image": [1, 2], "label": ["bat"] * 2}), root / "data/train.parquet")
    with pytest.raises(CapsynthError, match="cannot be read as images of column 'image'"):
        index(root)


# ---- files --------------------------------------------------------------------------------------

PLACES = ["../secret/*.parquet", "{away}/*.parquet", "data/../../secret/x.parquet",
          "https://example.org/x.parquet", "zip://x.parquet::../a.zip", "file://{away}/x.parquet",
          "~/x.parquet"]  # fmt: skip
SHAPES: list[Callable[[str], dict[str, Any]]] = [
    lambda place: {"data_files": place},
    lambda place: {"data_files": ["data/*.parquet", place]},
    lambda place: {"data_files": [{"split": "train", "path": ["data/*.parquet", place]}]},
    lambda place: {"data_dir": os.path.dirname(place)},
]


@pytest.mark.parametrize("place", PLACES)
def test_a_card_that_names_files_outside_its_folder_is_refused(root: Path, place: str) -> None:
    away = root.parent / "secret"
    away.mkdir()
    write(away / "x.parquet", [row(255)])
    write(root / "data/train.parquet", [row(1)])
    for shape in SHAPES:
        text = yaml.safe_dump({"configs": [{"config_name": "a", **shape(place.format(away=away))}]})
        for name, whole in (("README.md", f"---\n{text}---\n"), (".huggingface.yaml", text)):
            (root / name).write_text(whole)
            with pytest.raises(CapsynthError, match=f"{name} names .*, {OUTSIDE}"):
                index(root)
            (root / name).unlink()


def test_a_card_that_names_files_of_its_folder_is_followed(root: Path) -> None:
    (root / "other").mkdir()
    write(root / "other/x.parquet", [row(1)])
    write(root / "data/train.parquet", [row(2)])
    files = [{"split": "train", "path": "other/*.parquet"}]
    text = yaml.safe_dump({"configs": [{"config_name": "a", "data_files": files}]})
    (root / "README.md").write_text(f"---\n{text}---\n# A set\n")
    assert pack(root) == [("ok", picture(1))]


def test_a_link_to_a_data_file_outside_is_refused_but_in_the_cache_of_the_hub(
    root: Path, tmp_path: Path
) -> None:
    write(tmp_path / "x.parquet", [row(255)])
    (root / "data/train.parquet").symlink_to(tmp_path / "x.parquet")
    with pytest.raises(CapsynthError, match=f"names .*, {OUTSIDE}"):
        index(root)
    blobs = tmp_path / "datasets--a--b" / "blobs"
    snapshot = blobs.parent / "snapshots" / "0123abc"
    for folder in (blobs, snapshot):
        folder.mkdir(parents=True)
    write(blobs / "feed", [row(3)])
    (snapshot / "train.parquet").symlink_to("../../blobs/feed")
    assert pack(snapshot) == [("ok", picture(3))]


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.xml", "<a/>"), ("a.h5", "HDF"), ("a.fasta", ">a\nC\n"), ("a.txt", "text")],
)
def test_kinds_of_files_that_hold_no_pictures_are_not_opened(
    root: Path, name: str, content: str
) -> None:
    (root / name).write_text(content)
    with pytest.raises(CapsynthError, match=r"which are not read; known kinds: arrow, csv|cannot"):
        index(root)


def save(root: Path, numbers: range) -> None:
    import datasets

    columns = {"image": [row(n) for n in numbers], "label": ["bat"] * len(numbers)}
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    table = datasets.Dataset.from_dict(columns, features=features)
    datasets.DatasetDict({"train": table}).save_to_disk(str(root))


@pytest.mark.parametrize("where", ["dataset_dict.json", "state.json"])
def test_a_saved_data_set_that_names_files_outside_its_folder_is_refused(
    root: Path, where: str
) -> None:
    save(root.parent / "secret", range(1))
    save(root, range(2))
    if where == "dataset_dict.json":
        (root / where).write_text(json.dumps({"splits": ["../secret/train"]}))
    else:
        path = root / "train" / where
        state = json.loads(path.read_text())
        (file,) = state["_data_files"]
        file["filename"] = f"../../secret/train/{file['filename']}"
        path.write_text(json.dumps(state))
    with pytest.raises(CapsynthError, match=f"{where} names '.*secret.*, {OUTSIDE}"):
        index(root)


def test_rows_of_other_bytes_but_the_same_size_and_time_fail_one_start_and_no_more(
    root: Path,
) -> None:
    save(root, range(3))
    settings, out = index(root)
    tokens = {NEVER_PACKED}
    (arrow,) = (root / "train").glob("*.arrow")
    for number in (50, 60):
        data, before = arrow.read_bytes(), arrow.stat()
        old = source_of(settings).open_images(settings, out / CACHE)(
            read_rows(out / "bat.jsonl")[0]
        )
        arrow.write_bytes(data.replace(old, picture(number)))
        os.utime(arrow, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert arrow.stat().st_size == before.st_size
        read = source_of(settings).open_images(settings, out / CACHE)
        with pytest.raises(CapsynthError, match=r"row 0 changed while it was packed.*start again"):
            read(read_rows(out / "bat.jsonl")[0])
        token = index_token(settings, out)
        assert token not in tokens  # or Snakemake would not index anew
        tokens.add(token)
        assert pack(root)[0] == ("ok", picture(number))
        assert index_token(settings, out) == token
