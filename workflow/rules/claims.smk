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
    """All claims in one table: of the configured studies, then of others whose table lies finished in the tree."""
    input:
        claims=[f"results/claims/{study}.csv" for study in PLAN.studies],
    output:
        csv="results/claims.csv",
        record="results/claims.json",
    log:
        "results/logs/scorecard.log",
    params:
        scorecard=PLAN.scorecard(),
    message:
        "scorecard"
    script:
        "../scripts/scorecard.py"
