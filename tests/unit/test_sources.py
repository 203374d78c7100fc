"""Sources of few large files: what is found in them, and what a change of them makes anew."""

import io
import json
import os
import shutil
import tarfile
import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from PIL import Image

from capsynth import tar_headers
from capsynth.datasets import tars
from capsynth.datasets.folder import NEVER_PACKED
from capsynth.datasets.imagenet import wordnet_ids
from capsynth.datasets.rows import SourceSettings, class_of, read_rows
from capsynth.datasets.sources import (
    class_digests,
    class_token,
    index_source,
    index_token,
    source_of,
    write_class_index,
)
from capsynth.errors import CapsynthError
from capsynth.fetching.unpacking import unpack
from capsynth.shards import Sample, ShardRecord, write_shard

CLASSES = ["bat", "car"]


def picture(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 40), (number * 37 % 256, number % 256, 90)).save(buffer, "PNG")
    return buffer.getvalue()


def write_tar(path: Path, members: Sequence[tuple[str, bytes]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def labelled(labels: Mapping[str, str], start: int = 0) -> list[tuple[str, bytes]]:
    members: list[tuple[str, bytes]] = []
    for number, (key, label) in enumerate(labels.items(), start):
        members += [(f"{key}.png", picture(number)), (f"{key}.cls", label.encode())]
    return members


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "tars"
    write_tar(folder / "a-0.tar", labelled({"x0": "bat", "x1": "car", "x2": "bat"}))
    write_tar(folder / "a-1.tar", labelled({"y0": "1", "y1": "0"}, start=10))
    return folder


def settings_of(path: Path | str, **changes: object) -> SourceSettings:
    return SourceSettings(**{"source": "webdataset", "path": str(path), **changes})


# ---- tars ---------------------------------------------------------------------------------------


def test_tars_give_every_class_its_images_by_number_or_identifier(
    shards: Path, tmp_path: Path
) -> None:
    settings = settings_of(shards)
    out = tmp_path / "index"
    assert index_source(settings, CLASSES, NEVER_PACKED, out) == {"bat": 3, "car": 2}
    rows = read_rows(out / "bat.jsonl")
    assert [row.key for row in rows] == ["x0", "x2", "y1"]
    read = source_of(settings).open_images(settings, out)
    assert [read(row) for row in rows] == [picture(0), picture(2), picture(11)]


def test_labels_are_read_from_json_members_where_asked(tmp_path: Path) -> None:
    members = [("k.jpg", picture(1)), ("k.json", b'{"wnid": "bat", "label": 1}')]
    members += [("d/l.jpg", picture(2)), ("d/l.json", b'{"wnid": "car", "label": 0}')]
    tar = write_tar(tmp_path / "t.tar", members)
    assert [label for label, _ in tars.scan_tar(tar, "wnid")] == ["bat", "car"]
    assert [(label, row.key) for label, row in tars.scan_tar(tar, "label")] == [
        (1, "k"),
        (0, "d_l"),
    ]
    with pytest.raises(CapsynthError, match=r"k\.json: no label 'class'"):
        tars.scan_tar(tar, "class")
    with pytest.raises(CapsynthError, match=r"k\.cls is missing; add it, or set label_key"):
        tars.scan_tar(tar, None)


def test_a_key_may_have_dots(tmp_path: Path) -> None:
    """Those of this project's own shards have, where a class or a file has."""
    keys = ["001.Albatross_000.1", "img.v1", "a.b/img.v2", "plain"]
    members = [("001.Albatross_000.1.json", b"{}"), ("._img.v1.png", b"x"), ("._img.v1.cls", b"x")]
    tar = write_tar(tmp_path / "t.tar", members + labelled(dict.fromkeys(keys, "bat")))
    found = tars.scan_tar(tar, None)
    assert [row.key for _, row in found] == [key.replace("/", "_") for key in keys]
    assert [label for label, _ in found] == ["bat"] * 4
    data = tar.read_bytes()
    assert [data[row.offset :][: row.size] for _, row in found] == [picture(n) for n in range(4)]


def test_corrupted_evaluation_sets_of_this_project_are_read_as_a_source(tmp_path: Path) -> None:
    records = [
        ShardRecord(f"bat.1_{i}.fog-{i}", "bat.1", 1, i, "ok", "f", extension="png")
        for i in range(3)
    ]
    samples = [Sample(record, picture(record.index)) for record in records]
    write_shard(tmp_path / "e.tar", tmp_path / "e.jsonl", samples)
    out, settings = tmp_path / "i", settings_of(tmp_path, label_classes=("car", "bat.1"))
    assert index_source(settings, ["bat.1"], "t", out) == {"bat.1": 3}
    assert [row.key for row in read_rows(out / "bat.1.jsonl")] == [r.key for r in records]


def test_further_parts_of_a_sample_are_no_images(tmp_path: Path) -> None:
    members = [("k.seg.png", b"mask"), ("k.jpg", picture(1)), ("k.json", b'{"label": "bat"}')]
    members += [("k.meta.json", b"no JSON"), ("k.long.json", b"1" * (tars.MAX_LABEL_BYTES + 1))]
    (pair,) = tars.scan_tar(write_tar(tmp_path / "t.tar", members), "label")
    assert (pair[0], pair[1].key) == ("bat", "k")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (["c.v1.jpg", "c.cls"], r"t\.tar: c\.v1\.cls is missing; .*; c\.cls is there"),
        (["c.v1.jpg"], r"t\.tar: c\.v1\.cls is missing; add it"),
        (["c.v1.jpg", "c.v1.png", "c.v1.cls"], r"'c\.v1' has two images"),
        (["c.jpg", "c.cls", "c.cls 2"], r"'c' has two labels"),
        (["c.1.jpg", "c.1.cls", "c.1.cls 2"], r"'c\.1' has two labels"),
    ],
)
def test_a_member_that_belongs_to_no_sample_is_named(
    tmp_path: Path, members: list[str], message: str
) -> None:
    data = [(name.split()[0], name.encode()) for name in members]
    with pytest.raises(CapsynthError, match=message):
        tars.scan_tar(write_tar(tmp_path / "t.tar", data), None)


