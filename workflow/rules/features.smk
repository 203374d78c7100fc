# Features of images, in the spaces of the feature extractors.


rule extract_features:
    """Extract the features of one class shard, real or drawn, or of one evaluation set."""
    input:
        **code("extract_features"),
        tar=ancient("results/{images}.tar"),
        manifest="results/{images}.jsonl",
        locks=extractor_locks,
    output:
        features="results/features/{extractor}/{images}.parquet",
    log:
        "logs/extract_features/{extractor}/{images}.log",
    benchmark:
        "results/benchmarks/extract_features/{extractor}/{images}.tsv"
    wildcard_constraints:
        extractor=one_of(config["feature_extractors"]),
        images=r"[^/]+/real/[^/]+|[^/]+/images/[^/]+/[^/]+|eval_sets/[^/]+",
    conda:
        "../../envs/models.yaml"
    threads: 1
    resources:
        mem_mb=grows(extractor_mb),
        runtime=grows(120),
        gpu=1,
    params:
        settings=extractor_settings,
        mark=extractor_mark,
    shell:
        f"{RUN}/extract_features.py"
        " --settings {params.settings:q}"
        " --model-mark {params.mark:q} --model-lock {input.locks:q} --weights results/.weights"
        " --threads {threads}"
        " --tar {input.tar:q} --manifest {input.manifest:q}"
        " --output {output.features:q} 2> {log:q}"


rule features:
    """Extract the features of all that classifiers are trained and evaluated on."""
    input:
        all_feature_files,
    localrule: True
