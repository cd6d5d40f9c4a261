rule figure:
    """Draw a figure in every configured format, with the numbers that are drawn as CSV."""
    input:
        lambda w: PLAN.files("figures", w.study, w.figure),
    output:
        **{kind: f"results/figures/{{study}}/{{figure}}.{kind}" for kind in (*PLAN.config.formats, "csv")},
        record="results/figures/{study}/{figure}.json",
    log:
        "results/logs/figure/{study}/{figure}.log",
    wildcard_constraints:
        study=PLAN.figures_of(None),
    resources:
        **PLAN.resources("figures"),
    params:
        product=lambda w: PLAN.describe("figures", w.study, w.figure),
    message:
        "figure {wildcards.study}/{wildcards.figure}"
    script:
        "../scripts/figure.py"


rule animate:
    """Draw a figure in motion: MP4, GIF and its last frame, with the numbers that are drawn as CSV."""
    input:
        lambda w: PLAN.files("figures", w.study, w.figure),
    output:
        png="results/figures/{study}/{figure}.png",
        mp4="results/figures/{study}/{figure}.mp4",
        gif="results/figures/{study}/{figure}.gif",
        csv="results/figures/{study}/{figure}.csv",
        record="results/figures/{study}/{figure}.json",
    log:
        "results/logs/animate/{study}/{figure}.log",
    wildcard_constraints:
        study=PLAN.figures_of("animation"),
    resources:
        **PLAN.resources("figures"),
    params:
        product=lambda w: PLAN.describe("figures", w.study, w.figure),
    message:
        "animation {wildcards.study}/{wildcards.figure}"
    script:
        "../scripts/figure.py"


rule relief:
    """Draw surfaces in three dimensions: a picture, an interactive page and a VTK file, with their numbers as CSV."""
    input:
        lambda w: PLAN.files("figures", w.study, w.figure),
    output:
        png="results/figures/{study}/{figure}.png",
        html="results/figures/{study}/{figure}.html",
        vtp="results/figures/{study}/{figure}.vtp",
        csv="results/figures/{study}/{figure}.csv",
        record="results/figures/{study}/{figure}.json",
    log:
        "results/logs/relief/{study}/{figure}.log",
    wildcard_constraints:
        study=PLAN.figures_of("relief"),
    resources:
        **PLAN.resources("figures"),
    params:
        product=lambda w: PLAN.describe("figures", w.study, w.figure),
    message:
        "relief {wildcards.study}/{wildcards.figure}"
    script:
        "../scripts/figure.py"


rule table:
    """Write a table as CSV, the paper's values beside ours."""
    input:
        lambda w: PLAN.files("tables", w.study, w.table),
    output:
        csv="results/tables/{study}/{table}.csv",
        record="results/tables/{study}/{table}.json",
    log:
        "results/logs/table/{study}/{table}.log",
    resources:
        **PLAN.resources("tables"),
    params:
        product=lambda w: PLAN.describe("tables", w.study, w.table),
    message:
        "table {wildcards.study}/{wildcards.table}"
    script:
        "../scripts/table.py"


rule claims:
    """Measure a study's claims and give each its verdict."""
    input:
        lambda w: PLAN.files("claims", w.study),
    output:
        csv="results/claims/{study}.csv",
        metrics="results/claims/{study}.metrics.json",
        record="results/claims/{study}.json",
    log:
        "results/logs/claims/{study}.log",
    resources:
        **PLAN.resources("claims"),
    params:
        product=lambda w: PLAN.describe("claims", w.study),
    message:
        "claims of {wildcards.study}"
    script:
        "../scripts/claims.py"


rule scorecard:
    """All claims of the configured studies in one table."""
    input:
        claims=[f"results/claims/{study}.csv" for study in PLAN.studies],
    output:
        csv="results/claims.csv",
        record="results/claims.json",
    log:
        "results/logs/scorecard.log",
    message:
        "scorecard"
    script:
        "../scripts/scorecard.py"


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
