import base64
import io
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

from capsynth.errors import CapsynthError
from capsynth.files import write_json_lines
from capsynth.reporting import gallery
from capsynth.reporting.browsing import Filter, Row, browsing_page, data_uri
from capsynth.reporting.scores import Score
from capsynth.shards import Sample, ShardRecord, encode_image, write_shard

HOSTILE = '"><script>alert(1)</script>\u202e<img src=x onerror=alert(2)>'


def write_images(
    folder: Path, colour: str, indices: list[int], rejected: int | None = None, side: int = 8
) -> gallery.ShardFiles:
    samples = []
    for index in indices:
        ok = index != rejected
        record = ShardRecord(
            key=f"bat_{index:06d}",
            class_id="bat",
            class_index=0,
            index=index,
            status="ok" if ok else "rejected",
            fingerprint="f",
            extension="png" if ok else None,
            prompt=HOSTILE,
            reason=None if ok else "black image",
        )
        image = encode_image(Image.new("RGB", (side, side), colour), "png") if ok else None
        samples.append(Sample(record, image))
    files = gallery.ShardFiles(folder / f"{colour}.tar", folder / f"{colour}.jsonl")
    write_shard(files.tar, files.manifest, samples)
    return files


def write_captions(path: Path, n: int) -> Path:
    write_json_lines(
        path,
        (
            {
                "key": f"bat_{i:06d}",
                "class_id": "bat",
                "index": i,
                "caption": f"{HOSTILE} {i}",
                "status": "ok" if i else "empty",
                "fingerprint": "f",
            }
            for i in range(n)
        ),
    )
    return path


