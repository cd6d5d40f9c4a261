rule levelset:
    """Walk along level sets of the training loss; resumes in the middle of a path."""
    input:
        data=PLAN.inputs_of("levelsets", "data"),
        starts=PLAN.inputs_of("levelsets", "starts"),
        reference=PLAN.inputs_of("levelsets", "reference"),
    output:
        points="results/levelsets/{id}/points.h5",
    log:
        "results/logs/levelset/{id}.log",
    threads: 1
    resources:
        **PLAN.resources("levelsets"),
    params:
        artefact=lambda w: PLAN.artefact("levelsets", w.id),
    message:
        "level set {wildcards.id}"
    script:
        "../scripts/step.py"


rule surface:
    """Evaluate the loss on a grid of a plane in weight space; resumes row by row."""
    input:
        cloud=PLAN.inputs_of("surfaces", "cloud"),
        gram=PLAN.inputs_of("surfaces", "gram"),
        data=PLAN.inputs_of("surfaces", "data"),
    output:
        surface="results/surfaces/{id}/surface.h5",
    log:
        "results/logs/surface/{id}.log",
    threads: 1
    resources:
        **PLAN.resources("surfaces"),
    params:
        artefact=lambda w: PLAN.artefact("surfaces", w.id),
    message:
        "surface {wildcards.id}"
    script:
        "../scripts/step.py"


rule average:
    """Evaluate the loss at the average of the end points of several paths."""
    input:
        cloud=PLAN.inputs_of("averages", "cloud"),
        data=PLAN.inputs_of("averages", "data"),
    output:
        average="results/averages/{id}/average.h5",
    log:
        "results/logs/average/{id}.log",
    threads: 1
    resources:
        **PLAN.resources("averages"),
    params:
        artefact=lambda w: PLAN.artefact("averages", w.id),
    message:
        "average {wildcards.id}"
    script:
        "../scripts/step.py"


rule align:
    """Match the hidden units of a cloud's networks to those of one of them."""
    input:
        cloud=PLAN.inputs_of("aligned", "cloud"),
    output:
        points="results/aligned/{id}/points.h5",
    log:
        "results/logs/align/{id}.log",
    threads: 1
    resources:
        **PLAN.resources("aligned"),
    params:
        artefact=lambda w: PLAN.artefact("aligned", w.id),
    message:
        "aligned {wildcards.id}"
    script:
        "../scripts/step.py"
