"""What becomes of every kind of bad image in a class folder: the table of docs/reliability.md."""

import io
import os
import re
import signal
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from settings import captioner_settings
from waiting import BACKSTOP_S

import pack_eval_set
import pack_real
from capsynth import cli
from capsynth.captioners import CaptionerSettings
from capsynth.captioning import caption_shard
from capsynth.datasets.folder import NEVER_PACKED, source_token
from capsynth.datasets.images import ShardedImages
from capsynth.errors import CapsynthError
from capsynth.files import dump_json, read_json_lines
from capsynth.shards import ShardReader, ShardRecord, read_manifest
from capsynth.transforms import Preprocessing, evaluation_transform

ROOT = Path(__file__).resolve().parents[2]
RED, GREEN, BLUE, WHITE, GREY = (254, 0, 0), (0, 255, 1), (0, 0, 254), (255,) * 3, (128,) * 3
PLACE = b"SECRETPLACE"
# A reader that waits for ever fails its test, however busy the machine is.
PATIENCE_S = int(BACKSTOP_S)


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    def expired(*_: object) -> None:
        pytest.fail(f"still at work after {PATIENCE_S} seconds")  # no Exception: nothing catches it

    before = signal.signal(signal.SIGALRM, expired)
    signal.alarm(PATIENCE_S)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


# ---- the kinds ----------------------------------------------------------------------------------


def encoded(image: Image.Image, kind: str = "PNG", **settings: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


def plain(colour: tuple[int, ...] = RED, mode: str = "RGB", size: int = 24) -> Image.Image:
    return Image.new(mode, (size, size), colour)


def photo(seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))


def chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def png_of_size(width: int, height: int) -> bytes:
    """A PNG file of a few bytes that announces any size."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + header + pixels + chunk(b"IEND", b"")


def jpeg_of_scans(number: int) -> bytes:
    """A small JPEG file that is to be decoded so many times."""
    data = encoded(plain(size=1200), "JPEG", progressive=True)
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + number * last + b"\xff\xd9"


def jpeg_of_size(side: int, **settings: object) -> bytes:
    """A JPEG file of 64 x 64 pixels that announces others."""
    data = encoded(photo(), "JPEG", **settings)
    at = next(i for i in map(data.find, (b"\xff\xc0", b"\xff\xc2")) if i > 0)
    return data[: at + 5] + struct.pack(">HH", side, side) + data[at + 9 :]


def webp_of_size(side: int) -> bytes:
    """A WebP file of one colour, in 34 bytes."""
    bits = (side - 1) | (side - 1) << 14
    for code in range(5):  # each colour is a code of one sign
        bits |= 1 << (35 + 4 * code)
    body = b"VP8L" + struct.pack("<I", 13) + b"\x2f" + bits.to_bytes(12, "little") + b"\0"
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def tiff_of_strips(number: int) -> bytes:
    """A TIFF file of one pixel that announces a table of so many strips."""
    tags = {256: (4, 1, 1), 257: (4, 1, 1), 258: (3, 1, 8), 259: (3, 1, 1), 262: (3, 1, 1),
            273: (4, number, 8), 279: (4, number, 8)}  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, *values) for tag, values in tags.items())
    at = 8 + 4 * number
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", at) + bytes(4 * number) + directory


def short_png(rows: int, behind: bytes = b"") -> bytes:
    """A PNG file of 64 x 64 red pixels, of which it has so many rows."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0))
    data = zlib.compress(rows * (b"\0" + bytes(RED) * 64) + behind)
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def with_previews() -> bytes:
    """A JPEG file with all previews that JFIF knows, one of them with EXIF of its own."""
    exif = Image.Exif()
    exif[0x010F] = PLACE.decode()
    small = encoded(plain(size=8), "JPEG", exif=exif)
    data = jpeg()
    rgb = b"JFIF\0\1\1\0\0\1\0\1" + bytes([4, 4]) + (PLACE * 9)[:48]
    parts = [rgb, b"JFXX\0\x10" + small, b"JFXX\0\x13" + bytes([2, 2]) + (PLACE * 2)[:12], rgb]
    made = (b"\xff\xe0" + struct.pack(">H", 2 + len(part)) + part for part in parts)
    return data[:2] + b"".join(made) + data[20:]


