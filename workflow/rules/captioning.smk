# Captions of the real images, and captions that a language model has rewritten.


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
    wildcard_constraints:
        captioner=one_of(config["captioners"]),
    conda:
        "../../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=grows(captioner_mb),
        runtime=grows(120),
        gpu=1,
    params:
        settings=captioner_settings,
        mark=captioner_mark,
    shell:
        f"{RUN}/caption_images.py"
        " --settings {params.settings:q}"
        " --model-mark {params.mark:q} --model-lock {input.locks:q} --weights results/.weights --code {input.code:q}"
        " --threads {threads}"
        " --tar {input.tar:q} --manifest {input.manifest:q}"
        " --output {output.captions:q} 2> {log:q}"


rule rewrite_captions:
    """Rewrite the captions of one class shard."""
    input:
        **code("rewrite_captions"),
        captions=rewritten_captions,
        locks=rewriter_locks,
    output:
        captions="results/{dataset}/captions/{rewriter}/{shard}.jsonl",
    log:
        "logs/rewrite_captions/{dataset}/{rewriter}/{shard}.log",
    benchmark:
        "results/benchmarks/rewrite_captions/{dataset}/{rewriter}/{shard}.tsv"
    wildcard_constraints:
        rewriter=one_of(config["rewriters"]),
    conda:
        "../../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=grows(rewriter_mb),
        runtime=grows(120),
        gpu=1,
    params:
        settings=rewriter_settings,
        mark=rewriter_mark,
        about=rewriter_flags,
    shell:
        f"{RUN}/rewrite_captions.py"
        " --settings {params.settings:q}"
        " --model-mark {params.mark:q} --model-lock {input.locks:q} --weights results/.weights --code {input.code:q}"
        " --threads {threads}"
        " {params.about}"
        " --captions {input.captions:q} --output {output.captions:q} 2> {log:q}"
