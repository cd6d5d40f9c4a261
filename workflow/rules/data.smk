rule fetch:
    """Fetch a bundled data file from the DVC store of this repository."""
    output:
        file="data/{file}",
    log:
        "results/logs/fetch/{file}.log",
    wildcard_constraints:
        file=r"[\w.-]+(?<!\.dvc)",
    resources:
        dvc=1,
    message:
        "fetch data/{wildcards.file} from the DVC store"
    shell:
        "{sys.executable} -m dvc pull --quiet data/{wildcards.file}.dvc > {log:q} 2>&1 || {{ cat {log:q} >&2; exit 1; }}"


rule data:
    """Prepare a data set: the examples a study uses, at the size it uses them."""
    input:
        sources=PLAN.inputs_of("data", "sources"),
    output:
        data="results/data/{id}/data.h5",
    log:
        "results/logs/data/{id}.log",
    resources:
        **PLAN.resources("data"),
    params:
        artefact=lambda w: PLAN.artefact("data", w.id),
    message:
        "data {wildcards.id}"
    script:
        "../scripts/step.py"
