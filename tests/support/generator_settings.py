"""Settings of a generator, for tests that draw."""

from pathlib import Path
from typing import Any


def generator_settings(model: str | Path, **changes: Any) -> dict[str, Any]:
    """Return all settings of a generator: two steps with guidance at 16 pixels, two at once."""
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
        "lora": [],
        "attention_slicing": False,
        "vae_slicing": False,
        "compile": "off",
        "safety_checker": "off",
        "safety_retries": 5,
        "overlong_prompts": "truncate",
        **changes,
    }
