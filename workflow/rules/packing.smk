# Real images and evaluation sets: drawn or given, then packed.


rule render_openmoji:
    """Draw the real images of one class of the embedded data set."""
    input:
        **code("render_openmoji"),
    output:
        folder=directory("results/{dataset}/source/{class_id}"),
        stamp="results/{dataset}/source/{class_id}.json",
    log:
        "logs/render_openmoji/{dataset}/{class_id}.log",
    benchmark:
        "results/benchmarks/render_openmoji/{dataset}/{class_id}.tsv"
    conda:
        "../../envs/workflow.yaml"
    params:
        scenes=train_scene_flags,
    shell:
        f"{RUN}/render_openmoji.py"
        " {params.scenes}"
        " --class-ids {wildcards.class_id:q} --output results/{wildcards.dataset:q}/source"
        " --stamp {output.stamp:q} 2> {log:q}"


rule index_source:
    """Find the images of every class of a data set that lies in few large files."""
    input:
        **code("index_source"),
        downloaded=ancient(dataset_stamps),
    output:
        # Names without a wildcard: Snakemake tries each output that has one for each file it looks for.
        rows=[f"results/{DATASET}/source/{class_id}.jsonl" for class_id in CLASS_IDS],
    log:
        f"logs/index_source/{DATASET}.log",
    benchmark:
        f"results/benchmarks/index_source/{DATASET}.tsv"
    conda:
        "../../envs/workflow.yaml"
    resources:
        mem_mb=grows(4000),
        runtime=grows(240),
    params:
        source=index_flags,
        folder=lambda wildcards, output: os.path.dirname(output[0]),
    shell:
        f"{RUN}/index_source.py" " {params.source}" " --output {params.folder:q} 2> {log:q}"


# A class index is no folder of drawn images, whose names its own would fit.
ruleorder: index_source > render_openmoji


rule pack_real:
    """Pack the real images of one class shard."""
    input:
        **code("pack_real"),
        folder=ancient(drawn_class_folder),
        stamp=class_folder_stamp,
        rows=class_rows,
        downloaded=ancient(dataset_stamps),
    output:
        tar="results/{dataset}/real/{shard}.tar",
        manifest="results/{dataset}/real/{shard}.jsonl",
    log:
        "logs/pack_real/{dataset}/{shard}.log",
    benchmark:
        "results/benchmarks/pack_real/{dataset}/{shard}.tsv"
    conda:
        "../../envs/workflow.yaml"
    resources:
        mem_mb=grows(2000),
        runtime=grows(60),
        # Text, of which Snakemake keeps the decimals. It changes no result, and a param would have
        # all shards packed anew, and all that follows.
        max_rejected=str(config["dataset"]["max_rejected"]),
    params:
        format=IMAGE_FORMAT,
        place=place_flags,
        source=shard_source,
        selection=selection(config["dataset"]),
        token=shard_token,
    shell:
        f"{RUN}/pack_real.py"
        " {params.source}"
        " --shard {wildcards.shard:q} {params.place} --format {params.format:q}"
        " --selection {params.selection:q} --source-token {params.token:q}"
        " --max-rejected {resources.max_rejected:q}"
        " --index results/{wildcards.dataset:q}/real/.{wildcards.shard:q}.sources.json"
        " --tar {output.tar:q} --manifest {output.manifest:q} 2> {log:q}"


rule render_eval_set:
    """Draw an evaluation set of the embedded data set."""
    input:
        **code("render_openmoji"),
    output:
        folder=directory("results/eval_sets/source/{eval_set}"),
        stamp="results/eval_sets/source/{eval_set}.json",
    log:
        "logs/render_eval_set/{eval_set}.log",
    benchmark:
        "results/benchmarks/render_eval_set/{eval_set}.tsv"
    conda:
        "../../envs/workflow.yaml"
    params:
        scenes=eval_scene_flags,
    shell:
        f"{RUN}/render_openmoji.py"
        " {params.scenes}"
        " --output {output.folder:q} --stamp {output.stamp:q} 2> {log:q}"


rule pack_eval_set:
    """Pack an evaluation set."""
    input:
        **code("pack_eval_set"),
        folder=ancient(drawn_eval_folder),
        stamp=eval_folder_stamp,
        downloaded=ancient(eval_stamps),
    output:
        tar="results/eval_sets/{eval_set}.tar",
        manifest="results/eval_sets/{eval_set}.jsonl",
    log:
        "logs/pack_eval_set/{eval_set}.log",
    benchmark:
        "results/benchmarks/pack_eval_set/{eval_set}.tsv"
    conda:
        "../../envs/workflow.yaml"
    threads: eval_threads
    resources:
        mem_mb=grows(eval_packing_mb),
        runtime=grows(240),
    params:
        format=IMAGE_FORMAT,
        source=eval_source,
        selection=eval_selection,
        corruptions=eval_corruption_flags,
        token=eval_token,
        class_map=eval_class_map,  # for Snakemake alone: another content is another set
    shell:
        f"{RUN}/pack_eval_set.py"
        " {params.source}"
        " --format {params.format:q} --selection {params.selection:q}"
        " {params.corruptions} --threads {threads} --source-token {params.token:q}"
        " --index results/eval_sets/.{wildcards.eval_set:q}.sources.json"
        " --tar {output.tar:q} --manifest {output.manifest:q} 2> {log:q}"
