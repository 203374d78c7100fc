"""The report of the finished tiny experiment, as a reader meets it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import EXECUTABLE, Browser, chromium

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.skipif(EXECUTABLE is None, reason="needs Chromium"),
]
CATEGORIES = (
    "1. Accuracy", "2. Robustness", "3. Calibration", "4. Privacy", "5. Fidelity", "6. Images",
    "7. Cost",
)  # fmt: skip
# What the report shows of the tiny experiment in any case.
SHOWN = {"1. Accuracy", "2. Robustness", "6. Images", "7. Cost"}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def test_every_page_opens_without_an_error(tiny_experiment: Any, browser: Browser) -> None:
    pages = sorted((tiny_experiment.folder / "results/report").rglob("*.html"))
    assert {"main.html", "confusions.html", "gallery.html", "examples.html"} <= {
        path.name for path in pages
    }
    for path in pages:
        page = browser.open(path)
        assert page.value("document.querySelectorAll('tbody tr').length") > 0, path
        assert page.errors() == [], path


# The page draws itself after a click; waits for it for ten seconds.
SHOWN_LABELS = r"""new Promise((done) => {
  const look = (left) => {
    const text = document.body.innerText;
    if (/ \((table|figure|page)\)/.test(text) || left === 0) done(text);
    else setTimeout(() => look(left - 1), 100);
  };
  look(100);
})"""


def test_the_report_opens_with_its_categories_and_their_labels(
    tiny_experiment: Any, browser: Browser, tmp_path: Path
) -> None:
    report = tmp_path / "report.html"
    done = tiny_experiment.snakemake("--report", str(report))
    assert done.returncode == 0, done.stderr
    page = browser.open(report)
    names = set(page.value("Object.keys(categories)"))
    assert SHOWN <= names <= set(CATEGORIES)
    labels = page.value("Object.values(results).map((result) => result.labels)")
    # One label: Snakemake's page turns a second one that has two values, each in half of a
    # category, into a switch, and breaks where one of its positions is empty.
    assert {tuple(label) for label in labels} == {("what",)}
    kinds = {label["what"].rpartition(" (")[2].rstrip(")") for label in labels}
    assert kinds == {"table", "figure", "page"}
    for name in sorted(names):
        page = browser.open(report)
        page.value(
            "Array.from(document.querySelectorAll('a'))"
            f".find((link) => link.textContent.includes('{name}')).click()"
        )
        shown = page.value(SHOWN_LABELS)
        paths = f"Object.values(categories['{name}']).flat()"
        own = page.value(f"{paths}.map((path) => results[path].labels.what)")
        assert own
        assert [what for what in own if what not in shown] == []
        assert page.errors() == [], name
