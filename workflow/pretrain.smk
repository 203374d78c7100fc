# How the embedded captioner and generator are made. Run once, by hand: `make pretrain`, some hours
# on two cores. Every training resumes from its state in results/pretrain; what is committed under
# models/ came out of here.
import sys
from pathlib import Path

from snakemake.utils import min_version

min_version("9.0")


configfile: "config/pretrain.yaml"


sys.path.insert(0, str(Path(workflow.basedir) / "scripts"))

from capsynth.configuration import complete
from capsynth.files import dump_json
from capsynth.yaml_files import read_yaml

EXPERIMENT = complete(read_yaml(Path("config.yaml")))
MODELS = ["captioner", "generator"]


rule pretrain:
    """Make both embedded models."""
    default_target: True
    input:
        expand("models/{model}/README.md", model=MODELS),


rule render_web:
    """Draw the captioned web."""
    output:
        images="results/pretrain/web/images.npy",
        scenes="results/pretrain/web/scenes.jsonl",
    threads: 2
    shell:
        "python workflow/scripts/render_web.py --scenes {config[scenes]} --seed {config[seed]}"
        " --processes {threads} --output results/pretrain/web"


def schedule(wildcards):
    """The schedule of a training as one JSON value."""
    return dump_json({"seed": config["seed"], **config[wildcards.model]})


def needs_autoencoder(wildcards):
    """The autoencoder, for what is trained on its latents."""
    needs = wildcards.model in ("decoder", "denoiser")
    return ["results/pretrain/autoencoder/config.json"] if needs else []


rule pretrain_model:
    """Train one model; a stopped training goes on where it was."""
    input:
        scenes="results/pretrain/web/scenes.jsonl",
        autoencoder=needs_autoencoder,
    output:
        config="results/pretrain/{model}/config.json",
        history="results/pretrain/{model}.history.json",
    wildcard_constraints:
        model="autoencoder|decoder|captioner",
    threads: 2
    params:
        schedule=schedule,
    shell:
        "python workflow/scripts/pretrain_model.py {wildcards.model} --web results/pretrain/web"
        " --schedule {params.schedule:q} --threads {threads}"
        " --state results/pretrain/{wildcards.model}.state.safetensors"
        " --output results/pretrain/{wildcards.model} --history {output.history}"


use rule pretrain_model as pretrain_denoiser with:
    output:
        config="results/pretrain/{model}/model_index.json",
        history="results/pretrain/{model}.history.json",
    wildcard_constraints:
        model="denoiser",


rule export_models:
    """Put the trained models into models/, in half precision, with their checksums."""
    input:
        "results/pretrain/denoiser/model_index.json",
        "results/pretrain/decoder/config.json",
        "results/pretrain/captioner/config.json",
    output:
        expand("models/{model}/SHA256SUMS", model=MODELS),
    shell:
        "python workflow/scripts/export_models.py --work results/pretrain --output models"


rule evaluate_models:
    """Print how good the committed models are, on scenes that they have never seen."""
    input:
        web="results/pretrain/web/scenes.jsonl",
        sums=expand("models/{model}/SHA256SUMS", model=MODELS),
    output:
        figures="results/pretrain/figures.json",
    threads: 2
    params:
        captioner=dump_json(EXPERIMENT["captioners"]["embedded"]),
        generator=dump_json(EXPERIMENT["generators"]["embedded"]),
        judge=dump_json({"seed": config["seed"], **config["judge"]}),
        evaluation=dump_json(config["evaluation"]),
    shell:
        "python workflow/scripts/evaluate_models.py --web results/pretrain/web"
        " --captioner {params.captioner:q} --generator {params.generator:q}"
        " --judge {params.judge:q} --judge-state results/pretrain/judge.state.safetensors"
        " --evaluation {params.evaluation:q} --threads {threads} --output {output.figures}"


rule write_model_cards:
    """Write the model cards from histories and figures."""
    input:
        figures="results/pretrain/figures.json",
    output:
        expand("models/{model}/README.md", model=MODELS),
    params:
        generator=dump_json(EXPERIMENT["generators"]["embedded"]),
        schedules=dump_json(config),
    shell:
        "python workflow/scripts/write_model_cards.py --work results/pretrain"
        " --figures {input.figures} --generator {params.generator:q}"
        " --schedules {params.schedules:q} --output models"
