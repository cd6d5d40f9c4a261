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


rule import_points:
    """Take weight vectors from elsewhere as points, with their losses on a run's data."""
    input:
        data=PLAN.inputs_of("imports", "data"),
    output:
        points="results/imports/{id}/points.h5",
    log:
        "results/logs/import_points/{id}.log",
    threads: 1
    resources:
        **PLAN.resources("imports"),
    params:
        artefact=lambda w: PLAN.artefact("imports", w.id),
    message:
        "import {wildcards.id}"
    script:
        "../scripts/import_points.py"
