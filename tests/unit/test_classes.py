"""The classes: where their names, definitions and hypernyms come from, and who wins."""

import subprocess
import sys
from pathlib import Path

import pytest

from capsynth.classes import ClassInfo, class_table, read_classes
from capsynth.datasets import imagenet
from capsynth.errors import CapsynthError

SCRIPTS = Path(__file__).resolve().parents[2] / "workflow" / "scripts"


def test_identifiers_that_no_table_knows_are_their_own_names() -> None:
    assert class_table(["car", "n123"]) == {
        "car": ClassInfo("car", "car"),
        "n123": ClassInfo("n123", "n123"),
    }


def test_wordnet_identifiers_get_their_names_and_definitions() -> None:
    table = class_table(["n02012849", "n03126707", "mine"], ["definition"])
    assert [about.class_name for about in table.values()] == [
        "crane bird",
        "construction crane",
        "mine",
    ]
    assert str(table["n02012849"].definition).startswith("large long-necked wading bird")
    assert table["mine"].definition is None


def test_words_that_are_not_asked_for_are_not_looked_up() -> None:
    assert class_table(["n02012849", "b"])["n02012849"] == ClassInfo("n02012849", "crane bird")


def test_what_the_user_says_wins() -> None:
    said = {"n02012849": {"name": "heron", "definition": "a bird", "hypernym": None}, "b": "bee"}
    table = class_table(said, ["definition"])
    assert table["n02012849"] == ClassInfo("n02012849", "heron", "a bird")
    assert table["b"] == ClassInfo("b", "bee")


@pytest.mark.parametrize("name", imagenet.SUBSETS)
def test_subsets_have_names_and_definitions_of_their_own(name: str) -> None:
    table = class_table(name, ["definition"])
    assert tuple(table) == imagenet.subset(name)
    names = [about.class_name for about in table.values()]
    assert len(set(names)) == len(names)
    assert all(about.definition for about in table.values())
    assert not any(imagenet.is_wordnet_id(class_name) for class_name in names)


def test_an_unknown_subset_suggests_the_nearest() -> None:
    with pytest.raises(CapsynthError, match="'imagenet100'; did you mean 'imagenet-100'"):
        class_table("imagenet100")


def test_a_text_file_lists_identifiers_and_names(tmp_path: Path) -> None:
    path = tmp_path / "classes.txt"
    path.write_text("n02012849\n\ncar\tmotor car\r\n")
    assert class_table(str(path)) == {
        "n02012849": ClassInfo("n02012849", "crane bird"),
        "car": ClassInfo("car", "motor car"),
    }


def test_a_table_says_what_it_likes_of_each_class(tmp_path: Path) -> None:
    path = tmp_path / "classes.csv"
    path.write_text('hypernym,class_id,definition\nvehicle,car,"four wheels, one engine"\n,dog,\n')
    assert class_table(str(path)) == {
        "car": ClassInfo("car", "car", "four wheels, one engine", "vehicle"),
        "dog": ClassInfo("dog", "dog"),
    }


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("c.txt", "car\na b\n", r"c\.txt:2: 'a b' cannot be a class_id; use"),
        ("c.txt", "car\n\ncar\n", r"c\.txt:3: 'car' is on line 1 already; remove one"),
        ("c.txt", "Car\ncar\n", r"c\.txt:2: 'car' or 'Car', which differs only in case, is on"),
        ("c.txt", "car\tx\ty\ndog\n", r"c\.txt:1: has 3 columns"),
        ("c.txt", "car\n", r"c\.txt: holds 1 classes; list at least two"),
        ("c.csv", "", r"c\.csv:1: the heading is ''; write class_id and"),
        (
            "c.csv",
            "class_id,name\na,b\n",
            r"column of .*c\.csv:1 'name'; did you mean 'class_name'",
        ),
        ("c.csv", "class_id\ncar,x\ndog\n", r"c\.csv:2: has 2 cells and the heading 1; put"),
        ("c.csv", "class_name,class_id\nx,\ny,b\n", r"c\.csv:2: has no class_id; write one"),
    ],
)
def test_a_malformed_file_is_refused_with_its_line(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(CapsynthError, match=message):
        read_classes(tmp_path / name)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(CapsynthError, match=r"nowhere\.txt cannot be read .*imagenette"):
        class_table(str(tmp_path / "nowhere.txt"))
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    with pytest.raises(CapsynthError, match=r"latin\.txt cannot be read \(it is not UTF-8\)"):
        class_table(str(tmp_path / "latin.txt"))


def test_the_table_of_a_thousand_classes_loads_none_of_the_packages_it_reads() -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(SCRIPTS)!r})\n"
        "from capsynth.classes import class_table\n"
        "from capsynth.prompting import templates_of\n"
        "assert len(class_table('imagenet-1k', ['definition', 'hypernym'])) == 1000\n"
        "assert len(templates_of('clip-templates', None, None)) == 80\n"
        "assert not {'torch', 'timm', 'open_clip', 'wn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
