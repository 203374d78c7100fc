"""Folders of evaluation sets: which class each holds. Here lie the traps of the published sets."""

from pathlib import Path

import pytest

from capsynth.datasets.imagenet import subset, wordnet_ids
from capsynth.datasets.layouts import (
    answer_groups,
    check_mapped,
    class_folders,
    mapped_class,
    mapped_classes,
    read_class_map,
    root_prefixes,
)
from capsynth.errors import CapsynthError

ROOT = Path("set")


def test_folder_10_of_imagenet_v2_is_class_10_and_not_the_third_as_strings_sort() -> None:
    ids = wordnet_ids()
    folders = class_folders([ROOT], "index-folders", ids)
    assert [int(folder.path.name) for folder in folders] == list(range(1000))
    by_name = {folder.path.name: folder.class_id for folder in folders}
    assert by_name["10"] == ids[10] != ids[2]
    as_strings = sorted(by_name)
    assert as_strings[2] == "10"
    assert sum(by_name[name] != ids[place] for place, name in enumerate(as_strings)) > 900


def test_index_folders_count_in_imagenet_not_in_the_classes_of_the_data_set() -> None:
    tench, springer = subset("imagenette")[:2]
    folders = class_folders([ROOT], "index-folders", [tench, springer])
    assert [(f.class_id, f.path) for f in folders] == [
        ("n01440764", ROOT / "0"),
        ("n02102040", ROOT / "217"),
    ]


def test_indices_are_in_wordnet_order_and_not_in_that_of_the_devkit_or_of_names() -> None:
    # The devkit's ILSVRC2012_ID counts otherwise: its first class is n02119789, kit fox.
    ids = wordnet_ids()
    assert list(ids) == sorted(ids)
    assert ids.index("n02119789") == 278
    # Two classes are named crane, two maillot: names identify nothing.
    assert (ids.index("n02012849"), ids.index("n03126707")) == (134, 517)


def test_index_folders_of_other_classes_are_refused() -> None:
    with pytest.raises(CapsynthError, match=r"'bat' is no class of ImageNet.*class_map"):
        class_folders([ROOT], "index-folders", ["bat"])


def test_several_roots_make_one_set_whose_parts_are_told_apart() -> None:
    roots = [Path("v2/matched"), Path("v2/top")]
    folders = class_folders(roots, "index-folders", wordnet_ids()[:2])
    assert [f.label for f in folders] == ["matched/0", "matched/1", "top/0", "top/1"]
    assert [f.prefix for f in folders] == ["matched", "matched", "top", "top"]
    assert root_prefixes([ROOT]) == [""]
    assert root_prefixes([Path("a/val"), Path("b/val")]) == ["0-val", "1-val"]


def test_corruption_folders_are_the_published_ones_wherever_their_archive_lies(
    tmp_path: Path,
) -> None:
    for folder in ("noise/gaussian_noise/3/n1", "weather/snow/3/n1"):
        (tmp_path / folder).mkdir(parents=True)
    roots = [tmp_path / "noise", tmp_path / "weather"]
    kinds = [("gaussian-noise", 3), ("snow", 3), ("fog", 3)]
    folders = class_folders(roots, "corruption-folders", ["n1"], corruptions=kinds)
    present = [f for f in folders if f.path.exists()]
    assert [(f.label, f.corruption) for f in present] == [
        ("noise/gaussian_noise/3/n1", "gaussian-noise-3"),
        ("weather/snow/3/n1", "snow-3"),
    ]
    # What lies nowhere stays in the list, so that it is missed.
    assert {f.corruption for f in folders if not f.path.exists()} == {"fog-3"}
    assert all(f.prefix == "" for f in folders)


