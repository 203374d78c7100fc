# What is fetched where there is a network: `snakemake prefetch`. All jobs here run where Snakemake does.


rule download_data:
    """Fetch and unpack a registered download."""
    input:
        **ancient_code("download_data"),
    output:
        stamp=f"{DOWNLOADS}/data/{{download}}.json",
    log:
        "logs/download_data/{download}.log",
    localrule: True
    conda:
        "../../envs/workflow.yaml"
    params:
        lock=LOCK,
    shell:
        f"{PLAIN}/download_data.py"
        " --name {wildcards.download:q} --lock {params.lock:q}"
        " --output {output.stamp:q} 2> {log:q}"


rule download_model:
    """Fetch a model of the hub."""
    input:
        **ancient_code("download_model"),
    output:
        stamp=f"{DOWNLOADS}/models/{{repository}}.json",
    log:
        "logs/download_model/{repository}.log",
    localrule: True
    conda:
        "../../envs/models.yaml"
    params:
        request=request_json("models"),
        lock=LOCK,
    shell:
        f"{PLAIN}/download_model.py"
        " --request {params.request:q} --lock {params.lock:q}"
        " --output {output.stamp:q} 2> {log:q}"


rule download_dataset:
    """Fetch a data set of the hub."""
    input:
        **ancient_code("download_model"),
    output:
        stamp=f"{DOWNLOADS}/datasets/{{repository}}.json",
    log:
        "logs/download_dataset/{repository}.log",
    localrule: True
    conda:
        "../../envs/workflow.yaml"
    params:
        request=request_json("datasets"),
        lock=LOCK,
    shell:
        f"{PLAIN}/download_model.py"
        " --request {params.request:q} --lock {params.lock:q}"
        " --output {output.stamp:q} 2> {log:q}"


rule prefetch:
    """Fetch all that the configuration needs; no output, so that each call looks whether it is whole."""
    input:
        **ancient_code("write_lock"),
        stamps=prefetch_stamps,
    log:
        "logs/prefetch.log",
    localrule: True
    conda:
        "../../envs/workflow.yaml"
    params:
        lock=LOCK,
    shell:
        f"{PLAIN}/write_lock.py" " --stamps {input.stamps:q} --output {params.lock:q} 2> {log:q}"
