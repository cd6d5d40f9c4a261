rule train:
    """Train a network and export its recorded weight vectors; resumes from the last whole epoch."""
    input:
        data=PLAN.inputs_of("runs", "data"),
    output:
        points="results/runs/{id}/points.h5",
    log:
        "results/logs/train/{id}.log",
    threads: 1
    resources:
        **PLAN.resources("runs"),
    params:
        artefact=lambda w: PLAN.artefact("runs", w.id),
    message:
        "train {wildcards.id}"
    script:
        "../scripts/train.py"
