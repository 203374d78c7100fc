# Synthetic images of a variant.


rule generate_images:
    """Draw the images of one variant and class shard."""
    input:
        **code("generate_images"),
        prompts="results/{dataset}/prompts/{variant}/{shard}.jsonl",
        locks=generator_locks,
    output:
        tar="results/{dataset}/images/{variant}/{shard}.tar",
        manifest="results/{dataset}/images/{variant}/{shard}.jsonl",
    log:
        "logs/generate_images/{dataset}/{variant}/{shard}.log",
    benchmark:
        "results/benchmarks/generate_images/{dataset}/{variant}/{shard}.tsv"
    conda:
        "../../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=grows(generator_mb),
        runtime=grows(240),
        gpu=1,
        # Text, and no param, as in pack_real: it changes no image.
        max_rejected=generator_max_rejected,
    params:
        settings=generator_settings,
        mark=generator_mark,
        extension=config["dataset"]["image_format"],
    shell:
        f"{RUN}/generate_images.py"
        " --settings {params.settings:q}"
        " --model-mark {params.mark:q} --model-lock {input.locks:q} --weights results/.weights --code {input.code:q}"
        " --extension {params.extension} --threads {threads}"
        " --max-rejected {resources.max_rejected:q}"
        " --prompts {input.prompts:q} --tar {output.tar:q} --manifest {output.manifest:q}"
        " 2> {log:q}"
