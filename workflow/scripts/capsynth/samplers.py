"""Samplers of diffusers, and the check that one can do the steps that are asked of it.

The check samples a few numbers of no picture with a model that predicts nothing: whatever a sampler
refuses, or fails at, it does so before the weights of a model are read.
"""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from capsynth.errors import CapsynthError
from capsynth.names import check_name

FLOW = "flow matching"
DENOISING = "denoising over the steps of its training"


def scheduler_class(name: str) -> Any:
    """Return the sampler of diffusers that has this name.

    Raises:
        CapsynthError: If there is none.
    """
    import diffusers

    known = [n for n in dir(diffusers) if n.endswith("Scheduler") and "Flax" not in n]
    return getattr(diffusers, check_name("scheduler", name, known))


def build_scheduler(own: Any, name: str | None, arguments: Mapping[str, Any]) -> Any:
    """Return a sampler with the noise schedule of the model's own one.

    Args:
        own: The model's scheduler.
        name: Class of diffusers, None for the model's own.
        arguments: What differs from the model's configuration.

    Raises:
        CapsynthError: If the class or an argument is unknown, or the model was trained for samplers
            of the other kind (flow matching, or denoising).
    """
    kind = type(own) if name is None else scheduler_class(name)
    for argument in arguments:
        check_name(
            f"key of scheduler_args for {kind.__name__},",
            argument,
            list(inspect.signature(kind.__init__).parameters)[1:],
        )
    try:
        scheduler = kind.from_config(own.config, **arguments)
    except Exception as error:  # as in ``require_steps``
        reason = " ".join(str(error).split()) or type(error).__name__
        raise CapsynthError(f"scheduler: {kind.__name__} cannot be made: {reason}") from error
    if _kind_of(own) != _kind_of(scheduler):
        flow = FLOW in (_kind_of(own), _kind_of(scheduler))
        hint = (
            "one is for flow matching, the other is not; use one of its kind, or where the class "
            "allows it scheduler_args: {use_flow_sigmas: true, prediction_type: flow_prediction}"
            if flow
            else f"one is {_kind_of(own)}, the other {_kind_of(scheduler)}; use one of its kind"
        )
        raise CapsynthError(
            f"scheduler: {kind.__name__} does not fit a model whose own is {type(own).__name__}: "
            f"{hint}"
        )
    return scheduler


def _kind_of(scheduler: Any) -> str:
    """Return what a model must have learned to be sampled by this sampler."""
    name, config = type(scheduler).__name__, scheduler.config
    # RF: rectified flow.
    if "Flow" in name or "RF" in name or config.get("use_flow_sigmas"):
        return FLOW
    if hasattr(scheduler, "alphas_cumprod"):
        return DENOISING
    return "denoising over noise levels (EDM)" if "sigma_data" in config else f"that of {name}"


def own_scheduler(model: str, index: Mapping[str, Any]) -> Any:
    """Return the sampler in the folder of a pipeline; None if its class is not one of diffusers.

    Raises:
        CapsynthError: If its configuration cannot be used.
    """
    import diffusers

    entry = index.get("scheduler")
    kind = getattr(diffusers, str(entry[1]), None) if isinstance(entry, list) and entry else None
    folder = Path(model) / "scheduler"
    if kind is None or not folder.is_dir():
        return None
    try:
        return kind.from_pretrained(folder)
    except (ImportError, NotImplementedError, OSError, TypeError, ValueError) as error:
        raise CapsynthError(f"model {model}: its scheduler cannot be made: {error}") from error


def require_steps(scheduler: Any, steps: int, pipeline: Any = None) -> None:
    """Raise CapsynthError if a sampler cannot take a number of steps from noise to an image.

    Args:
        scheduler: The sampler; it is left as it was.
        steps: ``num_inference_steps``.
        pipeline: The class of the pipeline: some prescribe the noise levels.
    """
    name = type(scheduler).__name__
    told = f"scheduler: {name} cannot do num_inference_steps {steps}"
    args = dict(scheduler.config)
    remedy = "; use another number of steps, other scheduler_args, or another scheduler"
    try:
        trial = type(scheduler).from_config(scheduler.config)
        times, sample = _sample(trial, steps, _noise_levels(pipeline, steps))
    except Exception as error:
        # Samplers raise whatever they meet in numbers that they were not made for.
        limit = (
            f"; this one can do {args['original_inference_steps']} at most"
            if "original_inference_steps" in args
            else ""
        )
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        raise CapsynthError(f"{told} ({reason}){limit}{remedy}") from error
    if not sample.isfinite().all():
        raise CapsynthError(f"{told}: what it makes is not finite{remedy}")
    # One step alone goes nowhere; its name says what it is.
    if "Inverse" in name or (len(times) > 1 and not times[0] > times[-1]):
        raise CapsynthError(
            f"scheduler: {name} goes from an image to noise, as is done to edit images; use one "
            "that draws"
        )


def _noise_levels(pipeline: Any, steps: int) -> list[float] | None:
    """Return the noise levels that a pipeline gives to its sampler by default, None if none."""
    if pipeline is None:
        return None
    call = pipeline.__call__
    if "sigmas" not in inspect.signature(call).parameters:
        return None
    # As Flux does; diffusers has no other sign of it.
    if "np.linspace(1.0, 1 / num_inference_steps, num_inference_steps)" in inspect.getsource(call):
        return [1 - i / steps for i in range(steps)]
    return None


def _sample(scheduler: Any, steps: int, levels: list[float] | None) -> tuple[list[float], Any]:
    """Return the times that a sampler passes, and what becomes of noise with no prediction."""
    import torch

    takes = inspect.signature(scheduler.set_timesteps).parameters
    given: dict[str, Any] = {"device": "cpu"} if "device" in takes else {}
    if scheduler.config.get("use_dynamic_shifting") and "mu" in takes:
        given["mu"] = 0.5
    if levels is not None and not scheduler.config.get("use_flow_sigmas"):
        if "sigmas" not in takes:
            raise ValueError("it takes no noise levels, which this pipeline prescribes")
        scheduler.set_timesteps(sigmas=levels, **given)
    else:
        scheduler.set_timesteps(steps, **given)
    generator = torch.Generator("cpu").manual_seed(0)
    # Three channels: some samplers count on it, none on others.
    sample = torch.randn((1, 3, 8, 8), generator=generator)
    sample = sample * getattr(scheduler, "init_noise_sigma", 1.0)
    # A model that learned the variance predicts it too.
    learned = str(scheduler.config.get("variance_type")).startswith("learned")
    takes = inspect.signature(scheduler.step).parameters
    given = {"generator": generator} if "generator" in takes else {}
    for time in scheduler.timesteps:
        if hasattr(scheduler, "scale_model_input"):
            scheduler.scale_model_input(sample, time)
        predicted = torch.zeros((1, 6 if learned else 3, 8, 8))
        sample = scheduler.step(predicted, time, sample, return_dict=False, **given)[0]
    return [float(time) for time in scheduler.timesteps], sample
