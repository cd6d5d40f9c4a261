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
