"""Numbers of feature files, their tables and figures, against other implementations."""

import contextlib
import io
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
from prdc import compute_prdc

from capsynth.errors import CapsynthError
from capsynth.features import write_features
from capsynth.reporting.fidelity_rows import FidelityRow, ImageSet, measure_fidelity
from capsynth.reporting.fidelity_tables import (
    FidelitySettings,
    digits_of,
    fidelity_table,
    make_fidelity_tables,
    plot_fidelity,
)
from capsynth.reporting.guidance_figure import GuidanceSettings, plot_guidance
from capsynth.reporting.scores import Score
from capsynth.shards import ShardRecord

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from vendi_score import vendi

CLASSES = ("bat", "car")
EACH, DIMENSIONS = 12, 3
SETTINGS = FidelitySettings(("toy",), ("caption", "class-name"), 5)
RELATIVE = 1e-6


def normal(seed: int, mean: float = 0.0) -> np.ndarray:
    size = (len(CLASSES) * EACH, DIMENSIONS)
    return np.random.default_rng(seed).normal(mean, 1.0, size).astype(np.float32)


def image_set(
    folder: Path, kind: str, name: str, values: np.ndarray, space: str = "toy", agreed: float = 0.0
) -> ImageSet:
    """Write features of a set, a file a class."""
    paths = []
    for place, class_id in enumerate(CLASSES):
        records = [
            ShardRecord(f"{class_id}_{i:06d}", class_id, place, i, "ok", "f") for i in range(EACH)
        ]
        own = values[place * EACH : (place + 1) * EACH]
        agreement = np.full(EACH, agreed or np.nan, dtype=np.float32) + 0.1 * own[:, 0]
        paths.append(folder / kind / name / f"{class_id}.parquet")
        write_features(paths[-1], records, own, agreement, space)
    return ImageSet("toy", kind, name, tuple(paths))


@pytest.fixture
def sets(tmp_path: Path) -> list[ImageSet]:
    return [
        image_set(tmp_path, "real", "photos", normal(0)),
        image_set(tmp_path, "eval_set", "val", normal(1)),
        image_set(tmp_path, "variant", "caption", normal(2, 0.3), agreed=0.5),
        image_set(tmp_path, "variant", "class-name", normal(3, 1.5)),
    ]


def of(rows: list[FidelityRow], name: str, class_id: str = "") -> dict[str, FidelityRow]:
    return {row.metric: row for row in rows if (row.name, row.class_id) == (name, class_id)}


@pytest.mark.parametrize("class_id", ["", *CLASSES])
def test_the_numbers_are_those_of_other_implementations(
    sets: list[ImageSet], class_id: str
) -> None:
    rows = measure_fidelity(sets, 1000, 4, 5)
    place = (
        slice(None) if not class_id else slice(*{"bat": (0, EACH), "car": (EACH, None)}[class_id])
    )
    real, made = normal(0)[place].astype(float), normal(2, 0.3)[place].astype(float)
    found = of(rows, "caption", class_id)
    with contextlib.redirect_stdout(io.StringIO()):
        expected = compute_prdc(real, made, 5)
    means = real.mean(axis=0) - made.mean(axis=0)
    a, b = np.cov(real.T), np.cov(made.T)
    root = scipy.linalg.sqrtm(a @ b).real
    expected["frechet_distance"] = means @ means + np.trace(a + b - 2 * root)
    for rows_of, images in ((made, "caption"), (real, "photos")):
        unit = rows_of / np.linalg.norm(rows_of, axis=1, keepdims=True)
        score = of(rows, images, class_id)["vendi_score"].value
        assert score == pytest.approx(vendi.score_dual(unit), rel=RELATIVE)
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value, rel=RELATIVE), name
    assert (found["recall"].real, found["recall"].images) == (len(real), len(made))


def test_prompts_agree_by_their_mean_with_the_error_of_a_mean_within_class(
    sets: list[ImageSet],
) -> None:
    rows = measure_fidelity(sets, 1000, 4, 5)
    values = 0.5 + 0.1 * normal(2, 0.3)[:, 0].astype(float)
    found = of(rows, "caption")["prompt_agreement"]
    within = [values[:EACH].var(ddof=1), values[EACH:].var(ddof=1)]
    assert found.value == pytest.approx(values.mean(), rel=1e-6)
    assert found.standard_error == pytest.approx(np.sqrt(sum(within) * EACH) / (2 * EACH), rel=1e-5)
    assert "prompt_agreement" not in of(rows, "class-name")


def test_images_are_chosen_by_their_keys_alone(sets: list[ImageSet]) -> None:
    rows = measure_fidelity(sets, 15, 4, 5)
    assert {row.images for row in rows if not row.class_id} == {15}
    assert {row.images for row in rows if row.class_id} == {EACH}
    turned = [replace(one, paths=one.paths[::-1]) for one in sets]
    other = measure_fidelity(turned, 15, 4, 5)
    for row, same in zip(rows, other, strict=True):
        assert same.value == pytest.approx(row.value, rel=1e-9)


def test_real_images_are_not_compared_with_themselves(sets: list[ImageSet]) -> None:
    rows = measure_fidelity(sets, 1000, 4, 5)
    assert set(of(rows, "photos")) == {"vendi_score"}
    assert of(rows, "photos")["vendi_score"].standard_error is not None