def test_labels_without_an_image_are_counted_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    members = [*labelled({"a": "bat"}), ("b.cls", b"bat"), ("b.avif", b""), ("c.d.cls", b"bat")]
    assert len(tars.scan_tar(write_tar(tmp_path / "t.tar", members), None)) == 1
    (said,) = [record.getMessage() for record in caplog.records]
    assert "t.tar: 2 labels without an image" in said
    assert "the first b.cls" in said


def test_numbers_count_in_the_classes_that_are_named_and_not_in_a_subset() -> None:
    imagenet = wordnet_ids()
    springer = imagenet[217]
    # Class 1 of ten is class 217 of a thousand.
    assert class_of("217", [imagenet[0], springer], imagenet) == springer
    assert class_of(1, [imagenet[0], springer], imagenet) is None
    assert class_of(1, [imagenet[0], springer], [imagenet[0], springer]) == springer
    with pytest.raises(CapsynthError, match=r"label 217 is beyond the 2 classes.*imagenet-1k"):
        class_of(217, [imagenet[0], springer], [imagenet[0], springer])
    # Text that is a class is that class, even if it looks like a number.
    assert class_of("1", ["1", "0"], ["1", "0"]) == "1"
    assert class_of(("tench, Tinca tinca", 0), [imagenet[0]], imagenet) == imagenet[0]
    assert class_of("a dog", ["bat"], ["bat"]) is None


def test_patterns_name_tars_by_braces_and_wildcards(shards: Path) -> None:
    names = [path.name for path in tars.list_tars(f"{shards}/a-{{0..1}}.tar").values()]
    assert names == ["a-0.tar", "a-1.tar"]
    assert list(tars.list_tars(f"{shards}/*-1.tar")) == [f"{shards}/a-1.tar"]
    assert tars.expand_braces("{a,b}-{08..10}") == [
        *(f"{letter}-{number}" for letter in "ab" for number in ("08", "09", "10"))
    ]
    with pytest.raises(CapsynthError, match=r"a-2\.tar does not exist"):
        tars.list_tars(f"{shards}/a-{{0..2}}.tar")
    with pytest.raises(CapsynthError, match="names no tar"):
        tars.list_tars(f"{shards}/b-*.tar")


