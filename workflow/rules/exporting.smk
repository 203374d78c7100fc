# Variants as data set folders that can be published.


rule export_variant:
    """Write one variant as a data set folder: tars, manifest, card and checksums."""
    input:
        **code("export_variant"),
        tars=ancient(
            expand(
                "results/{dataset}/images/{{variant}}/{shard}.tar", dataset=DATASET, shard=SHARDS
            )
        ),
        manifests=expand(
            "results/{dataset}/images/{{variant}}/{shard}.jsonl", dataset=DATASET, shard=SHARDS
        ),
        prompts=expand(
            "results/{dataset}/prompts/{{variant}}/{shard}.jsonl", dataset=DATASET, shard=SHARDS
        ),
        stamps=export_stamps,
        arguments=export_arguments,
    output:
        readme=f"{EXPORT_FOLDER}/README.md",
        manifest=f"{EXPORT_FOLDER}/manifest.parquet",
        sums=f"{EXPORT_FOLDER}/SHA256SUMS",
    log:
        "logs/export_variant/{variant}.log",
    benchmark:
        "results/benchmarks/export_variant/{variant}.tsv"
    conda:
        "../../envs/workflow.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=grows(240),
    params:
        folder=EXPORT_FOLDER,
        settings=export_settings,
    shell:
        f"{RUN}/export_variant.py"
        " --settings {params.settings:q} @{input.arguments:q}"
        " --output {params.folder:q} 2> {log:q}"


rule export:
    """Write variants as data set folders that can be published (docs/export.md)."""
    input:
        expand(f"{EXPORT_FOLDER}/SHA256SUMS", variant=EXPORTED),
    localrule: True