class Page(HTMLParser):
    """Collects tags, and the texts of the table's rows."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.rows: list[str] = []
        self.images: list[str] = []
        self._inside = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "tbody":
            self._inside = True
        if tag == "tr" and self._inside:
            self.rows.append("")
        if tag == "img":
            self.images.append(dict(attrs)["src"] or "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "tbody":
            self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside and self.rows:
            self.rows[-1] += data


def make_page(tmp_path: Path, most: int = 3) -> Page:
    inputs = gallery.GalleryInputs(
        (write_images(tmp_path, "red", [3, 0, 1, 2], rejected=1),),
        (write_captions(tmp_path / "captions.jsonl", 4),),
        {"v": (write_images(tmp_path, "blue", [0, 2], rejected=2),)},
        ("v",),
    )
    gallery.make_gallery(inputs, most, tmp_path / "gallery.html")
    return Page((tmp_path / "gallery.html").read_text(encoding="utf-8"))


def test_rows_pair_the_first_usable_real_images_with_what_was_drawn_for_them(
    tmp_path: Path,
) -> None:
    found = make_page(tmp_path)
    assert [row[3:13] for row in found.rows] == ["bat_000000", "bat_000002", "bat_000003"]
    assert "[empty]" in found.rows[0]
    assert "rejected: black image" in found.rows[1]
    assert "not drawn" in found.rows[2]


def test_a_caption_stands_beside_the_image_of_its_class(tmp_path: Path) -> None:
    paths = []
    for class_id in ("bat", "car"):
        paths.append(tmp_path / f"{class_id}.jsonl")
        row = {"key": "0001", "class_id": class_id, "caption": f"a {class_id}", "status": "ok"}
        write_json_lines(paths[-1], [row])
    captions = gallery.read_captions(paths)
    assert captions == {("bat", "0001"): "a bat", ("car", "0001"): "a car"}


def test_of_several_images_of_one_real_image_the_first_is_shown(tmp_path: Path) -> None:
    files = gallery.ShardFiles(tmp_path / "s.tar", tmp_path / "s.jsonl")
    samples = [
        Sample(
            ShardRecord(key, "bat", 0, index, "ok", "f", "png"),
            encode_image(Image.new("RGB", (8, 8), "red"), "png"),
        )
        for key, index in [("bat_000000", 0), ("bat_000000-1", 0), ("bat_000001", 1)]
    ]
    write_shard(files.tar, files.manifest, samples)
    strip = gallery.read_pictures([files], most=2)
    assert [p.record.key for p in strip.values()] == ["bat_000000", "bat_000001"]
    assert gallery.read_paired([files], strip) == strip


def test_images_of_a_row_are_the_bytes_of_the_shards(tmp_path: Path) -> None:
    found = make_page(tmp_path, most=1)
    colours = []
    for uri in found.images:
        head, _, data = uri.partition(",")
        assert head == "data:image/png;base64"
        with Image.open(io.BytesIO(base64.b64decode(data))) as image:
            colours.append(image.getpixel((0, 0)))
    assert colours == [(255, 0, 0), (0, 0, 255)]


def test_captions_that_carry_markup_are_shown_as_text(tmp_path: Path) -> None:
    found = make_page(tmp_path)
    assert found.tags.count("script") == 1
    assert found.tags.count("img") == 4
    assert f"{HOSTILE} 2" in found.rows[1]


def test_large_images_are_scaled_down(tmp_path: Path) -> None:
    files = write_images(tmp_path, "green", [0], side=600)
    (picture,) = gallery.read_pictures([files], 1).values()
    assert picture.image
    uri = data_uri(picture.image, "png", gallery.LONGEST_SIDE)
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
        assert image.size == (192, 192)


def test_the_strip_shows_a_row_a_class_and_variant_and_repeats_its_bytes(tmp_path: Path) -> None:
    files = write_images(tmp_path, "blue", [0, 1, 2], rejected=1)
    inputs = gallery.GalleryInputs((files,), (), {"v": (files,), "w": (files,)}, ("v", "w"))
    for name in ("a.png", "b.png"):
        gallery.make_strip(inputs, ["bat"], 3, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        colours = {
            image.convert("RGB").getpixel((x, image.height // 4)) for x in range(image.width)
        }
    assert {(0, 0, 255), (236, 236, 236)} <= colours


def test_an_unknown_ambiguous_class_or_variant_is_refused(tmp_path: Path) -> None:
    files = write_images(tmp_path, "blue", [0])
    inputs = gallery.GalleryInputs((files,), (), {"v": (files,)}, ("v",))
    with pytest.raises(CapsynthError, match="unknown ambiguous class 'bats'; did you mean 'bat'"):
        gallery.make_strip(inputs, ["bats"], 3, tmp_path / "x.png")
    with pytest.raises(CapsynthError, match="name some with --ambiguous"):
        gallery.make_strip(inputs, [], 3, tmp_path / "x.png")
    wrong = gallery.GalleryInputs((files,), (), {"v": (files,)}, ("w",))
    with pytest.raises(CapsynthError, match="unknown variant in --columns 'w'"):
        gallery.make_gallery(wrong, 3, tmp_path / "x.html")


def test_classes_have_their_gain_and_sort_by_it(tmp_path: Path) -> None:
    gain = gallery.GalleryGain("a", "b", "val", "tiny")
    scores = [
        Score("toy", "a - b", "tiny", None, "val", "top1/bat", -0.125, -0.2, 0.0, 8),
        Score("toy", "a - b", "tiny", None, "other", "top1/bat", 0.5, 0.2, 0.8, 8),
        Score("toy", "a - b", "large", None, "val", "top1/bat", 0.5, 0.2, 0.8, 8),
        Score("toy", "a", "tiny", None, "val", "top1/bat", 0.5, 0.2, 0.8, 8),
        Score("toy", "a - b", "tiny", None, "val", "top1", 0.5, 0.2, 0.8, 8),
    ]
    assert gallery.class_gains(scores, gain) == {"bat": -0.125}
    inputs = gallery.GalleryInputs(
        (write_images(tmp_path, "red", [0]),), (write_captions(tmp_path / "c.jsonl", 1),), {}, ()
    )
    gallery.make_gallery(inputs, 1, tmp_path / "gallery.html", gain, scores)
    text = (tmp_path / "gallery.html").read_text(encoding="utf-8")
    assert 'data-gain="-0.125000"' in text
    assert "\N{MINUS SIGN}12.5 points" in text
    assert "biggest loss first" in text
    assert "top-1 accuracy of a less b on val" in text


def test_a_gallery_without_a_comparison_offers_no_order(tmp_path: Path) -> None:
    make_page(tmp_path)
    text = (tmp_path / "gallery.html").read_text(encoding="utf-8")
    assert "<select data-sorts" not in text
    assert "points" not in text


def test_many_classes_are_filtered_by_a_list(tmp_path: Path) -> None:
    values = [HOSTILE, *(f"class-{i}" for i in range(30))]
    rows = [Row({"class": value}, "<td></td>") for value in values]
    for most, tag in ((24, "button"), (25, "option")):
        text = browsing_page(
            "t", "n", heads=[], rows=rows, filters=[Filter("class", "all", values[:most])],
            sorts=[], searched="x",
        )  # fmt: skip
        assert Page(text).tags.count(tag) == most + 1
        assert Page(text).tags.count("script") == 1