def test_sets_that_do_not_go_together_are_refused(sets: list[ImageSet], tmp_path: Path) -> None:
    with pytest.raises(CapsynthError, match="toy: 0 sets of real images"):
        measure_fidelity(sets[1:], 1000, 4, 5)
    other = image_set(tmp_path, "variant", "elsewhere", normal(4), space="another")
    with pytest.raises(CapsynthError, match="elsewhere: another feature space"):
        measure_fidelity([*sets, other], 1000, 4, 5)


def test_the_best_variant_stands_out_and_real_images_do_not_compete(sets: list[ImageSet]) -> None:
    rows = measure_fidelity(sets, 1000, 4, 5)
    table = fidelity_table(rows, SETTINGS)
    images = [row[1].text for row in table.rows]
    assert images == ["caption", "class-name", "val (real)", "photos (real, compared with)"]
    distances = [row[3] for row in table.rows]
    assert [cell.bold for cell in distances] == [True, False, False, False]
    assert distances[0].text.startswith(f"{of(rows, 'caption')['frechet_distance'].value:.2f} ±")
    assert distances[3].text == "\N{EN DASH}"
    by_class = fidelity_table(rows, SETTINGS, by_class=True)
    assert [row[1].text for row in by_class.rows] == ["bat"] * 4 + ["car"] * 4


def test_the_note_says_what_holds_for_sets_as_small_as_these(sets: list[ImageSet]) -> None:
    rows = measure_fidelity(sets, 1000, 4, 5)
    assert "neighbours. " in fidelity_table(rows, SETTINGS).note
    assert "biased upwards" not in fidelity_table(rows, SETTINGS).note
    few = [replace(row, images=3) if row.class_id == "bat" else row for row in rows]
    note = fidelity_table(few, SETTINGS, by_class=True).note
    assert "3 images span less than the 3 dimensions" in note
    assert "need more than 5 images" in note
    assert "12 real and 3 synthetic" in note


@pytest.mark.parametrize(("largest", "digits"), [(0.0123, 4), (0.98, 3), (9.7, 2), (1234.0, 0)])
def test_columns_show_three_digits_of_their_largest_number(largest: float, digits: int) -> None:
    assert digits_of([largest / 7, -largest]) == digits


def test_tables_and_figure_are_written(sets: list[ImageSet], tmp_path: Path) -> None:
    rows = measure_fidelity(sets, 1000, 4, 5)
    make_fidelity_tables(rows, SETTINGS, tmp_path / "tables")
    assert len(list((tmp_path / "tables").glob("fidelity*"))) == 8
    plot_fidelity(rows, SETTINGS, [tmp_path / "a.png", tmp_path / "a.svg"])
    assert "</svg>" in (tmp_path / "a.svg").read_text()
    assert (tmp_path / "a.png").stat().st_size > 5000
    with pytest.raises(CapsynthError, match="no numbers in the feature spaces other"):
        plot_fidelity(rows, replace(SETTINGS, extractors=("other",)), [tmp_path / "b.png"])


# ---- guidance -----------------------------------------------------------------------------------

GUIDANCE = GuidanceSettings(
    "toy",
    "val",
    (
        [
            {"guidance_scale": scale, "variant": f"g{scale}", "training_set": f"set-{scale}"}
            for scale in (4.0, 1.0, 2.0)
        ],
    ),
)


def guided() -> tuple[list[Score], list[FidelityRow]]:
    scores = [
        Score("toy", f"set-{s}", "tiny", None, "val", "top1", 0.2 + s / 10, 0.1, 0.9, 50)
        for s in (1.0, 2.0, 4.0)
    ]
    scores += [replace(score, seed=0) for score in scores]
    rows = [
        FidelityRow("toy", "variant", f"g{s}", "", metric, s / 5, 0.01, 50, 50, 3)
        for s in (1.0, 2.0, 4.0)
        for metric in ("precision", "recall")
    ]
    return scores, rows


def test_guidance_is_drawn_from_accuracy_and_fidelity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    monkeypatch.setattr(
        "capsynth.reporting.guidance_figure.save_figure", lambda figure, paths: drawn.append(figure)
    )
    plot_guidance(*guided(), GUIDANCE, [tmp_path / "a.png"])
    panels = drawn[0].get_axes()
    for axes, values in zip(panels, ([0.3, 0.4, 0.6], *[[0.2, 0.4, 0.8]] * 2), strict=True):
        line = axes.lines[0]
        assert list(line.get_xdata()) == [1.0, 2.0, 4.0]
        assert list(line.get_ydata()) == pytest.approx(values)
    assert panels[0].get_legend_handles_labels()[1] == ["g1.0 / g2.0 / g4.0"]


def test_a_point_that_nothing_is_known_of_is_refused(tmp_path: Path) -> None:
    scores, rows = guided()
    with pytest.raises(CapsynthError, match=r"g4\.0: no precision"):
        plot_guidance(scores, rows[:-2], GUIDANCE, [tmp_path / "a.png"])
    with pytest.raises(CapsynthError, match=r"set-1\.0: no accuracy"):
        plot_guidance(scores[1:], rows, GUIDANCE, [tmp_path / "a.png"])
