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
        "../scripts/synthesise.py"


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
        "../scripts/gram.py"


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
        "../scripts/embed.py"


rule separate:
    """Score how far kernel PCA separates two sets of a cloud, beside norm-matched controls."""
    input:
        gram=PLAN.inputs_of("separations", "gram"),
    output:
        separation="results/separations/{id}/separation.h5",
    log:
        "results/logs/separate/{id}.log",
    threads: 1
    resources:
        **PLAN.resources("separations"),
    params:
        artefact=lambda w: PLAN.artefact("separations", w.id),
    message:
        "separate {wildcards.id}"
    script:
        "../scripts/separate.py"


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
        "../scripts/scores.py"
