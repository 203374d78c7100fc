"""Model folders of others: only safetensors are read, and nothing in a folder is run."""

import ast
import contextlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from settings import captioner_settings, generator_settings

from capsynth.captioners import CaptionerSettings, load_captioner
from capsynth.errors import CapsynthError
from capsynth.generators import DiffusersGenerator, GeneratorSettings

ROOT = Path(__file__).resolve().parents[2]
EVIL = "from pathlib import Path\nPath({!r}).mkdir()\nclass Evil: pass\n"


class Trap:
    """An object whose pickle makes a folder when it is loaded."""

    def __init__(self, sprung: Path) -> None:
        self.sprung = sprung

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        import os

        return os.mkdir, (str(self.sprung),)


def pickled(weights: Path, name: str, sprung: Path) -> None:
    """Replace a safetensors file by a pickle of the same tensors, and of a trap."""
    tensors: dict[str, object] = dict(load_file(weights))
    weights.unlink()
    torch.save({**tensors, "trap": Trap(sprung)}, weights.with_name(name))


def caption_with(model: Path) -> None:
    load_captioner(CaptionerSettings(**captioner_settings(model)))


def draw_with(model: Path) -> None:
    DiffusersGenerator(GeneratorSettings(**generator_settings(model)))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.ckpt"])
def test_a_captioner_of_pickles_is_refused_and_they_are_not_read(
    tmp_path: Path, tiny_captioner: Path, name: str
) -> None:
    model = Path(shutil.copytree(tiny_captioner, tmp_path / "model"))
    pickled(model / "model.safetensors", name, tmp_path / "sprung")
    with pytest.raises(CapsynthError, match=r"holds no \*\.safetensors.*snakemake prefetch"):
        caption_with(model)
    assert not (tmp_path / "sprung").exists()


def test_a_pickle_beside_other_safetensors_is_not_read(
    tmp_path: Path, tiny_captioner: Path
) -> None:
    model = Path(shutil.copytree(tiny_captioner, tmp_path / "model"))
    shutil.copy(model / "model.safetensors", model / "adapter.safetensors")
    pickled(model / "model.safetensors", "pytorch_model.bin", tmp_path / "sprung")
    with pytest.raises(CapsynthError, match="safetensors"):
        caption_with(model)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
def test_a_generator_with_a_pickled_part_is_refused_and_it_is_not_read(
    tmp_path: Path, tiny_generator: Path, part: str
) -> None:
    model = Path(shutil.copytree(tiny_generator, tmp_path / "model"))
    (weights,) = (model / part).glob("*.safetensors")
    pickled(weights, f"{weights.stem}.bin", tmp_path / "sprung")
    with pytest.raises(CapsynthError, match=r"safetensors.*snakemake prefetch"):
        draw_with(model)
    assert not (tmp_path / "sprung").exists()


def test_code_in_the_folder_of_a_captioner_is_not_run(tmp_path: Path, tiny_captioner: Path) -> None:
    model = Path(shutil.copytree(tiny_captioner, tmp_path / "model"))
    (model / "evil.py").write_text(EVIL.format(str(tmp_path / "sprung")))
    for name in ("config.json", "preprocessor_config.json", "tokenizer_config.json"):
        about = json.loads((model / name).read_text())
        kinds = ("AutoConfig", "AutoModel", "AutoModelForVision2Seq", "AutoTokenizer",
                 "AutoImageProcessor", "AutoProcessor")  # fmt: skip
        about["auto_map"] = {kind: "evil.Evil" for kind in kinds}
        (model / name).write_text(json.dumps(about))
    with contextlib.suppress(CapsynthError):  # it may do without that code
        caption_with(model)
    assert not (tmp_path / "sprung").exists()


def test_code_in_the_folder_of_a_generator_is_not_run(tmp_path: Path, tiny_generator: Path) -> None:
    model = Path(shutil.copytree(tiny_generator, tmp_path / "model"))
    (model / "unet" / "evil.py").write_text(EVIL.format(str(tmp_path / "sprung")))
    index = json.loads((model / "model_index.json").read_text())
    index["unet"] = ["evil", "Evil"]
    (model / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(CapsynthError):
        draw_with(model)
    assert not (tmp_path / "sprung").exists()


# ---- the code -----------------------------------------------------------------------------------

# What runs what it reads, or has a shell do so.
FORBIDDEN = {
    "eval", "exec", "os.system", "os.popen", "pickle.load", "pickle.loads", "pickle.Unpickler",
    "marshal.load", "marshal.loads", "shelve.open", "joblib.load", "pandas.read_pickle",
    "pd.read_pickle", "dill.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load",
}  # fmt: skip
# The warm server runs scripts of this repository, and talks with its own user through a socket.
WARM_START = {("warm", "marshal.loads"), ("warm_server", "exec")}


def calls() -> list[tuple[str, ast.Call]]:
    found = []
    for path in sorted((ROOT / "workflow").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                found.append((f"{path.relative_to(ROOT)}:{node.lineno}", node))
    return found


def test_no_code_unpickles_evaluates_or_trusts_code_of_a_model() -> None:
    loads = []
    for where, call in calls():
        name, given = ast.unparse(call.func), {k.arg: ast.unparse(k.value) for k in call.keywords}
        assert name not in FORBIDDEN or (Path(where).stem, name) in WARM_START, where
        assert given.get("trust_remote_code", "False") == "False", where
        assert given.get("allow_pickle", "False") == "False", where
        assert given.get("shell", "False") == "False", where
        if name == "torch.load":
            loads.append(where)
            assert given.get("weights_only") == "True", where
    assert len(loads) == 1  # the conversion of what is fetched
