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
