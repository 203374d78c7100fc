"""Numbers of feature files, their tables and figures, against other implementations."""

import contextlib
import io
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from prdc import compute_prdc
from torchmetrics.image.kid import poly_mmd

from capsynth.errors import CapsynthError
from capsynth.features import read_features, write_features
from capsynth.reporting.fidelity_rows import (
    Comparison,
    FidelityRow,
    ImageSet,
    _chosen,
    measure_fidelity,
)
from capsynth.reporting.fidelity_tables import (
    FidelitySettings,
    Space,
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
SPACE = Space("toy", "a/model", ())
SETTINGS = FidelitySettings((SPACE,), ("caption", "class-name"), 5)
COMPARISON = Comparison(max_images=1000, draws=4, neighbours=5)
RELATIVE = 1e-6


def normal(seed: int, mean: float = 0.0) -> np.ndarray:
    size = (len(CLASSES) * EACH, DIMENSIONS)
    return np.random.default_rng(seed).normal(mean, 1.0, size).astype(np.float32)


def image_set(
    folder: Path,
    kind: str,
    name: str,
    values: np.ndarray,
    space: str = "toy",
    agreed: float = 0.0,
    sources: bool = False,
) -> ImageSet:
    """Write features of a set, a file a class, as many images of each."""
    paths = []
    each = len(values) // len(CLASSES)
    for place, class_id in enumerate(CLASSES):
        records = [
            ShardRecord(
                f"{class_id}_{i:06d}", class_id, place, i, "ok", "f",
                source_key=f"{class_id}_{i:06d}" if sources else None,
            )
            for i in range(each)
        ]  # fmt: skip
        own = values[place * each : (place + 1) * each]
        agreement = np.full(each, agreed or np.nan, dtype=np.float32) + 0.1 * own[:, 0]
        paths.append(folder / kind / name / f"{class_id}.parquet")
        write_features(paths[-1], records, own, agreement, space)
    return ImageSet("toy", kind, name, tuple(paths))


@pytest.fixture
def sets(tmp_path: Path) -> list[ImageSet]:
    return [
        image_set(tmp_path, "reference", "val", normal(0)),
        image_set(tmp_path, "real", "photos", normal(1)),
        image_set(tmp_path, "variant", "caption", normal(2, 0.3), agreed=0.5),
        image_set(tmp_path, "variant", "class-name", normal(3, 1.5)),
    ]


def of(rows: list[FidelityRow], name: str, class_id: str = "") -> dict[str, FidelityRow]:
    return {row.metric: row for row in rows if (row.name, row.class_id) == (name, class_id)}


def frechet(a: np.ndarray, b: np.ndarray) -> float:
    means = a.mean(axis=0) - b.mean(axis=0)
    s, r = np.cov(a.T), np.cov(b.T)
    return float(means @ means + np.trace(s + r - 2 * scipy.linalg.sqrtm(s @ r).real))


@pytest.mark.parametrize("class_id", ["", *CLASSES])
def test_the_numbers_are_those_of_other_implementations_against_held_out_images(
    sets: list[ImageSet], class_id: str
) -> None:
    rows = measure_fidelity(sets, COMPARISON)
    place = (
        slice(None) if not class_id else slice(*{"bat": (0, EACH), "car": (EACH, None)}[class_id])
    )
    val, photos, made = (
        rows_of[place].astype(float) for rows_of in (normal(0), normal(1), normal(2, 0.3))
    )
    for images, name in ((made, "caption"), (photos, "photos")):
        found = of(rows, name, class_id)
        with contextlib.redirect_stdout(io.StringIO()):
            expected = compute_prdc(val, images, 5)
        expected["frechet_distance"] = frechet(val, images)
        expected["kernel_distance"] = float(
            poly_mmd(torch.from_numpy(val), torch.from_numpy(images))
        )
        for metric, value in expected.items():
            assert found[metric].value == pytest.approx(value, rel=RELATIVE), metric
        assert (found["recall"].compared_with, found["recall"].images) == (len(val), len(images))
    captioned = of(rows, "caption", class_id)["frechet_distance_captioned"].value
    assert captioned == pytest.approx(frechet(photos, made), rel=RELATIVE)
    for images, name in ((made, "caption"), (photos, "photos"), (val, "val")):
        unit = images / np.linalg.norm(images, axis=1, keepdims=True)
        score = of(rows, name, class_id)["vendi_score"].value
        assert score == pytest.approx(vendi.score_dual(unit), rel=RELATIVE)


def test_copies_of_the_captioned_images_do_not_look_better_than_they_are(tmp_path: Path) -> None:
    sets = [
        image_set(tmp_path, "reference", "val", normal(0)),
        image_set(tmp_path, "real", "photos", normal(1)),
        image_set(tmp_path, "variant", "caption", normal(1), sources=True),
    ]
    rows = measure_fidelity(sets, COMPARISON)
    copies, floor = of(rows, "caption"), of(rows, "photos")
    assert copies["frechet_distance_captioned"].value == pytest.approx(0.0, abs=1e-9)
    # Copies vary with their sources, so the distance between them stays 0.
    assert copies["frechet_distance_captioned"].standard_error == pytest.approx(0.0, abs=1e-6)
    for metric, row in floor.items():
        assert copies[metric].value == pytest.approx(row.value, rel=1e-9)
    assert floor["frechet_distance"].value > 0.1


def test_all_sets_are_cut_to_the_smallest_in_proportion_to_their_classes(tmp_path: Path) -> None:
    three_times = np.concatenate([normal(seed) for seed in (1, 4, 5)])
    sets = [
        image_set(tmp_path, "reference", "val", normal(0)),
        image_set(tmp_path, "real", "photos", three_times),
        image_set(tmp_path, "variant", "caption", normal(2)[::2]),
    ]
    rows = measure_fidelity(sets, COMPARISON)
    assert {(row.compared_with, row.images) for row in rows if not row.class_id} == {(EACH, EACH)}
    assert {(r.compared_with, r.images) for r in rows if r.class_id} == {(EACH // 2, EACH // 2)}
    values = read_features(sets[1].paths)
    chosen = _chosen(values, "", 10)
    assert (chosen.class_ids == "bat").sum() == 5


def test_a_set_of_hardly_any_images_is_marked_and_takes_none_from_the_others(
    tmp_path: Path,
) -> None:
    sets = [
        image_set(tmp_path, "reference", "val", normal(0)),
        image_set(tmp_path, "real", "photos", normal(1)),
        image_set(tmp_path, "variant", "caption", normal(2)[:4]),
        image_set(tmp_path, "variant", "class-name", normal(3)),
    ]
    rows = measure_fidelity(sets, COMPARISON)
    assert of(rows, "caption")["vendi_score"].images == 4
    assert of(rows, "class-name")["vendi_score"].images == 2 * EACH
    table = fidelity_table(rows, SETTINGS)
    assert [row[1].text for row in table.rows][:2] == ["caption (fewer)", "class-name"]
    assert "but those that are marked" in table.note
    assert not any(cell.bold for cell in table.rows[0])


def test_prompts_agree_by_their_mean_with_the_error_of_a_mean_within_class(
    sets: list[ImageSet],
) -> None:
    rows = measure_fidelity(sets, COMPARISON)
    values = 0.5 + 0.1 * normal(2, 0.3)[:, 0].astype(float)
    found = of(rows, "caption")["prompt_agreement"]
    within = [values[:EACH].var(ddof=1), values[EACH:].var(ddof=1)]
    assert found.value == pytest.approx(values.mean(), rel=1e-6)
    assert found.standard_error == pytest.approx(np.sqrt(sum(within) * EACH) / (2 * EACH), rel=1e-5)
    assert "prompt_agreement" not in of(rows, "class-name")


def test_images_are_chosen_by_their_keys_alone(sets: list[ImageSet]) -> None:
    rows = measure_fidelity(sets, replace(COMPARISON, max_images=15))
    assert {row.images for row in rows if not row.class_id} == {15}
    assert {row.images for row in rows if row.class_id} == {EACH}
    turned = [replace(one, paths=one.paths[::-1]) for one in sets]
    other = measure_fidelity(turned, replace(COMPARISON, max_images=15))
    for row, same in zip(rows, other, strict=True):
        assert same.value == pytest.approx(row.value, rel=1e-9)


def test_the_reference_is_not_compared_with_itself(sets: list[ImageSet]) -> None:
    rows = measure_fidelity(sets, COMPARISON)
    assert set(of(rows, "val")) == {"vendi_score"}
    assert of(rows, "val")["vendi_score"].standard_error is not None


def test_sets_that_do_not_go_together_are_refused(sets: list[ImageSet], tmp_path: Path) -> None:
    with pytest.raises(CapsynthError, match="toy: 0 sets of the kind 'reference'"):
        measure_fidelity(sets[1:], COMPARISON)
    other = image_set(tmp_path, "variant", "elsewhere", normal(4), space="another")
    with pytest.raises(CapsynthError, match="elsewhere: another feature space"):
        measure_fidelity([*sets, other], COMPARISON)


def test_the_nearest_variant_stands_out_and_real_images_do_not_compete(
    sets: list[ImageSet],
) -> None:
    rows = measure_fidelity(sets, COMPARISON)
    table = fidelity_table(rows, SETTINGS)
    images = [row[1].text for row in table.rows]
    assert images == ["caption", "class-name", "real (floor): photos", "real (reference): val"]
    distances = [row[3] for row in table.rows]
    assert [cell.bold for cell in distances] == [True, False, False, False]
    assert distances[0].text.startswith(f"{of(rows, 'caption')['frechet_distance'].value:.2f} ±")
    assert distances[3].text == "\N{EN DASH}"
    by_class = fidelity_table(rows, SETTINGS, by_class=True)
    assert [row[1].text for row in by_class.rows] == ["bat"] * 4 + ["car"] * 4


OWN = Space("own", "a/captioner", ("blip",))


def in_two_spaces(rows: list[FidelityRow]) -> list[FidelityRow]:
    """Return rows, and the same of a second space, its distances 1000 times as large."""
    scaled = [
        replace(row, extractor="own", value=row.value * 1000)
        if row.metric in ("frechet_distance", "kernel_distance") and row.value is not None
        else replace(row, extractor="own")
        for row in rows
    ]
    return [*rows, *scaled]


def test_every_row_names_its_space_and_marks_that_of_the_captioner(sets: list[ImageSet]) -> None:
    rows = in_two_spaces(measure_fidelity(sets, COMPARISON))
    both = replace(SETTINGS, spaces=(SPACE, OWN))
    for by_class in (False, True):
        table = fidelity_table(rows, both, by_class)
        assert table.columns[0].csv_names == ("extractor", "circular")
        half = len(table.rows) // 2
        named = [(row[0].text, row[0].csv_values) for row in table.rows]
        assert named[:half] == [("toy", ("toy", "false"))] * half
        assert named[half:] == [("own (captioner's encoder)", ("own", "true"))] * half
    # The floor of each space is its own, and so is the number of decimals.
    table = fidelity_table(rows, both)
    floors = [row[3].text.split(" ")[0] for row in table.rows if "floor" in row[1].text]
    value = of(rows[: len(rows) // 2], "photos")["frechet_distance"].value
    assert value is not None
    assert floors == [f"{value:.2f}", f"{1000 * value:.0f}"]
    assert [row[3].bold for row in table.rows] == [True, False, False, False] * 2


def test_the_figure_has_a_row_of_panels_of_each_space_and_marks_that_of_the_captioner(
    sets: list[ImageSet], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    monkeypatch.setattr(
        "capsynth.reporting.fidelity_tables.save_figure", lambda figure, paths: drawn.append(figure)
    )
    rows = in_two_spaces(measure_fidelity(sets, COMPARISON))
    plot_fidelity(rows, replace(SETTINGS, spaces=(SPACE, OWN)), [tmp_path / "a.png"])
    titles = [axes.get_title(loc="left") for axes in drawn[0].get_axes()]
    assert titles == ["toy", "toy", *["own (captioner's encoder)"] * 2]


def table_row(kind: str, name: str, metric: str, value: float) -> FidelityRow:
    return FidelityRow("toy", kind, name, "", metric, value, 0.01, 50, 50, 3)


@pytest.mark.parametrize(
    ("metric", "caption", "class_name", "floor", "bold"),
    [
        ("frechet_distance", 0.5, 0.9, 0.3, [True, False]),
        ("frechet_distance", 0.2, 0.9, 0.3, [False, False]),
        ("kernel_distance", 0.2, 0.1, -0.01, [False, True]),
        ("recall", 0.7, 0.8, 0.9, [False, True]),
        ("recall", 0.7, 0.95, 0.9, [False, False]),
        ("density", 1.2, 0.8, 1.0, [False, False]),
        ("coverage", 0.8, 0.8, 0.9, [True, True]),
        ("vendi_score", 3.0, 2.0, 4.0, [False, False]),
        ("prompt_agreement", 0.3, 0.2, 0.4, [False, False]),
        ("frechet_distance_captioned", 0.5, 0.9, 0.3, [False, False]),
    ],
)
def test_the_best_is_bold_where_none_is_past_what_real_images_have(
    metric: str, caption: float, class_name: float, floor: float, bold: list[bool]
) -> None:
    rows = [
        table_row(kind, name, m, value)
        for kind, name, value in (
            ("variant", "caption", caption),
            ("variant", "class-name", class_name),
            ("real", "photos", floor),
        )
        for m in {"vendi_score", metric}
    ]
    for by_class in (False, True):
        shown = [replace(row, class_id="bat" if by_class else "") for row in rows]
        table = fidelity_table(shown, SETTINGS, by_class)
        names = [column.csv_names[0] for column in table.columns]
        column = [row[names.index(metric)] for row in table.rows]
        assert [cell.bold for cell in column] == [*bold, False]
    without = fidelity_table([row for row in rows if row.kind != "real"], SETTINGS)
    assert not any(cell.bold for row in without.rows for cell in row)


def test_the_note_says_reference_floor_and_space(sets: list[ImageSet]) -> None:
    rows = measure_fidelity(sets, COMPARISON)
    for by_class in (False, True):
        note = fidelity_table(rows, SETTINGS, by_class).note
        assert "no variant was made from: val." in note
        assert "The Fréchet distance of such samples is not 0" in note
        assert "toy is a/model." in note
        assert "circular" not in note
        own = replace(SETTINGS, spaces=(replace(SPACE, captioners=("blip",)),))
        note = fidelity_table(rows, own, by_class).note
        assert "toy is a/model, the encoder of the captioner blip: circular" in note


def test_the_note_says_what_holds_for_sets_as_small_as_these(sets: list[ImageSet]) -> None:
    rows = measure_fidelity(sets, COMPARISON)
    assert "neighbours. " in fidelity_table(rows, SETTINGS).note
    assert "span less than" not in fidelity_table(rows, SETTINGS).note
    few = [replace(row, images=3) if row.class_id == "bat" else row for row in rows]
    note = fidelity_table(few, SETTINGS, by_class=True).note
    assert "3 images span less than the 3 dimensions" in note
    assert "need more than 5 images" in note
    assert "12 real and 3 synthetic" in note


@pytest.mark.parametrize(("largest", "digits"), [(0.0123, 4), (0.98, 3), (9.7, 2), (1234.0, 0)])
def test_columns_show_three_digits_of_their_largest_number(largest: float, digits: int) -> None:
    assert digits_of([largest / 7, -largest]) == digits


def test_tables_and_figure_are_written(sets: list[ImageSet], tmp_path: Path) -> None:
    rows = measure_fidelity(sets, COMPARISON)
    make_fidelity_tables(rows, SETTINGS, tmp_path / "tables")
    assert len(list((tmp_path / "tables").glob("fidelity*"))) == 8
    plot_fidelity(rows, SETTINGS, [tmp_path / "a.png", tmp_path / "a.svg"])
    assert "</svg>" in (tmp_path / "a.svg").read_text()
    assert (tmp_path / "a.png").stat().st_size > 5000
    with pytest.raises(CapsynthError, match="no numbers in the feature spaces other"):
        plot_fidelity(
            rows,
            replace(SETTINGS, spaces=(replace(SPACE, extractor="other"),)),
            [tmp_path / "b.png"],
        )


# ---- guidance -----------------------------------------------------------------------------------

GUIDANCE = GuidanceSettings(
    (SPACE,),
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
    rows = [
        FidelityRow("toy", "real", "photos", "", metric, value, 0.01, 50, 50, 3)
        for metric, value in (("precision", 0.9), ("recall", 0.7))
    ] + rows
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
    # The dotted lines are what real images have.
    assert [list(axes.lines[-1].get_ydata()) for axes in panels[1:]] == [[0.9] * 2, [0.7] * 2]
    assert panels[0].get_legend_handles_labels()[1] == ["g1.0 / g2.0 / g4.0"]
    assert [axes.get_title(loc="left") for axes in panels] == ["", "toy", "toy"]


def test_guidance_is_drawn_in_each_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(
        "capsynth.reporting.guidance_figure.save_figure", lambda figure, paths: drawn.append(figure)
    )
    scores, rows = guided()
    own = [replace(row, extractor="own", value=(row.value or 0.0) / 2) for row in rows]
    plot_guidance(scores, [*rows, *own], replace(GUIDANCE, spaces=(SPACE, OWN)), [tmp_path / "a"])
    _, *panels = drawn[0].get_axes()
    found = {
        (a.get_title(loc="left"), a.get_ylabel()): list(a.lines[0].get_ydata()) for a in panels
    }
    assert found == {
        ("toy", "precision"): [0.2, 0.4, 0.8],
        ("toy", "recall"): [0.2, 0.4, 0.8],
        ("own (captioner's encoder)", "precision"): [0.1, 0.2, 0.4],
        ("own (captioner's encoder)", "recall"): [0.1, 0.2, 0.4],
    }
    assert [next(iter(a.lines[-1].get_ydata())) for a in panels] == [0.9, 0.7, 0.45, 0.35]


def test_a_point_that_nothing_is_known_of_is_refused(tmp_path: Path) -> None:
    scores, rows = guided()
    with pytest.raises(CapsynthError, match=r"g4\.0: no precision"):
        plot_guidance(scores, rows[:-2], GUIDANCE, [tmp_path / "a.png"])
    with pytest.raises(CapsynthError, match=r"set-1\.0: no accuracy"):
        plot_guidance(scores[1:], rows, GUIDANCE, [tmp_path / "a.png"])
