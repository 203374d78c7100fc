# Captions of the real images.


rule caption_images:
    """Caption the real images of one class shard."""
    input:
        **code("caption_images"),
        tar=ancient("results/{dataset}/real/{shard}.tar"),
        manifest="results/{dataset}/real/{shard}.jsonl",
        locks=captioner_locks,
    output:
        captions="results/{dataset}/captions/{captioner}/{shard}.jsonl",
    log:
        "logs/caption_images/{dataset}/{captioner}/{shard}.log",
    benchmark:
        "results/benchmarks/caption_images/{dataset}/{captioner}/{shard}.tsv"
    conda:
        "../../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=2000,
    params:
        settings=captioner_settings,
        mark=captioner_mark,
    shell:
        "python {input.warm:q} run {input.script:q} --settings {params.settings:q}"
        " --model-mark {params.mark:q} --model-lock {input.locks:q} --threads {threads}"
        " --tar {input.tar:q} --manifest {input.manifest:q}"
        " --output {output.captions:q} 2> {log:q}"
