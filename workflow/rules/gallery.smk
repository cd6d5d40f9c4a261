rule index:
    """List every artefact of the configured studies: name, hash, spec, and what asked for it."""
    output:
        csv="results/index.csv",
        record="results/index.json",
    log:
        "results/logs/index.log",
    params:
        index=PLAN.index(),
    message:
        "index"
    script:
        "../scripts/index.py"


rule gallery:
    """The gallery: every figure and table with caption and provenance, and the scorecard."""
    input:
        figures=PLAN.figure_files(),
        tables=PLAN.table_files(),
        claims="results/claims.csv",
        index="results/index.csv",
    output:
        gallery=directory("results/figures/all"),
    log:
        "results/logs/gallery.log",
    resources:
        **PLAN.resources("gallery"),
    params:
        manifest=PLAN.manifest(),
    message:
        "gallery results/figures/all/index.html"
    script:
        "../scripts/gallery.py"
