rule retrain:
    """Jump away from a minimum and train again: one job's share of the fan-out over directions and step sizes."""
    input:
        data=PLAN.inputs_of("retrains", "data"),
        run=PLAN.inputs_of("retrains", "run"),
    output:
        points="results/retrains/{id}/points.h5",
    log:
        "results/logs/retrain/{id}.log",
    threads: 1
    resources:
        **PLAN.resources("retrains"),
    params:
        artefact=lambda w: PLAN.artefact("retrains", w.id),
    message:
        "retrain {wildcards.id}"
    script:
        "../scripts/retrain.py"


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
        "../scripts/gather.py"
