"""Class names, captions and file names that are no plain words, from the prompt to the pages."""

import base64
import io
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from browser import EXECUTABLE, chromium
from PIL import Image
from settings import generator_settings
from waiting import BACKSTOP_S

import export_variant
import generate_images
import pack_real
import plot_gallery
import write_prompts
from capsynth.captions import CaptionPolicy, assess
from capsynth.files import dump_json, read_json_lines, write_json_lines
from capsynth.schema import load_schema
from capsynth.shards import read_manifest, usable

SCRIPTS = Path(__file__).resolve().parents[2] / "workflow" / "scripts"
TEXTS = {
    "HTML": "'\"><script>window.attacked = 1</script><img src=x onerror='window.attacked = 2'>",
    "LaTeX": r"\input{/etc/passwd} \write18{id} 50% $x_1$ {&} ~^#",
    "CSV formula": "=cmd|' /C calc'!A0, +1, -1, @SUM(A1)",
    "shell": "$(touch pwned) `touch pwned`; touch pwned & | > pwned 'a' \"b\" \\",
    "format string": "%s %(x)s {0} {class_name} {{caption}} {caption.__class__}",
    "control characters": "bell \a null \0 escape \x1b[31m feed \f line\r\nbreak \u2028 \x85",
    "direction": "abc \u202e desrever \u2066 isolated \u200f",
    "emoji": "👩‍🚀🏳️‍🌈 é e\u0301 ﷽",
    "long": "very long " + "word " * 2000,
    "Markdown": "](javascript:alert(1)) | `code` ``` <b> *x* _y_ # z",
}
# What a browser runs if it takes it for markup.
UNWANTED = {"script", "img", "b"}


def words(**flags: object) -> list[str]:
    line: list[str] = []
    for name, value in flags.items():
        line += [
            f"--{name.replace('_', '-')}",
            *map(str, value if isinstance(value, list) else [value]),
        ]
    return line


def prompts_of(folder: Path, text: str) -> Path:
    """Write the prompt of one image whose class and caption both are ``text``."""
    caption, _ = assess(text, True, CaptionPolicy())
    row = {"key": "a", "class_id": "bat", "index": 0, "number": 0, "caption": caption}
    write_json_lines(folder / "captions.jsonl", [row])
    settings = {
        "dataset": "d", "strategy": "caption", "templates": ["a photo of {class_name}, {caption}"],
        "backgrounds": [], "images_per_class": None, "images_per_caption": 1.0,
        "on_classless": "keep", "seed": 0,
    }  # fmt: skip
    about = {"class_id": "bat", "class_name": text, "definition": None, "hypernym": None}
    write_prompts.main(
        words(settings=dump_json(settings), shard="bat-0", class_info=dump_json(about),
              class_index=0, parts_per_class=1, captions=folder / "captions.jsonl",
              output=folder / "prompts.jsonl")
    )  # fmt: skip
    return folder / "prompts.jsonl"


@pytest.mark.parametrize("kind", TEXTS)
def test_a_prompt_holds_class_name_and_caption_as_they_are_on_one_line_of_json(
    kind: str, tmp_path: Path
) -> None:
    text = TEXTS[kind]
    path = prompts_of(tmp_path, text)
    assert len(path.read_bytes().splitlines()) == 1
    (row,) = read_json_lines(path)
    caption, _ = assess(text, True, CaptionPolicy())
    assert row["prompt"] == f"a photo of {text}, {caption}"
    assert row["status"] == "ok"


def test_an_empty_caption_leaves_the_class_name_alone(tmp_path: Path) -> None:
    write_json_lines(tmp_path / "captions.jsonl", [])
    (row,) = read_json_lines(prompts_of(tmp_path, " \0\u202e "))
    assert row["status"] == "fallback"


# ---- one shard of all texts, drawn, shown and exported ------------------------------------------


