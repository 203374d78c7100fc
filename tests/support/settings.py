"""Whole settings of stages: what a test does not care about has a plain value."""

from pathlib import Path
from typing import Any


def read_no_model(config: dict[str, Any]) -> None:
    """Name models of the hub in a configuration, for runs that need none of its local ones."""
    for section in ("captioners", "generators", "feature_extractors"):
        for entry in config[section].values():
            entry["model"] = "someone/model"


def captioner_settings(model: Path | str, **changes: Any) -> dict[str, Any]:
    """Return the settings of a captioner, ``changes`` put over them."""
    return {
        "model": str(model),
        "revision": None,
        "family": None,
        "dtype": "float32",
        "batch_size": 2,
        "prompt": None,
        "max_new_tokens": 5,
        "num_beams": 1,
        "num_captions": 1,
        "temperature": None,
        "top_p": None,
        "seed": None,
        "on_repeated": "trim",
        "on_cut": "keep",
        **changes,
    }


def generator_settings(model: Path | str, **changes: Any) -> dict[str, Any]:
    """Return the settings of a generator of 16 x 16 pixels, ``changes`` put over them."""
    return {
        "model": str(model),
        "revision": None,
        "dtype": "float32",
        "num_inference_steps": 2,
        "guidance_scale": 2.0,
        "true_cfg_scale": None,
        "negative_prompt": None,
        "height": 16,
        "width": 16,
        "batch_size": 2,
        "scheduler": None,
        "scheduler_args": {},
        "max_sequence_length": None,
        "lora": (),
        "attention_slicing": False,
        "vae_slicing": False,
        "compile": "off",
        "safety_checker": "off",
        "safety_retries": 5,
        "overlong_prompts": "truncate",
        **changes,
    }
