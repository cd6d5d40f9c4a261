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
        "../scripts/step.py"