def with_payload(kind: str) -> bytes:
    """A PNG file of the photo with text where a reader of pixels does not look."""
    data = encoded(photo())
    at = data.index(b"IEND") - 4
    if kind == "stream":  # behind the compressed data, in the last chunk of them and in another
        start = data.index(b"IDAT") - 4
        size = int.from_bytes(data[start : start + 4], "big")
        body = data[start + 8 : start + 8 + size] + PLACE
        return data[:start] + chunk(b"IDAT", body) + chunk(b"IDAT", PLACE) + data[at:]
    if kind == "end":
        return data[:at] + chunk(b"IEND", PLACE)
    number = chunk(b"pHYs", struct.pack(">IIB", 1, 1, 0))
    text = chunk(b"pHYs", PLACE[:9]) + chunk(b"gAMA", PLACE[:4] + PLACE) + chunk(b"PLTE", PLACE * 3)
    return data[:33] + number + text + chunk(b"iCCP", b"P\0\0" + zlib.compress(PLACE)) + data[33:]


def frames(kind: str) -> bytes:
    return encoded(
        plain(), kind, save_all=True, append_images=[plain(BLUE)], duration=90, lossless=True
    )


def half(left: tuple[int, ...], right: tuple[int, ...]) -> Image.Image:
    image = Image.new("RGB", (48, 24), left)
    image.paste(right, (24, 0, 48, 24))
    return image


