# Prompts of a variant.


rule write_prompts:
    """Write the prompts of one variant and class shard."""
    input:
        **code("write_prompts"),
        captions=variant_captions,
        real=counted_manifests,
    output:
        prompts="results/{dataset}/prompts/{variant}/{shard}.jsonl",
    log:
        "logs/write_prompts/{dataset}/{variant}/{shard}.log",
    benchmark:
        "results/benchmarks/write_prompts/{dataset}/{variant}/{shard}.tsv"
    conda:
        "../../envs/workflow.yaml"
    params:
        settings=prompt_settings,
        place=place_flags,
        texts=prompt_flags,
    shell:
        f"{RUN}/write_prompts.py"
        " --settings {params.settings:q}"
        " --shard {wildcards.shard:q} {params.place} {params.texts}"
        " --output {output.prompts:q} 2> {log:q}"
