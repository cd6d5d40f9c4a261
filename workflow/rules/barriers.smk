rule path:
    """Find low paths between pairs of points (FourierPathFinder); resumes in the middle of a path."""
    input:
        cloud=PLAN.inputs_of("paths", "cloud"),
        data=PLAN.inputs_of("paths", "data"),
    output:
        path="results/paths/{id}/path.h5",
    log:
        "results/logs/path/{id}.log",
    threads: 1
    resources:
        **PLAN.resources("paths"),
    params:
        artefact=lambda w: PLAN.artefact("paths", w.id),
    message:
        "paths {wildcards.id}"
    script:
        "../scripts/step.py"


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
        "../scripts/step.py"
