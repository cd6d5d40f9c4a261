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
        "../scripts/step.py"


rule history:
    """Take what was recorded of a training, without its weights."""
    input:
        run=PLAN.inputs_of("histories", "run"),
    output:
        history="results/histories/{id}/history.h5",
    log:
        "results/logs/history/{id}.log",
    resources:
        **PLAN.resources("histories"),
    params:
        artefact=lambda w: PLAN.artefact("histories", w.id),
    message:
        "history {wildcards.id}"
    script:
        "../scripts/step.py"


rule sweep:
    """Train many small networks in one job: replicas of a run, and a grid over one key of its recipe."""
    input:
        data=PLAN.inputs_of("sweeps", "data"),
        starts=PLAN.inputs_of("sweeps", "starts"),
    output:
        points="results/sweeps/{id}/points.h5",
    log:
        "results/logs/sweep/{id}.log",
    threads: 1
    resources:
        **PLAN.resources("sweeps"),
    params:
        artefact=lambda w: PLAN.artefact("sweeps", w.id),
    message:
        "sweep {wildcards.id}"
    script:
        "../scripts/step.py"
