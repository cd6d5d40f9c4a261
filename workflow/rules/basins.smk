rule volume:
    """Measure basins around minima: radii along random directions and log-volume; resumes by blocks of directions."""
    input:
        data=PLAN.inputs_of("volumes", "data"),
        points=PLAN.inputs_of("volumes", "points"),
    output:
        volume="results/volumes/{id}/volume.h5",
    log:
        "results/logs/volume/{id}.log",
    threads: 1
    resources:
        **PLAN.resources("volumes"),
    params:
        artefact=lambda w: PLAN.artefact("volumes", w.id),
    message:
        "volume {wildcards.id}"
    script:
        "../scripts/step.py"


rule mass:
    """Measure Gaussian masses of basins by ladders of tethers; resumes minimum by minimum."""
    input:
        data=PLAN.inputs_of("masses", "data"),
        points=PLAN.inputs_of("masses", "points"),
    output:
        mass="results/masses/{id}/mass.h5",
    log:
        "results/logs/mass/{id}.log",
    threads: 1
    resources:
        **PLAN.resources("masses"),
    params:
        artefact=lambda w: PLAN.artefact("masses", w.id),
    message:
        "mass {wildcards.id}"
    script:
        "../scripts/step.py"


rule slices:
    """Evaluate the loss on random planes through minima; resumes row by row."""
    input:
        data=PLAN.inputs_of("slices", "data"),
        points=PLAN.inputs_of("slices", "points"),
    output:
        slice="results/slices/{id}/slice.h5",
    log:
        "results/logs/slices/{id}.log",
    threads: 1
    resources:
        **PLAN.resources("slices"),
    params:
        artefact=lambda w: PLAN.artefact("slices", w.id),
    message:
        "slices {wildcards.id}"
    script:
        "../scripts/step.py"


rule boundaries:
    """Evaluate classifiers of points in the plane on a grid."""
    input:
        data=PLAN.inputs_of("boundaries", "data"),
        points=PLAN.inputs_of("boundaries", "points"),
    output:
        boundary="results/boundaries/{id}/boundary.h5",
    log:
        "results/logs/boundaries/{id}.log",
    threads: 1
    resources:
        **PLAN.resources("boundaries"),
    params:
        artefact=lambda w: PLAN.artefact("boundaries", w.id),
    message:
        "boundaries {wildcards.id}"
    script:
        "../scripts/step.py"