@pytest.mark.parametrize("suffix", ["json", "csv"])
def test_a_class_map_gives_folders_their_classes(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"map.{suffix}"
    path.write_text(
        '{"alarm_clock": ["n02708093", "n03196217"], "banana": "n07753592", "spoon": "n9"}'
        if suffix == "json"
        else "folder,class_id\nalarm_clock,n02708093\nalarm_clock,n03196217\n"
        "banana,n07753592\nspoon,n9\n"
    )
    mapping = read_class_map(path)
    assert mapping["alarm_clock"] == ["n02708093", "n03196217"]
    folders = class_folders([ROOT], "class-folders", ["n07753592", "n03196217"], mapping)
    # A folder of two classes counts as the first that the set has; in the order of the classes.
    assert [(f.class_id, f.path.name) for f in folders] == [
        ("n07753592", "banana"),
        ("n03196217", "alarm_clock"),
    ]
    assert mapped_class(["a", "b"], ["b", "a"]) == "a"
    assert mapped_class(["a"], ["b"]) is None
    # The second class of a folder has no image: it is no class of the set.
    assert mapped_classes(mapping, ["n02708093", "n03196217", "n07753592"]) == {
        "n02708093",
        "n07753592",
    }


def test_any_class_of_a_folder_is_a_right_answer() -> None:
    class_map = {"alarm_clock": ["n1", "n2"], "clock": ["n1", "n2"], "spoon": ["n9"], "x": ["n7"]}
    assert answer_groups(class_map, {"n1", "n2", "n9"}) == {"n1": ["n1", "n2"], "n9": ["n9"]}
    # The data set lacks the first: the second stands for the folder.
    assert answer_groups(class_map, {"n2", "n9"}) == {"n2": ["n2"], "n9": ["n9"]}


@pytest.mark.parametrize("other", [["n2"], ["n2", "n1"], ["n3", "n1"]])
def test_folders_that_share_a_part_of_their_classes_are_refused(other: list[str]) -> None:
    with pytest.raises(CapsynthError, match="folders 'clock' and 'watch' share the class"):
        answer_groups({"clock": ["n1", "n2"], "watch": other}, {"n1", "n2", "n3"})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("map.json", "[1]"),
        ("map.json", "{"),
        ("map.json", '{"a": 1}'),
        ("map.json", '{"a": []}'),
        ("map.json", '{"a": "bat", "a": "car"}'),
        ("map.json", '{"a": "bat", " a": "car"}'),
        ("map.json", "{}"),
        ("map.csv", "a,b\n1,2\n"),
        ("map.csv", "folder,class_id\na\n"),
        ("map.csv", "folder,class_id\n,bat\n"),
        ("map.csv", "folder,class_id\na,bat\na, bat\n"),
    ],
)
def test_a_class_map_of_another_form_is_refused(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(CapsynthError, match=r"class_map .*write JSON"):
        read_class_map(tmp_path / name)
    with pytest.raises(CapsynthError, match="cannot be read"):
        read_class_map(tmp_path / "none.json")


@pytest.mark.parametrize(
    "text",
    [
        "\ufefffolder,class_id\r\ncat,cat\r\ndog,dog\r\n",
        "folder , class_id\ncat,cat\ndog, dog \n\n,\n",
        "folder;class_id;\ncat;cat;\ndog;dog;\n",
        'class_id,notes,folder\ncat,"one, two",cat\ndog,,dog\n',
        '\ufeff{"cat": "cat", "dog ": [" dog"]}',
    ],
)
def test_a_class_map_is_read_as_spreadsheets_and_hands_write_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / ("map.json" if "{" in text else "map.csv")
    for encoding in ("utf-8", "utf-16"):
        path.write_bytes(text.removeprefix("\ufeff" * (encoding == "utf-16")).encode(encoding))
        assert read_class_map(path) == {"cat": ["cat"], "dog": ["dog"]}


def test_a_class_that_a_map_spells_in_another_case_is_refused() -> None:
    check_mapped({"a": ["bat", "unknown"]}, ["bat", "car"])
    with pytest.raises(
        CapsynthError, match="'a' stands for 'Bat', which the data set spells 'bat'"
    ):
        check_mapped({"a": ["Bat"]}, ["bat", "car"])


def test_an_unknown_layout_is_refused() -> None:
    with pytest.raises(CapsynthError, match="did you mean 'index-folders'"):
        class_folders([ROOT], "index-folder", ["a"])
