"""Input that nobody would write by hand: it is taken, or refused by a CapsynthError, and ends.

CAPSYNTH_FUZZ_INPUTS is how many inputs are tried in all, by default 2,000; equal numbers try equal
inputs.
"""

import copy
import gzip
import hashlib
import io
import json
import os
import tarfile
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from capsynth.captions import CaptionPolicy, assess, clean
from capsynth.configuration import complete
from capsynth.datasets.rows import SourceSettings, class_rows
from capsynth.datasets.tars import scan_tar
from capsynth.errors import CapsynthError
from capsynth.fetching.unpacking import unpack
from capsynth.files import dump_json
from capsynth.schema import load_schema, resolve
from capsynth.shards import OK, ShardReader, read_manifest, usable
from capsynth.source_images import ImageFormat, is_bare, stored_bytes
from capsynth.wording import has_class_word

ROOT = Path(__file__).resolve().parents[2]
INPUTS = int(os.environ.get("CAPSYNTH_FUZZ_INPUTS", "2000"))
# Properties that the inputs are shared out to.
PROPERTIES = 7


def fuzz(share: float = 1.0) -> settings:
    """Settings of one property, with a share of what each would get."""
    return settings(
        max_examples=max(1, round(INPUTS / PROPERTIES * share)),
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the inputs share: one file after another is written to it."""
    return tmp_path_factory.mktemp("fuzz")


@st.composite
def damaged(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Data that was cut, overwritten, repeated or lengthened in a few places."""
    data = bytearray(draw(whole))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        match draw(st.sampled_from(["cut", "write", "insert", "repeat"])):
            case "cut":
                del data[at:]
            case "write":
                new = draw(st.binary(min_size=1, max_size=16))
                data[at : at + len(new)] = new
            case "insert":
                data[at:at] = draw(st.binary(max_size=600))
            case "repeat":
                data[at:at] = data[at : at + draw(st.integers(0, 2048))]
    return bytes(data)


# ---- tars ---------------------------------------------------------------------------------------

TYPES = [
    tarfile.REGTYPE,
    tarfile.AREGTYPE,
    tarfile.LNKTYPE,
    tarfile.SYMTYPE,
    tarfile.CHRTYPE,
    tarfile.BLKTYPE,
    tarfile.DIRTYPE,
    tarfile.FIFOTYPE,
]
ODD_NAMES = ["../../x.png", "/etc/x.png", "a/../b.cls", "." * 300 + ".png", "\n.png", "a\0b.png"]
NAMES = st.one_of(
    st.sampled_from(["a.png", "a.cls", "a.json", "b.jpg", "b.cls", "./a.png"]),
    st.sampled_from(ODD_NAMES),
    st.text(max_size=120).map(lambda text: text.encode(errors="replace").decode()),
)
ODD_LABELS = [b"99", b"-1", b"9" * 5000, b"\xff", "\u0663".encode(), b"", b"[" * 100_000, b"null"]
LABELS = st.one_of(
    st.sampled_from([b"bat", b"car", b"0", b"1", b'{"label": "bat"}', b'{"label": [[]]}']),
    st.sampled_from(ODD_LABELS),
    st.binary(max_size=40),
)


@st.composite
def tars(draw: st.DrawFn) -> bytes:
    buffer = io.BytesIO()
    kind = draw(st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]))
    with tarfile.open(fileobj=buffer, mode="w", format=kind) as tar:
        for name in ("c.png", f"c.{draw(st.sampled_from(['cls', 'json']))}"):
            info, data = tarfile.TarInfo(name), draw(LABELS)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        for _ in range(draw(st.integers(0, 6))):
            info, data = tarfile.TarInfo(draw(NAMES)), draw(LABELS)
            info.type = draw(st.sampled_from(TYPES))
            info.linkname = draw(st.sampled_from(["", "a.png", "/etc/passwd", "../.."]))
            info.size = len(data) if info.isreg() else 0
            if kind == tarfile.PAX_FORMAT and draw(st.booleans()):
                key = draw(st.sampled_from(["size", "path", "GNU.sparse.major", "GNU.sparse.map"]))
                info.pax_headers = {key: draw(st.sampled_from(["-1", "1" * 30, "0", "1,2,3", "x"]))}
            try:
                tar.addfile(info, io.BytesIO(data))
            except ValueError:
                continue  # a name that this format cannot hold
    return buffer.getvalue()


@fuzz(1.5)
@given(data=damaged(tars()), label_key=st.sampled_from([None, "label"]))
def test_any_tar_is_scanned_or_refused(place: Path, data: bytes, label_key: str | None) -> None:
    path = place / "set.tar"
    path.write_bytes(data)
    try:
        rows = scan_tar(path, label_key)
        found = class_rows(rows, ["bat", "car"], SourceSettings("webdataset", str(place)))
    except CapsynthError:
        return
    for row in (row for of_class in found.values() for row in of_class):
        assert "/" not in row.key
        inside = data[row.offset : row.offset + row.size]
        assert len(inside) == row.size
        assert hashlib.sha256(inside).hexdigest() == row.sha256


