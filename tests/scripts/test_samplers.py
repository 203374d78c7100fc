"""Samplers and steps: what a model can do draws, what it cannot is told before it is loaded."""

import json
import shutil
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from settings import generator_settings

from capsynth import generators
from capsynth.errors import CapsynthError
from capsynth.generators import DiffusersGenerator, GeneratorSettings
from capsynth.samplers import build_scheduler, require_steps

SAMPLERS = [n for n in dir(diffusers) if n.endswith("Scheduler") and "Flax" not in n]
# What is to draw with a model for denoising, whatever else does.
NEEDED = {
    "DDIMScheduler", "DDPMScheduler", "PNDMScheduler", "LMSDiscreteScheduler", "LCMScheduler",
    "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler", "HeunDiscreteScheduler",
    "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler", "UniPCMultistepScheduler",
    "DEISMultistepScheduler", "KDPM2DiscreteScheduler", "KDPM2AncestralDiscreteScheduler",
    "TCDScheduler",
}  # fmt: skip


def settings(model: Path, **changes: Any) -> GeneratorSettings:
    return GeneratorSettings(**generator_settings(model, **changes))


def with_scheduler(model: Path, folder: Path, **values: Any) -> Path:
    """Return a copy of a pipeline with another configuration of its sampler."""
    copy = Path(shutil.copytree(model, folder))
    path = copy / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(values))
    index = json.loads((copy / "model_index.json").read_text())
    index["scheduler"] = ["diffusers", values["_class_name"]]
    (copy / "model_index.json").write_text(json.dumps(index))
    return copy


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)  # as jobs do; more than a busy machine has cores wait for one another


def is_possible(own: Any, name: str, steps: int) -> bool:
    """Whether a sampler passes the check; if not, it was refused in words."""
    try:
        require_steps(build_scheduler(own, name, {}), steps)
    except CapsynthError:
        return False
    return True


def test_the_samplers_that_pass_the_check_draw(tiny_generator: Path) -> None:
    generator = DiffusersGenerator(settings(tiny_generator, num_inference_steps=4, batch_size=1))
    own = generator._pipeline.scheduler
    drawn = {name for name in SAMPLERS if is_possible(own, name, 4)}
    assert NEEDED <= drawn
    assert not {name for name in drawn if "Inverse" in name or "Flow" in name or "EDM" in name}
    for name in drawn:
        generator._pipeline.scheduler = build_scheduler(own, name, {})
        assert len(generator.draw(["a bat"], [1])) == 1
    assert not is_possible(own, "DDIMInverseScheduler", 1)
    assert is_possible(own, "EulerDiscreteScheduler", 1)


COSINE = {"beta_schedule": "squaredcos_cap_v2", "num_train_timesteps": 1000}
REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "1,000 steps of PNDM with an offset": (
        {"_class_name": "PNDMScheduler", "skip_prk_steps": True, "steps_offset": 1},
        {"num_inference_steps": 1000},
        "PNDMScheduler cannot do num_inference_steps 1000",
    ),
    "51 steps of LCM": (
        {"_class_name": "LCMScheduler", "original_inference_steps": 50},
        {"num_inference_steps": 51},
        "LCMScheduler cannot do num_inference_steps 51 .*50 at most",
    ),
    "LCM over the model's own": (
        {"_class_name": "PNDMScheduler"},
        {"num_inference_steps": 51, "scheduler": "LCMScheduler"},
        "LCMScheduler cannot do num_inference_steps 51",
    ),
    "a sampler of inpainting": (
        {"_class_name": "DDIMScheduler"},
        {"scheduler": "RePaintScheduler"},
        "RePaintScheduler cannot do",
    ),
    "a sampler of another kind of model": (
        {"_class_name": "DDIMScheduler"},
        {"scheduler": "EDMEulerScheduler"},
        "EDMEulerScheduler does not fit a model whose own is DDIMScheduler",
    ),
    "a sampler that ends in noise": (
        {"_class_name": "DDIMScheduler"},
        {"scheduler": "DDIMInverseScheduler"},
        "DDIMInverseScheduler goes from an image to noise",
    ),
    "more steps than the model was trained with": (
        {"_class_name": "DDIMScheduler", "num_train_timesteps": 100},
        {"num_inference_steps": 101},
        "DDIMScheduler cannot do num_inference_steps 101",
    ),
    "an argument of no sense": (
        {"_class_name": "DDIMScheduler"},
        {"scheduler_args": {"num_train_timesteps": -5}},
        "DDIMScheduler cannot be made",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_a_sampler_cannot_do_is_told_before_the_weights_are_read(
    case: str, tiny_generator: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, changes, said = REFUSED[case]
    monkeypatch.delattr(generators, "load_parts")
    model = with_scheduler(tiny_generator, tmp_path / "m", **own)
    with pytest.raises(CapsynthError, match=said):
        DiffusersGenerator(settings(model, **changes))


@pytest.mark.parametrize("name", ["DPMSolverMultistepScheduler", "EulerDiscreteScheduler"])
def test_noise_levels_of_karras_with_a_cosine_schedule_draw_or_are_refused_in_words(
    name: str, tiny_generator: Path, tmp_path: Path
) -> None:
    model = with_scheduler(tiny_generator, tmp_path / "m", _class_name="DDIMScheduler", **COSINE)
    own = diffusers.DDIMScheduler(**COSINE)
    possible = True
    try:
        require_steps(build_scheduler(own, name, {"use_karras_sigmas": True}), 2)
    except CapsynthError:
        possible = False
    if possible:
        how = settings(model, scheduler=name, scheduler_args={"use_karras_sigmas": True})
        assert len(DiffusersGenerator(how).draw(["a bat"], [1])) == 1


def test_what_the_check_has_tried_leaves_no_trace(tiny_generator: Path) -> None:
    generator = DiffusersGenerator(settings(tiny_generator))
    first = generator.draw(["a bat"], [1])[0]
    require_steps(generator._pipeline.scheduler, 3)
    assert generator.draw(["a bat"], [1])[0].tobytes() == first.tobytes()


def test_a_pipeline_that_prescribes_noise_levels_takes_no_sampler_that_cannot_have_them() -> None:
    own = diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    require_steps(own, 4, diffusers.FluxPipeline)
    heun = build_scheduler(own, "FlowMatchHeunDiscreteScheduler", {})
    with pytest.raises(CapsynthError, match=r"noise levels, which this pipeline prescribes"):
        require_steps(heun, 4, diffusers.FluxPipeline)
    require_steps(heun, 4, diffusers.StableDiffusion3Pipeline)
