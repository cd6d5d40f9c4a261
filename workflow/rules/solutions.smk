rule triangle:
    """Evaluate the losses on the plane through three points of a cloud."""
    input:
        cloud=PLAN.inputs_of("triangles", "cloud"),
        data=PLAN.inputs_of("triangles", "data"),
    output:
        triangle="results/triangles/{id}/triangle.h5",
    log:
        "results/logs/triangle/{id}.log",
    threads: 1
    resources:
        **PLAN.resources("triangles"),
    params:
        artefact=lambda w: PLAN.artefact("triangles", w.id),
    message:
        "triangle {wildcards.id}"
    script:
        "../scripts/step.py"


rule hessians:
    """Measure the curvature at points of a cloud."""
    input:
        cloud=PLAN.inputs_of("hessians", "cloud"),
        data=PLAN.inputs_of("hessians", "data"),
    output:
        hessians="results/hessians/{id}/hessians.h5",
    log:
        "results/logs/hessians/{id}.log",
    threads: 1
    resources:
        **PLAN.resources("hessians"),
    params:
        artefact=lambda w: PLAN.artefact("hessians", w.id),
    message:
        "hessians {wildcards.id}"
    script:
        "../scripts/step.py"
