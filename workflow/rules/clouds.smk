rule gather:
    """Gather the points of many jobs into one cloud, by reference."""
    input:
        run=PLAN.inputs_of("clouds", "run"),
        points=PLAN.inputs_of("clouds", "points"),
    output:
        cloud="results/clouds/{id}/points.h5",
    log:
        "results/logs/gather/{id}.log",
    resources:
        **PLAN.resources("clouds"),
    params:
        artefact=lambda w: PLAN.artefact("clouds", w.id),
    message:
        "gather {wildcards.id}"
    script:
        "../scripts/step.py"


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
        "../scripts/step.py"


rule synthesise:
    """Make an artificial cloud, whose structure is known."""
    output:
        cloud="results/synthetic/{id}/points.h5",
    log:
        "results/logs/synthesise/{id}.log",
    resources:
        **PLAN.resources("synthetic"),
    params:
        artefact=lambda w: PLAN.artefact("synthetic", w.id),
    message:
        "synthesise {wildcards.id}"
    script:
        "../scripts/step.py"


rule gram:
    """One streaming pass over a cloud: its Gram matrix in float64, from which every distance follows exactly."""
    input:
        cloud=PLAN.inputs_of("grams", "cloud"),
    output:
        gram="results/grams/{id}/gram.h5",
    log:
        "results/logs/gram/{id}.log",
    threads: 1
    resources:
        **PLAN.resources("grams"),
    params:
        artefact=lambda w: PLAN.artefact("grams", w.id),
    message:
        "gram {wildcards.id}"
    script:
        "../scripts/step.py"


rule embed:
    """Embed a cloud in the plane from its Gram matrix."""
    input:
        gram=PLAN.inputs_of("embeddings", "gram"),
    output:
        embedding="results/embeddings/{id}/embedding.h5",
    log:
        "results/logs/embed/{id}.log",
    resources:
        **PLAN.resources("embeddings"),
    params:
        artefact=lambda w: PLAN.artefact("embeddings", w.id),
    message:
        "embed {wildcards.id}"
    script:
        "../scripts/step.py"


rule scores:
    """Embed a cloud under many settings and score the pictures against its exact geometry."""
    input:
        gram=PLAN.inputs_of("scores", "gram"),
        truth=PLAN.inputs_of("scores", "truth"),
    output:
        scores="results/scores/{id}/scores.csv",
        provenance="results/scores/{id}/scores.json",
    log:
        "results/logs/scores/{id}.log",
    threads: 1
    resources:
        **PLAN.resources("scores"),
    params:
        artefact=lambda w: PLAN.artefact("scores", w.id),
    message:
        "scores {wildcards.id}"
    script:
        "../scripts/step.py"