@fuzz()
@given(data=damaged(tars()), compress=st.booleans())
def test_any_archive_is_unpacked_below_its_target_or_refused(
    place: Path, data: bytes, compress: bool
) -> None:
    archive, target = place / "in" / "a.tgz", place / "out" / "target"
    archive.parent.mkdir(exist_ok=True)
    archive.write_bytes(gzip.compress(data, 1) if compress else data)
    before = {p for p in place.rglob("*") if not p.is_relative_to(target)}
    try:
        unpack(archive, "", target)
    except CapsynthError:
        pass
    after = {p for p in place.rglob("*") if not p.is_relative_to(target)}
    assert after - before <= {place / "out"}
    assert all(p.is_file() or p.is_dir() for p in target.rglob("*"))
    assert not any(p.is_symlink() for p in target.rglob("*"))


# ---- images -------------------------------------------------------------------------------------


def image_files() -> list[bytes]:
    image = Image.effect_noise((32, 24), 60).convert("RGB")
    exif = Image.Exif()
    exif[0x0112] = 6
    made = []
    for kind, changes in (
        ("JPEG", {"exif": exif}), ("JPEG", {"progressive": True}), ("PNG", {}), ("WEBP", {}),
        ("WEBP", {"save_all": True, "append_images": [image.rotate(90)]}), ("BMP", {}),
        ("GIF", {"save_all": True, "append_images": [image.rotate(90)]}), ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}), ("MPO", {"save_all": True}),
    ):  # fmt: skip
        buffer = io.BytesIO()
        image.save(buffer, kind, **changes)
        made.append(buffer.getvalue())
    return made


@fuzz(1.5)
@given(data=damaged(st.sampled_from(image_files())), side=st.sampled_from([None, 16]))
def test_any_image_is_stored_bare_or_refused_with_one_line(data: bytes, side: int | None) -> None:
    try:
        stored, extension = stored_bytes(data, ImageFormat(side, "jpg"))
    except ValueError as error:
        reason = str(error)
    else:
        reason = None
    if reason is not None:
        assert reason.splitlines() == [reason]
        return
    assert extension in ("jpg", "png")
    assert is_bare(stored)
    # What is stored can be stored again, and stays as it is.
    assert stored_bytes(stored, ImageFormat(side, "jpg")) == (stored, extension)


# ---- manifests ----------------------------------------------------------------------------------

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)
RECORD = {
    "key": "k",
    "class_id": "bat",
    "class_index": 0,
    "index": 0,
    "status": "ok",
    "fingerprint": "f",
    "extension": "png",
    "offset": 512,
    "size": 9,
    "sha256": "0",
}


@st.composite
def manifests(draw: st.DrawFn) -> bytes:
    lines = []
    for number in range(draw(st.integers(0, 4))):
        row: Any = {**RECORD, "key": f"k{number}"}
        for _ in range(draw(st.integers(0, 2))):
            name = draw(st.sampled_from([*RECORD, "reason", "unknown"]))
            row[name] = draw(JSON_VALUES)
        lines.append(json.dumps(draw(JSON_VALUES) if draw(st.integers(0, 9)) == 0 else row))
    return "\n".join(lines).encode()


@fuzz()
@given(data=damaged(manifests()))
def test_any_manifest_is_read_or_refused(place: Path, data: bytes) -> None:
    path, tar = place / "shard.jsonl", place / "shard.tar"
    path.write_bytes(data)
    tar.write_bytes(bytes(2048))
    try:
        records = read_manifest(path)
    except CapsynthError:
        return
    with ShardReader(tar) as reader:
        for record in usable(records):
            assert record.status == OK
            try:
                assert len(reader.read_bytes(record)) == record.size
            except CapsynthError:
                continue


# ---- captions -----------------------------------------------------------------------------------

PIECES = ["<script>", "=cmd|' /C calc'!A0", "$(rm -rf /)", "\\input{x}", "\u202e", "\u2066", "👩‍🚀",
          "{caption}", "%s", "\0", "\r\n", "\u2028", "</s>", "<|endoftext|>", "a ", "a cat and ",
          "`", "'", '"', "a" * 10_000, "very ", "., "]  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES) | st.text(max_size=30), max_size=40).map("".join)


@fuzz()
@given(
    raw=TEXTS,
    ended=st.booleans(),
    repeated=st.sampled_from(["trim", "keep", "empty"]),
    cut=st.sampled_from(["keep", "trim", "empty"]),
)
def test_any_text_becomes_a_caption_of_one_line(
    raw: str, ended: bool, repeated: str, cut: str
) -> None:
    caption, status = assess(raw, ended, CaptionPolicy(repeated, cut))
    assert clean(caption) == caption
    assert not any(unicodedata.category(sign) == "Cc" for sign in caption)
    assert not set(caption) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028")
    assert len(caption) <= len(raw)
    assert (status == "empty") == (not any(sign.isalnum() for sign in clean(raw)))
    dump_json({"caption": caption})
    has_class_word(caption, raw)


