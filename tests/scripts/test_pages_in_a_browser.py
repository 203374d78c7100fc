"""The report's own pages, opened in a browser."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import EXECUTABLE, Browser, Page, chromium
from PIL import Image

from capsynth.files import write_json_lines
from capsynth.reporting.tables import Column, Table, count, label, write_table
from capsynth.shards import Sample, ShardRecord, encode_image, write_shard
from make_tables import main as make_tables
from plot_examples import main as plot_examples
from plot_gallery import main as plot_gallery

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(EXECUTABLE is None, reason="needs Chromium"),
]

HOSTILE = "'\"><script>window.attacked = 1</script><img src=x onerror='window.attacked = 2'>"
VISIBLE = "Array.from(document.querySelectorAll('tbody tr')).filter((row) => !row.hidden)"
KEYS = f"{VISIBLE}.map((row) => row.querySelector('.key').textContent)"
CLASS_IDS = ("bat", "car", "dog")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def choose(page: Page, selector: str, value: str) -> None:
    page.value(
        f"(() => {{ const tool = document.querySelector({json.dumps(selector)});"
        f" tool.value = {json.dumps(value)};"
        " for (const kind of ['input', 'change'])"
        " tool.dispatchEvent(new Event(kind, { bubbles: true })); })()"
    )


def click(page: Page, selector: str) -> None:
    page.value(f"document.querySelector({json.dumps(selector)}).click()")


def write_shards(folder: Path, keys: list[str], prompt: str) -> list[str]:
    """Write one shard of images with these keys; return tar and manifest."""
    folder.mkdir()
    samples = [
        Sample(
            ShardRecord(
                key, key.split("_")[0], CLASS_IDS.index(key.split("_")[0]), int(key[4:10]), "ok",
                "f", "png", prompt=f"{prompt} {key}",
            ),
            encode_image(Image.new("RGB", (8, 8), "red"), "png"),
        )
        for key in keys
    ]  # fmt: skip
    write_shard(folder / "s.tar", folder / "s.jsonl", samples)
    return [str(folder / "s.tar"), str(folder / "s.jsonl")]


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory, scores_csv: Path) -> Path:
    """A gallery of two images for each of three classes whose captions and prompts hold script."""
    folder = tmp_path_factory.mktemp("gallery")
    keys = [f"{class_id}_{i:06d}" for class_id in CLASS_IDS for i in range(2)]
    captions = folder / "captions.jsonl"
    write_json_lines(
        captions,
        [
            {"key": key, "class_id": key.rpartition("_")[0], "caption": f"{HOSTILE} of {key}",
             "status": "ok"}
            for key in keys
        ],
    )  # fmt: skip
    real, drawn = (write_shards(folder / name, keys, HOSTILE) for name in ("real", "drawn"))
    plot_gallery(
        ["--captions", str(captions), "--real", *real, "--variant", "caption", *drawn, "--columns",
         "caption", "--scores", str(scores_csv), "--gain", "caption", "class-name", "toy-val",
         "tiny", "--output", str(folder / "gallery.html")]
    )  # fmt: skip
    return folder / "gallery.html"


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory, prediction_files: list[Path]) -> Path:
    """Examples of two evaluation sets."""
    folder = tmp_path_factory.mktemp("examples")
    keys = [f"{class_id}_{i:06d}" for class_id in CLASS_IDS for i in range(8)]
    sets = []
    for name in ("toy-val", "toy-r"):
        sets += ["--eval-set", name, *write_shards(folder / name, keys, "a photo")]
    plot_examples(
        ["--predictions", *map(str, prediction_files), *sets, "--comparison", "caption",
         "class-name", "--images", "8", "--output", str(folder / "examples.html")]
    )  # fmt: skip
    return folder / "examples.html"


def test_a_table_sorts_numbers_and_text_both_ways(
    browser: Browser, scores_csv: Path, budgets_csv: Path, settings_json: str, tmp_path: Path
) -> None:
    make_tables(["--scores", str(scores_csv), "--budgets", str(budgets_csv), "--config-json",
                 settings_json, "--output-dir", str(tmp_path)])  # fmt: skip
    rows = tuple((label(name), count(n)) for name, n in [("b", 9), ("a", 100), ("c", 20)])
    columns = (Column("Name", ("name",), numeric=False), Column("n", ("n",)))
    write_table(Table("made-up", "Made up", "", columns, rows), tmp_path)
    pages = sorted(tmp_path.glob("*.html"))
    assert len(pages) == 4
    for path in pages:
        page = browser.open(path)
        for column in page.value("Array.from(document.querySelectorAll('th button'), (_, i) => i)"):
            sorts = (
                "Array.from(document.querySelectorAll('tbody tr'),"
                f" (row) => row.cells[{column}].dataset.sort)"
            )
            button = f"document.querySelectorAll('th button')[{column}]"
            orders = []
            for _ in range(2):
                page.value(f"{button}.click()")
                orders.append((page.value(f"{button}.parentElement.ariaSort"), page.value(sorts)))
            is_number = page.value(f"{button}.parentElement.classList.contains('number')")
            first = "descending" if is_number else "ascending"
            assert [order for order, _ in orders] == [
                first, "ascending" if is_number else "descending"
            ]  # fmt: skip
            for order, values in orders:
                key = float if is_number else str
                known = [value for value in values if value is not None]
                assert known == sorted(known, key=key, reverse=order == "descending")
                # Cells without a value, such as the steps of chance, stay last.
                assert values[len(known) :] == [None] * (len(values) - len(known))
        assert page.errors() == []


def test_on_a_narrow_page_the_table_scrolls_and_what_a_row_is_of_stays(
    browser: Browser, scores_csv: Path, budgets_csv: Path, settings_json: str, tmp_path: Path
) -> None:
    make_tables(["--scores", str(scores_csv), "--budgets", str(budgets_csv), "--config-json",
                 settings_json, "--output-dir", str(tmp_path)])  # fmt: skip
    page = browser.open(tmp_path / "main.html", width=400)
    box = "document.querySelector('.scroll')"
    assert page.value(f"{box}.scrollWidth > {box}.clientWidth")
    assert page.value("document.documentElement.scrollWidth <= 400")
    places = (
        "['th', 'td'].map((name) => Array.from(document.querySelectorAll("
        "`tr:last-child > ${name}:first-child`), (cell) => cell.getBoundingClientRect().left))"
    )
    before = page.value(places)
    page.value(f"{box}.scrollLeft = 200")
    assert page.value(f"{box}.scrollLeft") > 0
    assert page.value(places) == before
    assert page.value("document.querySelector('td').offsetWidth < 200")


def test_rows_of_the_gallery_are_filtered_and_searched(browser: Browser, gallery: Path) -> None:
    page = browser.open(gallery)
    assert page.value("document.querySelector('output').textContent") == "6 of 6"
    click(page, "button[data-value=car]")
    assert page.value(KEYS) == ["car_000000", "car_000001"]
    choose(page, "input", "CAR_000001")
    assert page.value(KEYS) == ["car_000001"]
    click(page, "button[data-value='']")
    choose(page, "input", "script>")
    assert len(page.value(KEYS)) == 6
    choose(page, "input", "no such text")
    assert page.value(KEYS) == []
    assert page.value("document.querySelector('output').textContent") == "0 of 6"
    assert page.errors() == []


def test_classes_of_the_gallery_are_sorted_by_win_and_loss(browser: Browser, gallery: Path) -> None:
    page = browser.open(gallery)
    gains = f"{VISIBLE}.map((row) => Number(row.dataset.gain))"
    in_order = page.value(gains)
    choose(page, "[data-sorts]", "descending")
    assert page.value(gains) == sorted(in_order, reverse=True) != in_order
    choose(page, "[data-sorts]", "ascending")
    assert page.value(gains) == sorted(in_order)
    choose(page, "[data-sorts]", "")
    assert page.value(gains) == in_order
    assert page.errors() == []


def test_captions_that_carry_script_stay_text(browser: Browser, gallery: Path) -> None:
    page = browser.open(gallery)
    assert page.value("window.attacked === undefined")
    assert page.value("document.scripts.length") == 1
    assert page.value("document.querySelector('td.text').textContent").startswith(HOSTILE)
    assert page.value("Array.from(document.images).every((image) => image.src.startsWith('data:'))")
    assert page.errors() == []


def test_a_script_that_got_past_escaping_would_not_run(browser: Browser, gallery: Path) -> None:
    broken = gallery.with_name("broken.html")
    text = gallery.read_text(encoding="utf-8")
    broken.write_text(text.replace("<tbody>", f"<tbody><tr><td>{HOSTILE}</td></tr>"))
    page = browser.open(broken)
    assert page.value("window.attacked === undefined")
    assert any("Content Security Policy" in error for error in page.errors())


def test_examples_are_filtered_and_sorted(browser: Browser, examples: Path) -> None:
    page = browser.open(examples)
    gains = f"{VISIBLE}.map((row) => Number(row.dataset.gain))"
    assert len(page.value(gains)) == 8
    assert page.value(gains) == sorted(page.value(gains), reverse=True)
    choose(page, "[data-sorts]", "ascending")
    assert page.value(gains) == sorted(page.value(gains))
    click(page, "[data-filter=set] button[data-value=toy-r]")
    shown = f"{VISIBLE}.map((row) => row.dataset.class)"
    assert len(page.value(gains)) == 4
    class_id = page.value(shown)[0]
    several = page.value(shown).count(class_id)
    click(page, f"[data-filter=class] button[data-value={class_id}]")
    assert page.value(shown) == [class_id] * several
    assert page.errors() == []


def test_on_a_narrow_page_no_cell_of_a_gallery_or_of_examples_runs_into_the_next(
    browser: Browser, gallery: Path, examples: Path
) -> None:
    for path in (gallery, examples):
        page = browser.open(path, width=400)
        assert page.value("document.documentElement.scrollWidth <= 400")
        wide = page.value(
            "Array.from(document.querySelectorAll('th, td, td *'))"
            ".filter((one) => one.getBoundingClientRect().right >"
            " one.closest('th, td').getBoundingClientRect().right + 1)"
            ".map((one) => one.outerHTML.slice(0, 80))"
        )
        assert wide == []
        columns = page.value("document.querySelectorAll('th').length")
        assert page.value("document.querySelector('table').offsetWidth") >= 80 * columns