def names_of(kind: str) -> str:
    """A file name that holds the text, as far as file names can."""
    name = TEXTS[kind].replace("/", "_").replace("\0", "_").encode()[:200]
    return f"{kind[0]}{name.decode(errors='ignore')}.png"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory, tiny_generator: Path) -> Path:
    """Real images, captions, prompts, synthetic images, gallery and export of all texts."""
    root = tmp_path_factory.mktemp("hostile")
    (root / "bat").mkdir()
    for kind in TEXTS:
        Image.new("RGB", (16, 16), "red").save(root / "bat" / names_of(kind))
    real = {"tar": root / "real.tar", "manifest": root / "real.jsonl"}
    pack_real.main(
        words(folder=root / "bat", shard="bat-0", class_index=0, parts_per_class=1,
              format=dump_json({"side": None, "extension": "png"}), source_token="t",
              index=root / "i.json", **real)
    )  # fmt: skip
    records = usable(read_manifest(real["manifest"]))
    assert len(records) == len(TEXTS)
    texts = list(TEXTS.values())
    captions = [
        {"key": r.key, "class_id": "bat", "index": r.index, "number": 0, "status": "ok",
         "caption": assess(texts[i], True, CaptionPolicy())[0]}
        for i, r in enumerate(records)
    ]  # fmt: skip
    write_json_lines(root / "captions.jsonl", captions)
    rows = read_json_lines(prompts_of(root, TEXTS["HTML"]))
    write_json_lines(root / "captions.jsonl", captions)
    prompts = [
        {**rows[0], "key": f"bat_{i:06d}", "index": i, "source_key": c["key"],
         "prompt": f"a photo of {TEXTS['HTML']}, {c['caption']}"}
        for i, c in enumerate(captions)
    ]  # fmt: skip
    write_json_lines(root / "prompts.jsonl", prompts)
    settings = generator_settings(
        tiny_generator, num_inference_steps=1, negative_prompt=TEXTS["HTML"], batch_size=5
    )
    generate_images.main(
        words(settings=dump_json(settings), model_mark="m", threads=1,
              prompts=root / "prompts.jsonl", extension="png", tar=root / "s.tar",
              manifest=root / "s.jsonl")
    )  # fmt: skip
    plot_gallery.main(
        words(captions=root / "captions.jsonl", real=[*real.values()],
              variant=["caption", root / "s.tar", root / "s.jsonl"], columns="caption",
              images_per_class=len(TEXTS), output=root / "gallery.html")
    )  # fmt: skip
    return root


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_every_prompt_is_drawn_and_kept_whole_in_the_manifest(drawn: Path) -> None:
    records = read_manifest(drawn / "s.jsonl")
    prompts = [row["prompt"] for row in read_json_lines(drawn / "prompts.jsonl")]
    assert [r.prompt for r in records] == prompts
    assert [r.status for r in records] == ["ok"] * len(TEXTS)
    longest = max(records, key=lambda r: len(str(r.prompt)))
    assert longest.prompt_tokens_over


def test_the_gallery_holds_no_markup_but_its_own(drawn: Path) -> None:
    page = Tags((drawn / "gallery.html").read_text(encoding="utf-8"))
    assert [tag for tag, _ in page.found].count("script") == 1
    for tag, attributes in page.found:
        assert not any(name.startswith("on") for name in attributes), (tag, attributes)
        if tag == "img":
            assert str(attributes["src"]).startswith("data:image/")


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.skipif(EXECUTABLE is None, reason="needs Chromium")
def test_the_gallery_runs_nothing_in_a_browser(drawn: Path, tmp_path: Path) -> None:
    with chromium(tmp_path / "profile") as browser:
        page = browser.open(drawn / "gallery.html")
        assert page.value("window.attacked === undefined")
        assert page.value("document.scripts.length") == 1
        shown = page.value("document.body.innerText")
        assert all(text in shown for text in ("window.attacked = 1", "\\input{", "=cmd|", "$("))
        assert page.errors() == []


def test_an_export_keeps_the_texts_and_its_card_stays_a_card(drawn: Path) -> None:
    classes = [["bat", TEXTS["HTML"] + TEXTS["Markdown"]]]
    settings = {
        "dataset": "photos", "variant": "caption", "source": "folder", "classes": classes,
        "prompts": {"strategy": "caption", "templates": [TEXTS["Markdown"]], "backgrounds": [],
                    "images_per_class": None, "images_per_caption": 1.0, "on_classless": "keep",
                    "seed": 3},
        "generator": {"negative_prompt": TEXTS["HTML"]}, "models": [], "images_per_shard": 100,
        "license": None, "attribution": None,
    }  # fmt: skip
    folder = drawn / "export"
    export_variant.main(
        words(settings=dump_json(settings), output=folder,
              shard=[drawn / "s.tar", drawn / "s.jsonl", drawn / "prompts.jsonl"])
    )  # fmt: skip
    table = pq.read_table(folder / "manifest.parquet").to_pylist()
    assert [row["prompt"] for row in table] == [r.prompt for r in read_manifest(drawn / "s.jsonl")]
    card = (folder / "README.md").read_text(encoding="utf-8")
    # Outside of code, which Markdown shows as it is, nothing of the texts is left.
    plain = re.sub(r"(?s)(`+)(?!`).*?(?<!`)\1(?!`)", "", card)
    assert "<script" not in plain
    assert "javascript:" not in plain
    held = b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
    assert str(drawn).encode() not in held