# ---- configurations -----------------------------------------------------------------------------


def default_config() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))


def paths_of(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if path:
        yield path
    lists = enumerate(value) if isinstance(value, list) else ()
    for key, inner in value.items() if isinstance(value, dict) else lists:
        yield from paths_of(inner, (*path, key))


PATHS = list(paths_of(default_config()))
WILD = st.one_of(
    JSON_VALUES,
    st.sampled_from(["{", "{}", "{0}", "{class_name[0]}", "../..", "a" * 300, 10**400, -(10**400)]),
    st.dictionaries(st.integers() | st.none() | st.text(max_size=5), JSON_VALUES, max_size=3),
    st.dates(),
)


@fuzz()
@given(changes=st.lists(st.tuples(st.sampled_from(PATHS), WILD), max_size=4))
def test_any_configuration_is_completed_or_refused_line_by_line(
    changes: list[tuple[tuple[str | int, ...], Any]],
) -> None:
    config = default_config()
    for (*parents, last), value in changes:
        inner: Any = config
        for part in parents:
            try:
                inner = inner[part]
            except (KeyError, IndexError, TypeError):
                inner = None
        if isinstance(inner, dict) or (
            isinstance(inner, list) and isinstance(last, int) and last < len(inner)
        ):
            inner[last] = copy.deepcopy(value)
    try:
        dump_json(complete(config))
    except CapsynthError as error:
        head, *lines = str(error).split("\n")
        assert head.startswith("the configuration has ")
        assert lines
        assert all(line.startswith("  ") and len(line) > 10 for line in lines)


def misspelt(key: str) -> str:
    """Return a key with two letters exchanged, or one doubled."""
    middle = len(key) // 2
    swapped = key[: middle - 1] + key[middle] + key[middle - 1] + key[middle + 1 :]
    return swapped if swapped != key else key[:middle] + key[middle:] * 2


def keys_of_the_schema() -> Iterator[tuple[tuple[str | int, ...], dict[str, Any]]]:
    """Yield the path of every key that config.yaml sets and the schema fixes, with its schema."""

    def walk(value: Any, schema: Any, path: tuple[str | int, ...]) -> Iterator[Any]:
        schema = resolve(schema)
        for key, inner in value.items() if isinstance(value, dict) else ():
            if key in schema.get("properties", {}):
                yield (*path, key), resolve(schema["properties"][key])
                yield from walk(inner, schema["properties"][key], (*path, key))
            elif isinstance(schema.get("additionalProperties"), dict):
                yield from walk(inner, schema["additionalProperties"], (*path, key))

    yield from walk(default_config(), load_schema(), ())


def named(path: tuple[str | int, ...]) -> str:
    return "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path).removeprefix(".")


def changed(path: tuple[str | int, ...], value: Any, key: str | None = None) -> dict[str, Any]:
    config = default_config()
    inner: Any = config
    for part in path[:-1]:
        inner = inner[part]
    if key is not None:
        inner[key] = inner.pop(path[-1])
    else:
        inner[path[-1]] = value
    return config


def bad_configs() -> Iterator[tuple[dict[str, Any], str, str]]:
    """Yield configurations with one mistake, the key that a message names, and what it says."""
    for path, schema in keys_of_the_schema():
        name, key = named(path), str(path[-1])
        if len(key) > 3:
            wrong = named((*path[:-1], misspelt(key)))
            yield (
                changed(path, None, misspelt(key)),
                f"{wrong} is not a key",
                f"did you mean {key}?",
            )
        types = str(schema.get("type", ""))
        if types and "object" not in types:
            yield changed(path, {"a": 1}), f"{name}: expected", "not a mapping"
        if types and "array" not in types:
            yield changed(path, [1]), name, ""
        for bound, step in (("minimum", -1), ("maximum", 1)):
            if bound in schema:
                yield changed(path, schema[bound] + step), f"{name}: ", "use at "
        if "enum" in schema:
            known = max((v for v in schema["enum"] if isinstance(v, str)), key=len, default="")
            if len(known) > 4:
                yield changed(path, misspelt(known)), f"{name}: ", f"did you mean '{known}'?"
        if types in ("integer", "number", "['integer', 'null']", "['number', 'null']"):
            for value in ("much", True, float("nan"), float("inf")):
                yield changed(path, value), f"{name}: ", ""


BAD = list(bad_configs())


def test_hundreds_of_bad_configurations_are_each_refused_in_words_that_name_the_key() -> None:
    assert len(BAD) >= 300
    for config, name, remedy in BAD:
        with pytest.raises(CapsynthError) as caught:
            complete(config)
        lines = str(caught.value).split("\n")
        found = [line for line in lines if line.strip().startswith(name)]
        assert found, f"no line of {lines} begins with {name}"
        assert any(remedy in line for line in found), (remedy, found)