def test_what_tars_lack_is_named(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(CapsynthError, match="no image of class 'dog'; its labels are"):
        index_source(settings_of(shards), [*CLASSES, "dog"], "t", tmp_path / "i")
    write_tar(shards / "b.tar", labelled({"x0": "bat"}))
    with pytest.raises(CapsynthError, match=r"'x0' of class 'bat' occurs twice, in .*a-0.*b\.tar"):
        index_source(settings_of(shards), CLASSES, "t", tmp_path / "i")
    (shards / "b.tar").write_bytes(b"x" * 2000)
    with pytest.raises(CapsynthError, match=r"b\.tar: .*fetch it again"):
        index_source(settings_of(shards), CLASSES, "t", tmp_path / "i")


def hostile_tar(path: Path, *members: tarfile.TarInfo) -> Path:
    """A tar of one labelled image and of members without the data that they announce."""
    write_tar(path, labelled({"x": "bat"}))
    with tarfile.open(path, "a") as tar:
        for info in members:
            tar.fileobj.write(info.tobuf(tarfile.GNU_FORMAT))
    return path


def member(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, "/etc/passwd"
    return info


def test_links_devices_and_paths_of_a_tar_are_names_at_most(tmp_path: Path) -> None:
    kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE)
    odd = [member(f"{number}.png", kind) for number, kind in enumerate(kinds)]
    path = hostile_tar(tmp_path / "a.tar", *odd, member("../../up.png"), member("../../up.cls"))
    rows = tars.scan_tar(path, None)
    assert [row.key for _, row in rows] == ["x", ".._.._up"]
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar"]


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("y.png", 1 << 33, r"'y\.png' has 8589934592 bytes, and at most 536870912 make sense"),
        ("y.cls", 1 << 21, r"'y\.cls' has 2097152 bytes"),
        ("y.png", 1 << 20, "damaged"),
    ],
)
def test_a_member_that_announces_too_much_is_refused_before_it_is_read(
    tmp_path: Path, name: str, size: int, message: str
) -> None:
    path = hostile_tar(tmp_path / "a.tar", member(name, size=size))
    with pytest.raises(CapsynthError, match=message):
        tars.scan_tar(path, None)


def test_a_sparse_member_of_a_terabyte_is_refused(tmp_path: Path) -> None:
    info = member("y.png")
    headers = {"GNU.sparse.major": "0", "GNU.sparse.minor": "1", "GNU.sparse.map": "0,0",
               "GNU.sparse.size": str(1 << 40), "GNU.sparse.name": "y.png"}  # fmt: skip
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        info.pax_headers = headers
        tar.addfile(info)
    with pytest.raises(CapsynthError, match=r"'y\.png' is a sparse file"):
        tars.scan_tar(tmp_path / "a.tar", None)


LONG_NAME, ATTRIBUTES, GLOBAL = tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE


@pytest.mark.parametrize("kind", [LONG_NAME, tarfile.GNUTYPE_LONGLINK, ATTRIBUTES, GLOBAL])
def test_a_header_of_gigabytes_is_refused_before_it_is_read(tmp_path: Path, kind: bytes) -> None:
    path = hostile_tar(tmp_path / "a.tar", member("././@LongLink", kind, size=6 << 30))
    with path.open("r+b") as file:
        file.truncate(7 << 30)  # a hole: the bytes are there
    tracemalloc.start()
    with pytest.raises(CapsynthError, match="has headers of more than 1048576 bytes"):
        tars.scan_tar(path, None)
    with pytest.raises(CapsynthError, match="has headers of more than 1048576 bytes"):
        unpack(path, "", tmp_path / "out")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20


@pytest.mark.parametrize("kind", [LONG_NAME, ATTRIBUTES, GLOBAL])
def test_thousands_of_headers_of_one_member_are_refused(tmp_path: Path, kind: bytes) -> None:
    path = hostile_tar(tmp_path / "a.tar", *(member("y.png", kind) for _ in range(3000)))
    for read in (lambda: tars.scan_tar(path, None), lambda: unpack(path, "", tmp_path / "out")):
        with pytest.raises(CapsynthError, match="more than 16 of them"):
            read()


