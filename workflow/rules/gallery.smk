rule index:
    """List every artefact of the configured studies: name, hash, spec, and what asked for it."""
    output:
        csv="results/index.csv",
        record="results/index.json",
    log:
        "results/logs/index.log",
    params:
        index=lambda _: PLAN.index(),
    message:
        "index"
    script:
        "../scripts/index.py"


GALLERY = "results/figures/all/.built"
"""What Snakemake knows of the gallery: not its folder, which it would remove before the job and after a failed one. The
script exchanges that for the new one once it is whole; this lies in it, and so goes where it goes."""


rule gallery:
    """The gallery: every figure and table with caption and provenance, and the scorecard."""
    input:
        figures=PLAN.figure_files(),
        tables=PLAN.table_files(),
        claims="results/claims.csv",
        scorecard=["results/scorecard.csv", "results/scorecard.png", "results/scorecard.pdf"],
        index="results/index.csv",
    output:
        built=GALLERY,
    log:
        "results/logs/gallery.log",
    resources:
        **PLAN.resources("gallery"),
    params:
        manifest=lambda _: PLAN.manifest(),
    message:
        "gallery results/figures/all/index.html"
    script:
        "../scripts/gallery.py"


for target in ("results/figures/all", "results/figures/all/", "results/figures/all/index.html"):

    rule:  # what a user asks for: a rule by that name, since no rule has the folder as its output
        name:
            target
        input:
            GALLERY,
        message:
            "open results/figures/all/index.html"


rule own_gallery:
    """The gallery of a study of your own, which no other study changes."""
    input:
        figures=lambda w: PLAN.figure_files(w.study),
        tables=lambda w: PLAN.table_files(w.study),
        claims="results/claims/{study}.csv",
        statements="results/claims/{study}.statements.csv",
    output:
        built="results/galleries/{study}/.built",
    log:
        "results/logs/own_gallery/{study}.log",
    wildcard_constraints:
        study="|".join(PLAN.own) or "(?!)",
    resources:
        **PLAN.resources("gallery"),
    params:
        manifest=lambda w: PLAN.manifest_of(w.study),
    message:
        "gallery results/galleries/{wildcards.study}/index.html"
    script:
        "../scripts/gallery.py"


for page in PLAN.own:
    for target in (f"results/galleries/{page}", f"results/galleries/{page}/", f"results/galleries/{page}/index.html"):

        rule:
            name:
                target
            input:
                f"results/galleries/{page}/.built",
            message:
                f"open results/galleries/{page}/index.html"
