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


rule shares:
    """What is left of the jump and of the minimum after each epoch of a cloud, and what weight decay alone leaves."""
    input:
        gram=PLAN.inputs_of("shares", "gram"),
        cloud=PLAN.inputs_of("shares", "cloud"),
    output:
        shares="results/shares/{id}/shares.csv",
        provenance="results/shares/{id}/shares.json",
    log:
        "results/logs/shares/{id}.log",
    threads: 1
    resources:
        **PLAN.resources("shares"),
    params:
        artefact=lambda w: PLAN.artefact("shares", w.id),
    message:
        "shares {wildcards.id}"
    script:
        "../scripts/step.py"