def test_global_headers_are_bounded_in_all(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for number in range(5):
            comment = {f"comment{number}": "x" * (tar_headers.MAX_HEADER_BYTES // 4)}
            tar.fileobj.write(tarfile.TarInfo.create_pax_global_header(comment))
            tar.addfile(member(f"{number}.txt"))
    with pytest.raises(CapsynthError, match="has headers of more than"):
        tars.scan_tar(tmp_path / "a.tar", None)


@pytest.mark.parametrize("way", ["GNU", "PAX 1.0", "negative"])
def test_a_list_of_holes_or_a_size_below_nothing_is_refused_unread(
    tmp_path: Path, way: str
) -> None:
    info = member("y.png", tarfile.GNUTYPE_SPARSE if way == "GNU" else tarfile.REGTYPE)
    path = tmp_path / "a.tar"
    if way == "PAX 1.0":
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
            info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}
            tar.addfile(info)
            tar.fileobj.write(b"9999999999\n" + b"1\n" * 99_999)
    else:
        info.size = -512 if way == "negative" else 0
        hostile_tar(path, info)
    with pytest.raises(CapsynthError, match=r"is a sparse file|has -512 bytes"):
        tars.scan_tar(path, None)


def test_a_tar_of_empty_members_takes_little_memory_and_has_a_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = hostile_tar(tmp_path / "a.tar", *(member(f"{n}.txt") for n in range(20_000)))
    tracemalloc.start()
    assert len(tars.scan_tar(path, None)) == 1
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20  # 20,000 headers kept would be ten times as much
    monkeypatch.setattr(tars, "MAX_MEMBERS", 1000)
    with pytest.raises(CapsynthError, match="more than 1000 members; divide it"):
        tars.scan_tar(path, None)


def test_labels_of_thousands_of_digits_or_brackets_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(CapsynthError, match=r"label 9{19} is beyond the 1 classes"):
        class_of("9" * 5000, ["bat"], ["bat"])
    write_tar(tmp_path / "a.tar", [("x.png", b""), ("x.json", b"[" * 100_000)])
    with pytest.raises(CapsynthError, match=r"a\.tar: x\.json: no label 'label'"):
        tars.scan_tar(tmp_path / "a.tar", "label")


class Packed:
    """Tars that were indexed and whose classes were packed."""

    def __init__(self, folder: Path, out: Path) -> None:
        self.settings, self.out = settings_of(folder), out
        self.asked = {class_id: NEVER_PACKED for class_id in CLASSES}
        self.index()
        self.pack()

    def index(self) -> None:
        index_source(self.settings, CLASSES, index_token(self.settings, self.out), self.out)

    def tokens(self) -> dict[str, str]:
        digests = class_digests(self.settings, CLASSES, self.out)
        return {c: class_token(digests.get(c), self.out / f"{c}.packed") for c in CLASSES}

    def pack(self) -> None:
        for class_id, token in self.tokens().items():
            self.asked[class_id] = token
            write_class_index(self.out / f"{class_id}.packed", class_id, token, self.out)

    def changed(self) -> list[str]:
        return [c for c, token in self.tokens().items() if token != self.asked[c]]


@pytest.fixture
def packed(shards: Path, tmp_path: Path) -> Packed:
    return Packed(shards, tmp_path / "index")


def test_tars_that_did_not_change_are_not_read(
    packed: Packed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tars, "scan_tar", None)
    assert index_token(packed.settings, packed.out) == NEVER_PACKED
    assert packed.changed() == []


def test_an_image_added_in_a_tar_of_its_own_changes_its_class_alone(
    packed: Packed, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tar(shards / "new.tar", labelled({"z": "car"}, start=20))
    scanned = []
    scan = tars.scan_tar
    monkeypatch.setattr(
        tars, "scan_tar", lambda tar, key: scanned.append(tar.name) or scan(tar, key)
    )
    assert index_token(packed.settings, packed.out) != NEVER_PACKED
    assert packed.changed() == ["car"]
    before = packed.tokens()
    packed.index()
    assert set(scanned) == {"new.tar"}  # the others were kept
    assert packed.tokens() == before  # the same before and after the scan is written down
    packed.pack()
    assert packed.changed() == []
    assert packed.asked["bat"] == NEVER_PACKED


@pytest.mark.parametrize("change", ["bytes", "label", "removed"])
def test_a_changed_image_changes_its_class_alone(packed: Packed, shards: Path, change: str) -> None:
    members = labelled({"x0": "bat", "x1": "car", "x2": "bat"})
    if change == "bytes":
        members[0] = ("x0.png", picture(99))
    elif change == "label":
        members[1] = ("x0.cls", b"car")
    else:
        members = members[2:]
    write_tar(shards / "a-0.tar", members)
    assert packed.changed() == (["bat", "car"] if change == "label" else ["bat"])


def test_touched_and_repacked_tars_change_no_class(packed: Packed, shards: Path) -> None:
    for number, tar in enumerate(sorted(shards.iterdir())):
        os.utime(tar, (number, number))
    assert packed.changed() == []
    assert index_token(packed.settings, packed.out) != NEVER_PACKED
    packed.index()
    assert packed.changed() == []
    # The same images in one tar instead of two.
    members = labelled({"x0": "bat", "x1": "car", "x2": "bat"})
    members += labelled({"y0": "1", "y1": "0"}, start=10)
    shutil.rmtree(shards)
    write_tar(shards / "all.tar", members)
    assert packed.changed() == []


def test_an_image_that_changed_since_the_scan_is_refused(packed: Packed, shards: Path) -> None:
    rows = read_rows(packed.out / "bat.jsonl")
    (shards / "a-0.tar").write_bytes(b"\0" * 5000)
    read = source_of(packed.settings).open_images(packed.settings, packed.out)
    with pytest.raises(CapsynthError, match="'x0' changed while it was packed"):
        read(rows[0])


# ---- Hugging Face -------------------------------------------------------------------------------


def hub_table(names: list[str] | None, n: int = 6) -> object:
    import datasets

    label = datasets.ClassLabel(names=names) if names else datasets.Value("string")
    values = [i % 2 for i in range(n)] if names else [CLASSES[i % 2] for i in range(n)]
    return datasets.Dataset.from_dict(
        {"picture": [{"bytes": picture(i), "path": f"p{i}.png"} for i in range(n)], "kind": values},
        features=datasets.Features({"picture": datasets.Image(), "kind": label}),
    )


def hub_settings(path: Path, **changes: object) -> SourceSettings:
    columns = {"image_column": "picture", "label_column": "kind", "split": "train"}
    return settings_of(path, **{"source": "huggingface", **columns, **changes})


def save(table: object, folder: Path, form: str) -> None:
    import datasets

    if form == "disk":
        table.save_to_disk(str(folder))
    elif form == "splits":
        datasets.DatasetDict({"train": table, "test": table.select([0])}).save_to_disk(str(folder))
    else:
        (folder / "data").mkdir(parents=True)
        table.to_parquet(str(folder / "data" / "train-00000-of-00001.parquet"))


@pytest.mark.parametrize("form", ["disk", "splits", "parquet"])
@pytest.mark.parametrize("names", [["bat", "car"], ["flying animal", "motor car"], None])
def test_a_hub_data_set_gives_every_class_its_images(
    tmp_path: Path, form: str, names: list[str] | None
) -> None:
    folder, out = tmp_path / "set", tmp_path / "index"
    save(hub_table(names), folder, form)
    settings = hub_settings(folder)
    assert index_source(settings, CLASSES, NEVER_PACKED, out) == {"bat": 3, "car": 3}
    rows = read_rows(out / "car.jsonl")
    assert [(row.key, row.row) for row in rows] == [(f"p{i}-{i:08d}", i) for i in (1, 3, 5)]
    read = source_of(settings).open_images(settings, out / ".cache")
    assert [read(row) for row in rows] == [picture(i) for i in (1, 3, 5)]
    assert index_token(settings, out) == NEVER_PACKED


def test_a_hub_data_set_changes_as_a_whole_and_by_content(tmp_path: Path) -> None:
    folder, out = tmp_path / "set", tmp_path / "index"
    save(hub_table(CLASSES), folder, "disk")
    settings = hub_settings(folder)
    index_source(settings, CLASSES, NEVER_PACKED, out)
    before = class_digests(settings, CLASSES, out)
    for path in folder.iterdir():
        os.utime(path, (1, 1))
    assert class_digests(settings, CLASSES, out) == before
    assert index_token(settings, out) == NEVER_PACKED
    shutil.rmtree(folder)
    save(hub_table(CLASSES, n=8), folder, "disk")
    after = class_digests(settings, CLASSES, out)
    assert all(after[c] != before[c] for c in CLASSES)
    index_source(settings, CLASSES, index_token(settings, out), out)
    assert class_digests(settings, CLASSES, out) == after


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "val"}, "no split 'val'; it has test, train"),
        ({"image_column": "image"}, "no column 'image'; set image_column to one of picture, kind"),
        ({"label_column": "label"}, "no column 'label'; set label_column"),
    ],
)
def test_what_a_hub_data_set_lacks_is_named(
    tmp_path: Path, changes: dict[str, str], message: str
) -> None:
    save(hub_table(CLASSES), tmp_path / "set", "splits")
    with pytest.raises(CapsynthError, match=message):
        index_source(hub_settings(tmp_path / "set", **changes), CLASSES, "t", tmp_path / "i")


def test_a_missing_hub_data_set_and_an_unknown_source_are_named(tmp_path: Path) -> None:
    with pytest.raises(CapsynthError, match="does not exist or is empty; `snakemake prefetch`"):
        index_source(hub_settings(tmp_path / "none"), CLASSES, "t", tmp_path / "i")
    with pytest.raises(CapsynthError, match="did you mean 'webdataset'"):
        source_of(settings_of("x", source="webdatset"))


def test_the_index_is_one_small_file_a_class(shards: Path, tmp_path: Path) -> None:
    index_source(settings_of(shards), CLASSES, "t", tmp_path / "i")
    listed = sorted(path.name for path in (tmp_path / "i").glob("[a-z]*"))
    assert listed == ["bat.jsonl", "car.jsonl"]
    first = json.loads((tmp_path / "i" / "bat.jsonl").read_text().splitlines()[0])
    assert first.keys() == {"key", "sha256", "file", "offset", "size", "row"}
