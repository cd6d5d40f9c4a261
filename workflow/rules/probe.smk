rule sweep:
    """Train many small networks in one job: replicas of a run, and a grid over one key of its recipe."""
    input:
        data=PLAN.inputs_of("sweeps", "data"),
        starts=PLAN.inputs_of("sweeps", "starts"),
    output:
        points="results/sweeps/{id}/points.h5",
    log:
        "results/logs/sweep/{id}.log",
    threads: 1
    resources:
        **PLAN.resources("sweeps"),
    params:
        artefact=lambda w: PLAN.artefact("sweeps", w.id),
    message:
        "sweep {wildcards.id}"
    script:
        "../scripts/sweep.py"


rule levelset:
    """Walk along level sets of the training loss; resumes in the middle of a path."""
    input:
        data=PLAN.inputs_of("levelsets", "data"),
        starts=PLAN.inputs_of("levelsets", "starts"),
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
        "../scripts/levelset.py"


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
        "../scripts/surface.py"


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
        "../scripts/path.py"


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
        "../scripts/average.py"


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
        "../scripts/triangle.py"


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
        "../scripts/volume.py"


rule slices:
    """Evaluate the loss on random planes through minima; resumes minimum by minimum."""
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
        "../scripts/slices.py"


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
        "../scripts/boundaries.py"


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
        "../scripts/tile.py"


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
        "../scripts/assemble.py"


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
        "../scripts/descent.py"