def test_no_name_that_reaches_a_csv_can_begin_a_formula() -> None:
    # CSV files hold numbers and names of the configuration; texts are in JSON Lines and Parquet.
    definitions = load_schema()["$defs"]
    patterns = [definitions["class_id"]["pattern"], definitions["name"]["pattern"]]
    for pattern in patterns:
        assert re.search(pattern, "bat-1.x")
        for start in "=+-@\t\r|\"'":
            assert not re.search(pattern, f"{start}bat")


# ---- secrets ------------------------------------------------------------------------------------

TOKENS = {
    "HF_TOKEN": "hf_" + "Qz7" * 11,
    "HUGGING_FACE_HUB_TOKEN": "hf_" + "Xw9" * 11,
    "AWS_SECRET_ACCESS_KEY": "aws" + "Kp3" * 12,
    "WANDB_API_KEY": "wb" + "Lm5" * 13,
}


def run(script: str, flags: list[str], folder: Path) -> subprocess.CompletedProcess[bytes]:
    # As a job of a run: it tells in its log where it ran.
    facts = {"CAPSYNTH_RUN": "20250101T000000Z-abcdef"}
    return subprocess.run(
        [sys.executable, SCRIPTS / script, *flags],
        cwd=folder,
        env={**os.environ, **TOKENS, **facts},
        capture_output=True,
        timeout=BACKSTOP_S,
    )


def test_tokens_of_the_environment_are_in_nothing_that_a_stage_says_or_writes(
    tmp_path: Path,
) -> None:
    (tmp_path / "bat").mkdir()
    Image.new("RGB", (16, 16)).save(tmp_path / "bat" / "a.png")
    good: dict[str, Any] = {
        "folder": "bat", "shard": "bat-0", "class_index": 0, "parts_per_class": 1,
        "format": dump_json({"side": None, "extension": "png"}), "source_token": "t",
        "tar": "o/t.tar", "manifest": "o/m.jsonl", "index": "o/i.json",
    }  # fmt: skip
    # One that works, one that fails in words, one that fails with a traceback.
    said = b""
    for code, change in ((0, {}), (1, {"folder": "none"}), (1, {"format": "[1"})):
        done = run("pack_real.py", words(**{**good, **change}), tmp_path)
        assert done.returncode == code, done.stderr
        said += done.stdout + done.stderr
    said += b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"packed 1 of 1" in said
    assert [name for name, token in TOKENS.items() if token.encode() in said] == []


def test_photos_leave_nothing_but_pixels_in_shards_gallery_and_report(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "SECRETCAMERA"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    exif.get_ifd(0x8825)[29] = "SECRETDATE"
    (tmp_path / "bat").mkdir()
    pixels = Image.effect_noise((64, 64), 80).convert("RGB")
    for kind in ("jpg", "png", "webp", "tiff"):
        pixels.save(tmp_path / "bat" / f"{kind}.{kind}", exif=exif)
        assert b"SECRETCAMERA" in (tmp_path / "bat" / f"{kind}.{kind}").read_bytes()
    out = tmp_path / "out"
    pack_real.main(
        words(folder=tmp_path / "bat", shard="bat-0", class_index=0, parts_per_class=1,
              format=dump_json({"side": None, "extension": "jpg"}), source_token="t",
              tar=out / "r.tar", manifest=out / "r.jsonl", index=out / "i.json")
    )  # fmt: skip
    records = usable(read_manifest(out / "r.jsonl"))
    assert len(records) == 4
    write_json_lines(
        out / "c.jsonl",
        [{"key": r.key, "class_id": r.class_id, "caption": "a", "status": "ok"} for r in records],
    )
    plot_gallery.main(
        words(captions=out / "c.jsonl", real=[out / "r.tar", out / "r.jsonl"],
              variant=["caption", out / "r.tar", out / "r.jsonl"], columns="caption",
              output=out / "gallery.html")
    )  # fmt: skip
    page = Tags((out / "gallery.html").read_text(encoding="utf-8"))
    sources = [str(a["src"]) for tag, a in page.found if tag == "img"]
    assert sources
    held = b"".join(path.read_bytes() for path in out.iterdir())
    held += b"".join(base64.b64decode(source.split(",", 1)[1]) for source in sources)
    assert b"SECRET" not in held
    assert b"Exif" not in held
    assert str(tmp_path).encode() not in held
    for source in sources:
        image = Image.open(io.BytesIO(base64.b64decode(source.split(",", 1)[1])))
        assert not image.getexif()
