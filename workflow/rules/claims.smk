rule claims:
    """Measure a study's claims, and judge them and the paper's statements that they are parts of."""
    input:
        lambda w: PLAN.files("claims", w.study),
    output:
        csv="results/claims/{study}.csv",
        statements="results/claims/{study}.statements.csv",
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


rule statements:
    """The papers' statements with their verdicts, as a table and as one picture."""
    input:
        claims="results/claims.csv",
        statements=[f"results/claims/{study}.statements.csv" for study in PLAN.studies],
    output:
        csv="results/scorecard.csv",
        png="results/scorecard.png",
        pdf="results/scorecard.pdf",
        record="results/scorecard.json",
    log:
        "results/logs/statements.log",
    params:
        code=PLAN.statements(),
    message:
        "statements of the papers: results/scorecard.png"
    script:
        "../scripts/statements.py"