def turned(kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = PLACE.decode()
    exif.get_ifd(0x8825)[1] = "N"
    lying = half(RED, BLUE).transpose(Image.Transpose.ROTATE_90)
    settings = {"lossless": True} if kind == "WEBP" else {}
    return encoded(lying, kind, exif=exif, **settings)


def see_through(mode: str) -> bytes:
    """An image whose left half is red (or grey), and whose right half is black and transparent."""
    colour = {"RGBA": (*RED, 255), "LA": (128, 255)}.get(mode, 1)
    image = Image.new(mode, (48, 24), colour)
    image.paste((0,) * len(image.getbands()) if mode != "P" else 0, (24, 0, 48, 24))
    if mode != "P":
        return encoded(image)
    image.putpalette([0, 0, 0, *RED])
    return encoded(image, transparency=b"\x00\xff")


def sixteen_bits(kind: str, mode: str = "I;16") -> bytes:
    ramp = np.linspace(0, 65535, 48, dtype=np.uint16)
    pixels = np.tile(ramp, (24, 1)).astype(">u2" if mode == "I;16B" else "<u2")
    return encoded(Image.frombytes(mode, (48, 24), pixels.tobytes()), kind)


def profiled() -> bytes:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return encoded(photo(), "JPEG", icc_profile=profile)


# Functions that make an image file (or something like it) at a path.
Make = Callable[[Path], object]
Check = Callable[[Image.Image], bool]


def file(data: Callable[[], bytes]) -> Make:
    return lambda path: path.write_bytes(data())


def image_file(image: Callable[[], Image.Image], kind: str = "PNG", **settings: object) -> Make:
    return file(lambda: encoded(image(), kind, **settings))


def link(target: Callable[[Path], Path], make: Make | None = None) -> Make:
    def of(path: Path) -> None:
        if make:
            make(target(path))
        path.symlink_to(target(path))

    return of


def outside(path: Path) -> Path:
    return path.parent.parent / "elsewhere.png"


def bound_socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # names of sockets have few characters
    socket.socket(socket.AF_UNIX).bind(path.name)
    os.chdir(here)


def hole(path: Path) -> None:
    with path.open("wb") as sparse:
        sparse.truncate(1 << 40)


def sealed(path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root reads every file")
    path.write_bytes(encoded(plain()))
    path.chmod(0)


def near(colour: tuple[int, ...], at: tuple[int, int] = (6, 6), within: int = 3) -> Check:
    return lambda image: (
        max(abs(a - b) for a, b in zip(image.getpixel(at), colour, strict=True)) <= within
    )


def both(left: tuple[int, ...], right: tuple[int, ...]) -> Check:
    return lambda image: (
        image.size == (48, 24) and near(left)(image) and near(right, (42, 12))(image)
    )


def same_as(expected: Callable[[], Image.Image]) -> Check:
    return lambda image: np.array_equal(np.asarray(image), np.asarray(expected()))


def is_ramp(image: Image.Image) -> bool:
    expected = np.linspace(0, 255, 48)
    return bool(np.abs(np.asarray(image)[5, :, 0] - expected).max() <= 1)


@dataclass(frozen=True)
class Kind:
    """A kind of bad image: how it is made, and what becomes of it.

    Attributes:
        make: Makes it.
        used: What holds of the stored image; None if it is set aside.
        reason: What the manifest says of one that is set aside.
        name: Name of the file.
    """

    make: Make
    used: Check | None = None
    reason: str = ""
    name: str = "a.png"


def jpeg() -> bytes:
    return encoded(photo(), "JPEG", quality=95)


RED_FILE = image_file(plain)
KINDS = {
    "empty file": Kind(file(bytes), reason="no image"),
    "truncated JPEG": Kind(file(lambda: jpeg()[:-1500]), reason="truncated", name="a.jpg"),
    "truncated PNG": Kind(file(lambda: encoded(photo())[:-5000]), reason="truncated"),
    "JPEG header alone": Kind(file(lambda: jpeg()[:300]), reason="Truncated", name="a.jpg"),
    "damaged in the middle": Kind(
        file(lambda: (d := encoded(photo()))[:3000] + bytes(3000) + d[6000:]), reason="broken"
    ),
    "text": Kind(file(lambda: b"not an image\n" * 99), reason="no image"),
    "HTML page named .jpg": Kind(
        file(lambda: b"<!DOCTYPE html><title>404</title>"), reason="no image", name="a.jpg"
    ),
    "zip archive named .png": Kind(file(lambda: b"PK\x03\x04" + bytes(99)), reason="no image"),
    "PostScript named .jpg": Kind(
        file(lambda: encoded(plain(), "EPS")), reason="no image", name="a.jpg"
    ),
    "decompression bomb": Kind(file(lambda: png_of_size(60000, 60000)), reason="Bomb"),
    "JPEG of 2,000 scans": Kind(
        file(lambda: jpeg_of_scans(2000)), reason="scans of 1200x1200 pixels take too long",
        name="a.jpg",
    ),
    "WebP of 34 bytes and 177 megapixels": Kind(
        file(lambda: webp_of_size(13300)), reason="13300x13300 pixels as WEBP would take 2.8 GB",
        name="a.webp",
    ),
    "TIFF of two million strips": Kind(
        file(lambda: tiff_of_strips(2_000_000)), reason="numbers in its TIFF directory",
        name="a.tif",
    ),
    "header larger than the data, JPEG": Kind(
        file(lambda: jpeg_of_size(640)), reason="its data end before its 640x640 pixels do",
        name="a.jpg",
    ),
    "header larger than the data, PNG": Kind(
        file(lambda: short_png(32)), reason="its data end before its 64x64 pixels do"
    ),
    "file of a terabyte (sparse)": Kind(hole, reason="1099511627776 bytes are more"),
    "extreme aspect ratio": Kind(
        image_file(lambda: Image.new("RGB", (30000, 1), RED)),
        reason="30000x1 pixels are no shape of a picture",
    ),
    "32-bit pixels": Kind(
        image_file(lambda: Image.new("F", (9, 9), 0.5), "TIFF"), reason="32 bits", name="a.tif"
    ),
    "unreadable file": Kind(sealed, reason="Permission denied"),
    "dangling link": Kind(link(lambda path: path.with_name("gone")), reason="leads nowhere"),
    "link to itself": Kind(link(lambda path: path), reason="leads nowhere"),
    "link to a file that is no image": Kind(
        link(lambda _: Path("/etc/passwd")), reason="no image"
    ),
    "link to a device": Kind(link(lambda _: Path("/dev/zero")), reason="a pipe or device"),
    "pipe": Kind(os.mkfifo, reason="a pipe or device"),
    "socket": Kind(bound_socket, reason="a pipe or device"),
    "folder named like an image": Kind(lambda path: path.mkdir(), reason="a folder"),
    "hidden file": Kind(RED_FILE, reason="a hidden file", name=".a.png"),
    "link out of the folder": Kind(link(outside, RED_FILE), near(RED)),
    "wrong extension": Kind(image_file(photo), same_as(photo), name="a.jpg"),
    "extension in capitals": Kind(RED_FILE, near(RED), name="A.PNG"),
    "CMYK": Kind(
        image_file(lambda: Image.new("CMYK", (24, 24), (0, 255, 255, 0)), "JPEG"),
        near(RED),
        name="a.jpg",
    ),
    "black and white": Kind(image_file(lambda: Image.new("1", (24, 24), 1)), near(WHITE)),
    "16-bit grey PNG": Kind(file(lambda: sixteen_bits("PNG")), is_ramp),
    "16-bit grey TIFF, other byte order": Kind(
        file(lambda: sixteen_bits("TIFF", "I;16B")), is_ramp, name="a.tiff"
    ),
    "palette with alpha": Kind(file(lambda: see_through("P")), both(RED, WHITE)),
    "RGB with alpha": Kind(file(lambda: see_through("RGBA")), both(RED, WHITE)),
    "grey with alpha": Kind(file(lambda: see_through("LA")), both(GREY, WHITE)),
    "RGB with a transparent colour": Kind(
        image_file(lambda: half(RED, BLUE), transparency=BLUE), both(RED, WHITE)
    ),
    "animated GIF": Kind(file(lambda: frames("GIF")), near(RED), name="a.gif"),
    "animated WebP": Kind(file(lambda: frames("WEBP")), near(RED), name="a.webp"),
    "animated PNG": Kind(file(lambda: frames("PNG")), near(RED)),
    "several pictures in a JPEG (MPO)": Kind(file(lambda: frames("MPO")), near(RED), name="a.jpg"),
    "turned by EXIF, JPEG": Kind(file(lambda: turned("JPEG")), both(RED, BLUE), name="a.jpg"),
    "turned by EXIF, PNG": Kind(file(lambda: turned("PNG")), both(RED, BLUE)),
    "turned by EXIF, WebP": Kind(file(lambda: turned("WEBP")), both(RED, BLUE), name="a.webp"),
    "damaged EXIF": Kind(
        image_file(plain, "JPEG", exif=b"Exif\0\0MM\0*\xff\xff\xff\xffno"), near(RED), name="a.jpg"
    ),
    "colour profile (ICC)": Kind(
        file(profiled), lambda i: same_as(lambda: Image.open(io.BytesIO(profiled())))(i),
        name="a.jpg",
    ),
    "film behind a JPEG": Kind(
        file(lambda: jpeg() + b"ftypmp42" + PLACE * 50),
        lambda i: same_as(lambda: Image.open(io.BytesIO(jpeg())))(i),
        name="a.jpg",
    ),
    "previews in a JPEG (JFIF, JFXX)": Kind(
        file(with_previews),
        lambda i: same_as(lambda: Image.open(io.BytesIO(jpeg())))(i),
        name="a.jpg",
    ),
    "bytes behind the pixels of a PNG": Kind(
        file(lambda: with_payload("stream")), same_as(photo)
    ),
    "rows behind the last of a PNG": Kind(
        file(lambda: short_png(64, PLACE * 9)), lambda i: i.size == (64, 64) and near(RED)(i)
    ),
    "numbers of a PNG twice, or too long": Kind(
        file(lambda: with_payload("twice")), same_as(photo)
    ),
    "end of a PNG with text": Kind(file(lambda: with_payload("end")), same_as(photo)),
    "text in a PNG": Kind(
        file(lambda: (d := encoded(photo()))[:33] + chunk(b"tEXt", b"GPS\0" + PLACE) + d[33:]),
        same_as(photo),
    ),
    "1x1": Kind(image_file(lambda: plain(size=1)), near(RED, (0, 0))),
    "100 megapixels": Kind(
        image_file(lambda: Image.new("1", (10000, 10000), 1)),
        lambda i: i.size == (64, 64) and near(WHITE)(i),
    ),
    "name with spaces and quotes": Kind(RED_FILE, near(RED), name="a 'b' \"c\" $(d) `e`;&|*.png"),
    "name with a newline": Kind(RED_FILE, near(RED), name="a\ncapsynth: {}\r\tb.png"),
    "name that is not UTF-8": Kind(RED_FILE, near(RED), name=os.fsdecode(b"a\xff\xfe.png")),
    "name that turns the writing direction": Kind(RED_FILE, near(RED), name="a\u202egnp.png"),
    "name of 255 characters": Kind(RED_FILE, near(RED), name="x" * 251 + ".png"),
    "name that begins with a dash": Kind(RED_FILE, near(RED), name="--help.png"),
}  # fmt: skip


# ---- packing ------------------------------------------------------------------------------------


def flags(folder: Path, out: Path, **other: object) -> list[str]:
    given = {
        "folder": folder,
        "shard": "bat-0",
        "class-index": 0,
        "parts-per-class": 1,
        "format": dump_json({"side": 64, "extension": "png"}),
        "source-token": NEVER_PACKED,
        "tar": out / "bat-0.tar",
        "manifest": out / "bat-0.jsonl",
        "index": out / "index.json",
        **other,
    }
    return [f"--{name}={value}" for name, value in given.items()]


def pack(folder: Path, out: Path, **other: object) -> list[ShardRecord]:
    pack_real.main(flags(folder, out, **other))
    return read_manifest(out / "bat-0.jsonl")


def make(folder: Path, kind: str) -> None:
    folder.mkdir(parents=True)
    KINDS[kind].make(folder / KINDS[kind].name)


@pytest.mark.parametrize("settings", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("side", [65, 72, 128, 1000])
def test_a_jpeg_whose_data_end_early_is_told_from_one_that_is_whole(
    tmp_path: Path, settings: dict[str, object], side: int
) -> None:
    whole = Image.new("RGB", (side, side), GREY)
    whole.paste(photo())
    (tmp_path / "bat").mkdir()
    (tmp_path / "bat/a.jpg").write_bytes(jpeg_of_size(side, **settings))
    (tmp_path / "bat/b.jpg").write_bytes(encoded(whole, "JPEG", **settings))  # ends in one colour
    short, complete = pack(tmp_path / "bat", tmp_path / "out")
    assert short.reason == f"a.jpg: its data end before its {side}x{side} pixels do"
    assert complete.status == "ok"


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_used_rightly_or_set_aside_with_its_reason(kind: str, tmp_path: Path) -> None:
    folder, what = tmp_path / "bat", KINDS[kind]
    make(folder, kind)
    (record,) = pack(folder, tmp_path / "out")
    stored = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    assert PLACE not in stored
    assert str(tmp_path).encode() not in stored
    if what.used is None:
        assert record.status == "rejected"
        assert record.reason
        assert record.reason.startswith(f"{what.name}: ")
        assert what.reason in record.reason
        assert "root:" not in record.reason  # what a link led to
    else:
        assert record.status == "ok", record.reason
        with ShardReader(tmp_path / "out" / "bat-0.tar") as reader:
            assert what.used(reader.read_image(record))
    # Nothing has changed, whatever it is: a second run would pack nothing.
    assert source_token({"bat": folder}, tmp_path / "out" / "index.json") == NEVER_PACKED


# These cannot lie beside others under a name that has a number before it.
ALONE = {"unreadable file", "hidden file", "name of 255 characters"}


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder of nearly all kinds and of names that differ in case, and where it was packed."""
    root = tmp_path_factory.mktemp("everything")
    folder = root / "bat"
    folder.mkdir()
    for number, (kind, what) in enumerate(KINDS.items()):
        if kind not in ALONE:
            what.make(folder / f"{number:02d}{what.name}")
    for name in ("case.png", "CASE.png", "Case.PNG"):
        RED_FILE(folder / name)
    (folder / "notes.txt").write_text("no image, and not named like one")
    pack(folder, root / "out")
    return folder, root / "out"


def test_counts_add_up_and_names_that_differ_in_case_are_different_images(
    everything: tuple[Path, Path],
) -> None:
    folder, out = everything
    records = read_manifest(out / "bat-0.jsonl")
    made = len(KINDS) - len(ALONE) + 3
    assert len(records) == len(os.listdir(folder)) - 1 == made
    assert sorted(r.index for r in records) == list(range(made))
    used = [kind for kind, what in KINDS.items() if what.used and kind not in ALONE]
    assert sum(r.status == "ok" for r in records) == len(used) + 3
    assert {"case", "CASE", "Case"} <= {r.key for r in records if r.status == "ok"}


def test_whatever_is_used_can_be_captioned_and_trained_on(
    everything: tuple[Path, Path], tiny_captioner: Path, tmp_path: Path
) -> None:
    _, out = everything
    numbers = Preprocessing(16, "center", 0.9, "bilinear", (0.5,) * 3, (0.5,) * 3)
    images = ShardedImages(
        [(out / "bat-0.tar", out / "bat-0.jsonl", 1.0)], evaluation_transform(numbers)
    )
    assert all(images[i][0].shape == (3, 16, 16) for i in range(len(images)))
    settings = CaptionerSettings(
        **captioner_settings(tiny_captioner, family="encoder-decoder", batch_size=8)
    )
    caption_shard(settings, out / "bat-0.tar", out / "bat-0.jsonl", tmp_path / "c.jsonl", "mark")
    assert len(read_json_lines(tmp_path / "c.jsonl")) == len(images)


def test_the_reasons_are_one_line_each_in_the_log_and_in_the_manifest(
    everything: tuple[Path, Path],
) -> None:
    _, out = everything
    for record in read_manifest(out / "bat-0.jsonl"):
        assert "\n" not in record.key + (record.reason or "")
        record.key.encode()


def test_two_images_that_differ_in_their_extension_alone_do_not_stop_the_class(
    tmp_path: Path,
) -> None:
    (tmp_path / "bat").mkdir()
    for name in ("a.jpg", "a.png", "b.png"):
        RED_FILE(tmp_path / "bat" / name)
    records = pack(tmp_path / "bat", tmp_path / "out")
    assert [(r.status, r.reason) for r in records] == [
        ("ok", None),
        ("rejected", "a.png: the name of 'a.jpg' but for the extension"),
        ("ok", None),
    ]
    assert len({r.key for r in records}) == 3


def test_what_may_not_be_read_is_packed_once_it_may(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, index = tmp_path / "bat", tmp_path / "out" / "index.json"
    make(folder, "1x1")
    real = os.open

    def failing(path: object, *rest: object) -> int:
        if str(path).endswith("a.png"):
            raise PermissionError(13, "Permission denied")
        return real(path, *rest)  # type: ignore[arg-type]  # of any call

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", failing)
        (record,) = pack(folder, tmp_path / "out")
        assert record.reason == "a.png: Permission denied"
        assert source_token({"bat": folder}, index) == NEVER_PACKED
    # Same size, same time: only its bytes can be seen now.
    token = source_token({"bat": folder}, index)
    assert token != NEVER_PACKED
    (record,) = pack(folder, tmp_path / "out", **{"source-token": token})
    assert record.status == "ok"
    assert source_token({"bat": folder}, index) == token


# ---- the threshold ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "bad", "fails"),
    [(0.1, 2, False), (0.1, 3, True), (0, 1, True), (0.01, 1, False), (1, 20, False)],
)
def test_more_rejects_than_allowed_stop_the_run_and_the_message_names_the_setting(
    tmp_path: Path, share: float, bad: int, fails: bool
) -> None:
    folder, out = tmp_path / "bat", tmp_path / "out"
    folder.mkdir()
    for number in range(20):
        (folder / f"{number:02d}.png").write_bytes(b"" if number < bad else encoded(plain()))
    if not fails:
        assert len(pack(folder, out, **{"max-rejected": share})) == 20
        return
    pattern = rf"bat-0: {bad} of 20 images .*dataset\.max_rejected allows.*00\.png: no image"
    with pytest.raises(CapsynthError, match=pattern):
        pack(folder, out, **{"max-rejected": share})
    assert not list(out.glob("*"))  # nothing is published


def test_an_evaluation_set_has_no_holes(tmp_path: Path) -> None:
    make(tmp_path / "val" / "bat", "pipe")
    words = flags(tmp_path / "val", tmp_path / "out", **{"class-ids": "bat"})
    gone = ("--shard", "--class-index", "--parts")
    with pytest.raises(CapsynthError, match=r"cannot read .*bat/a\.png: a pipe or device; mend"):
        pack_eval_set.main([word for word in words if not word.startswith(gone)])


def test_a_class_folder_that_is_none_is_an_error_in_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bat").write_text("a file")
    assert cli.run(lambda: pack_real.main(flags(tmp_path / "bat", tmp_path / "out"))) == 1
    assert "error: class folder" in capsys.readouterr().err


# ---- the documentation --------------------------------------------------------------------------


def test_the_table_of_the_documentation_is_the_table_of_this_test() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    section = text.split("## Images", 1)[1].split("\n## ", 1)[0]
    rows = dict(re.findall(r"^\| ([^|]+?) \| (used|set aside)\b", section, re.M))
    assert rows == {kind: "used" if what.used else "set aside" for kind, what in KINDS.items()}
