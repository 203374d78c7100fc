"""What an image of others may cost: bounds that are known before it is decoded, and hold."""

import errno
import io
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageFile

from capsynth import image_costs
from capsynth.image_parts import tiff_values
from capsynth.source_images import ImageFormat, stored_bytes

SCRIPTS = Path(__file__).resolve().parents[2] / "workflow" / "scripts"
FORM = ImageFormat(None, "png")


def encoded(image: Image.Image, kind: str, **settings: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **settings)
    return buffer.getvalue()


# Prints of each file what is assumed and what was taken.
MEASURE = """
import sys
from capsynth import image_costs, source_images
assumed = []
def check(image, data, turned, encoded, real=image_costs.check_cost):
    real(image, data, turned, encoded)
    scans = data.count(b"\\xff\\xda") if image.format == "JPEG" else 1
    a_pixel = image_costs._bytes_a_pixel(image, scans, turned, encoded)
    assumed.append(2 * len(data) + image.width * image.height * a_pixel)
source_images.check_cost = check
def memory(kind):
    with open("/proc/self/status") as file:
        return int(dict(line.split(":", 1) for line in file)[kind].split()[0]) * 1024
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        data = file.read()
    assumed.clear()
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")  # forget the peak
    before = memory("VmRSS")
    source_images.stored_bytes(data, source_images.ImageFormat(None, "jpg"))
    print(path, max(assumed), memory("VmHWM") - before)
"""


def images(side: int) -> dict[str, bytes]:
    """Images that take much memory, by file name: by their format, and by what is done to them."""
    plain, clear = Image.new("RGB", (side, side), (9, 99, 1)), Image.new("RGBA", (side, side))
    exif = Image.Exif()
    exif[0x0112] = 6
    return {
        f"a{side}.webp": encoded(plain, "WEBP", lossless=True),
        f"b{side}.webp": encoded(clear, "WEBP", lossless=True),
        f"a{side}.jpg": encoded(plain, "JPEG", exif=exif),
        f"b{side}.jpg": encoded(plain, "JPEG", progressive=True, subsampling=0),
        f"c{side}.jpg": encoded(plain.convert("CMYK"), "JPEG"),
        f"a{side}.png": encoded(clear, "PNG"),
        f"b{side}.png": encoded(plain.convert("P"), "PNG", transparency=b"\0\x33"),
        f"c{side}.png": encoded(Image.new("I;16", (side, side), 999), "PNG"),
        f"a{side}.gif": encoded(plain, "GIF"),
        f"a{side}.tif": encoded(plain, "TIFF", compression="tiff_lzw"),
        f"a{side}.bmp": encoded(plain, "BMP"),
    }


def test_no_image_takes_more_memory_than_is_assumed(tmp_path: Path) -> None:
    # Small ones first: libraries are loaded, and count for none.
    files = {**images(16), **images(1600)}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *files], cwd=tmp_path, env={"PYTHONPATH": str(SCRIPTS)},
        capture_output=True, text=True,
    )  # fmt: skip
    if "clear_refs" in done.stderr:
        pytest.skip("this system does not say what a process has taken at most")
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()][-11:]
    assert [row[0] for row in rows] == list(images(1600))
    # A few megabytes are rows that are converted at once.
    assert [row for row in rows if int(row[2]) > int(row[1]) + 12_000_000] == []
    assert int(rows[0][2]) > 0.5 * int(rows[0][1])  # the peak is measured


def test_memory_is_bounded_by_what_a_job_that_packs_asks_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = encoded(Image.new("RGB", (100, 100)), "WEBP", lossless=True)
    monkeypatch.setattr(image_costs, "MAX_MEMORY_BYTES", 160_000)
    with pytest.raises(ValueError, match=r"100x100 pixels as WEBP would take 0\.0 GB of memory"):
        stored_bytes(data, FORM)
    assert stored_bytes(encoded(Image.new("RGB", (100, 100)), "JPEG"), FORM)
    rules = (SCRIPTS.parent / "rules" / "packing.smk").read_text(encoding="utf-8")
    assert "mem_mb=grows(2000)" in rules.split("rule pack_real:", 1)[1].split("rule ", 1)[0]


def tiff(number: int, order: str = "<", kind: int = 4) -> bytes:
    """A TIFF file of 64 x 64 pixels with a table of so many strips of 32 rows."""
    pixels = 64 * 64
    at = 8 + pixels
    entries = [(256, 3, 1, 64), (257, 3, 1, 64), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
               (273, kind, number, at), (278, 3, 1, 32), (279, 4, number, at)]  # fmt: skip
    table = struct.pack(f"{order}{number}I", *[8] * number)
    at += len(table)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", at)
    body = struct.pack(f"{order}H", len(entries))
    for tag, form, count, value in entries:
        short = form == 3 and count == 1
        body += struct.pack(f"{order}HHI", tag, form, count)
        body += struct.pack(f"{order}HH", value, 0) if short else struct.pack(f"{order}I", value)
    return head + bytes(pixels) + table + body + bytes(4)


def test_pieces_that_lie_one_over_the_other_are_not_decoded() -> None:
    assert tiff_values(tiff(3)) == 3 + 3 + 6
    with pytest.raises(ValueError, match="its pieces are larger than the image"):
        stored_bytes(tiff(500), FORM)


@pytest.mark.parametrize("order", ["<", ">"])
def test_numbers_of_a_tiff_file_are_counted_whatever_their_order(order: str) -> None:
    assert tiff_values(tiff(70, order)) == 146
    assert tiff_values(tiff(70, order, kind=7)) == 76  # bytes are kept as they are
    assert tiff_values(b"II*\0" + b"\xff" * 20) == 0
    assert tiff_values(b"II+\0\x08\0\0\0" + struct.pack("<QQ", 16, 1 << 60)) == 0


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (OSError(errno.EMFILE, "Too many open files"), OSError),
        (OSError("out of memory error when reading image file"), MemoryError),
        (MemoryError(), MemoryError),
    ],
)
def test_what_the_machine_lacks_is_no_property_of_an_image(
    error: BaseException, raised: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    def ill(*_: object) -> None:
        raise error

    monkeypatch.setattr(ImageFile.ImageFile, "load", ill)
    with pytest.raises(raised):
        stored_bytes(encoded(Image.new("RGB", (9, 9)), "BMP"), FORM)
