rule tile:
    """Measure losses or curvature on some rows of a slice of a network's landscape; resumes row by row."""
    input:
        data=PLAN.inputs_of("tiles", "data"),
        run=PLAN.inputs_of("tiles", "run"),
        to=PLAN.inputs_of("tiles", "to"),
        gram=PLAN.inputs_of("tiles", "gram"),
    output:
        grid="results/tiles/{id}/grid.h5",
    log:
        "results/logs/tile/{id}.log",
    threads: 1
    resources:
        **PLAN.resources("tiles"),
    params:
        artefact=lambda w: PLAN.artefact("tiles", w.id),
    message:
        "tile {wildcards.id}"
    script:
        "../scripts/step.py"


rule assemble:
    """Gather the tiles of a grid."""
    input:
        tiles=PLAN.inputs_of("grids", "tiles"),
    output:
        grid="results/grids/{id}/grid.h5",
    log:
        "results/logs/assemble/{id}.log",
    resources:
        **PLAN.resources("grids"),
    params:
        artefact=lambda w: PLAN.artefact("grids", w.id),
    message:
        "assemble {wildcards.id}"
    script:
        "../scripts/step.py"


rule descent:
    """Measure the angles between the steps of a recorded training and its gradient; resumes in the middle."""
    input:
        data=PLAN.inputs_of("descents", "data"),
        run=PLAN.inputs_of("descents", "run"),
        gram=PLAN.inputs_of("descents", "gram"),
    output:
        descent="results/descents/{id}/descent.h5",
    log:
        "results/logs/descent/{id}.log",
    threads: 1
    resources:
        **PLAN.resources("descents"),
    params:
        artefact=lambda w: PLAN.artefact("descents", w.id),
    message:
        "descent {wildcards.id}"
    script:
        "../scripts/step.py"


rule trust:
    """Ask whether the picture of a slice is right: other directions, statistics, examples, grid and range."""
    input:
        data=PLAN.inputs_of("trusts", "data"),
        run=PLAN.inputs_of("trusts", "run"),
        to=PLAN.inputs_of("trusts", "to"),
        gram=PLAN.inputs_of("trusts", "gram"),
    output:
        trust="results/trusts/{id}/trust.h5",
    log:
        "results/logs/trust/{id}.log",
    threads: 1
    resources:
        **PLAN.resources("trusts"),
    params:
        artefact=lambda w: PLAN.artefact("trusts", w.id),
    message:
        "trust {wildcards.id}"
    script:
        "../scripts/step.py"
