"""The repository agrees with itself: rules, scripts, logs, studies, environments and what the README says to type."""

import importlib.util
import re
import shlex

import matplotlib
import matplotlib.pyplot
import pytest
import torch
import yaml
from harness import ROOT, TINY, planned
from packaging.requirements import Requirement
from torch import nn
from typer.main import get_command

from lossatlas.cli.main import app
from lossatlas.specs.yaml import read_yaml
from lossatlas.study import subjects
from lossatlas.study.config import load
from lossatlas.study.plan import Plan
from lossatlas.workflow import generated

RULE_FILES = [ROOT / "Snakefile", *sorted((ROOT / "workflow/rules").glob("*.smk"))]
SCRIPTS = sorted((ROOT / "workflow/scripts").glob("*.py"))
STUDIES = sorted(path.stem for path in (ROOT / "config/studies").glob("*.yaml"))
PRESETS = sorted(path.stem for path in (ROOT / "config/presets").glob("*.yaml"))
README, RUNNING = ROOT / "README.md", ROOT / "docs/running.md"


def rules():
    """Return rule -> its text, from every rule file."""
    found = {}
    for path in RULE_FILES:
        for name, body in re.findall(r"^rule (\w+):\n((?:[ \t]+.*\n|\n)*)", path.read_text() + "\n", re.MULTILINE):
            assert name not in found, f"rule {name} is defined twice"
            found[name] = body
    return found


def directive(body, name):
    """Return the lines of a directive of a rule."""
    match = re.search(rf"^    {name}:(.*)\n((?:        .*\n|\n)*)", body, re.MULTILINE)
    return None if match is None else [line.strip() for line in [match[1], *match[2].splitlines()] if line.strip()]


STEPS = {step.rule: step for step in subjects.steps().values()}
SCRIPT = {"animate": "figure", "relief": "figure", "own_gallery": "gallery", **dict.fromkeys(STEPS, "step")}
"""Rules that run another script than the one of their name."""

RULES = rules()
WORKING = {name: body for name, body in RULES.items() if directive(body, "script") or directive(body, "shell")}


def test_rules_were_found():
    assert {"data", "train", "retrain", "gather", "gram", "embed", "figure", "gallery"} <= set(WORKING)
    assert set(RULES) - set(WORKING) == {"all"}
    total = sum(path.read_text().count("\nrule ") + path.read_text().startswith("rule ") for path in RULE_FILES)
    assert total == len(RULES)


@pytest.mark.parametrize("name", RULES)
def test_rule_says_what_it_does(name):
    assert re.match(r'\s*"""[A-Z][^"]+\."""', RULES[name]), f"rule {name}: no docstring that is a sentence"


@pytest.mark.parametrize("name", WORKING)
def test_rule_has_log_message_and_named_outputs(name):
    body = WORKING[name]
    assert directive(body, "message"), f"rule {name}: no message"
    (log,) = directive(body, "log")
    assert re.match(rf'"results/logs/{name}[./]', log), f"rule {name}: logs to {log}, not to results/logs/{name}"
    for line in directive(body, "output"):
        assert re.match(r"\w+=|\*\*\{kind:", line), f"rule {name}: output without a name: {line}"
    if directive(body, "script"):
        assert directive(body, "script") == [f'"../scripts/{SCRIPT.get(name, name)}.py"']


def test_no_script_is_an_orphan():
    scripted = {name for name, body in WORKING.items() if directive(body, "script")}
    assert {path.stem for path in SCRIPTS} == {SCRIPT.get(name, name) for name in scripted}


def test_every_step_has_a_rule_in_its_subject_and_no_rule_is_without_one():
    made = {name for name, body in RULES.items() if directive(body, "script") == ['"../scripts/step.py"']}
    assert made == set(STEPS), f"no rule: {sorted(set(STEPS) - made)}; no step: {sorted(made - set(STEPS))}"
    for name, step in STEPS.items():
        subject = step.run.split(".")[1]
        assert f"rule {name}:" in (ROOT / f"workflow/rules/{subject}.smk").read_text(), f"{name}: not in {subject}.smk"


@pytest.mark.parametrize("name", STEPS)
def test_rule_is_what_its_step_says(name):
    """Roles, file and resources; the script takes the rest from the artefact."""
    step, body = STEPS[name], RULES[name]
    given = {line.split("=")[0]: line for line in directive(body, "input") or []}
    wanted = {role: f'{role}=PLAN.inputs_of("{step.kind}", "{role}"),' for role in step.roles}
    if step.kind == "data":
        wanted = {"sources": 'sources=PLAN.inputs_of("data", "sources"),'}
    assert given == wanted
    assert directive(body, "output")[0].endswith(f'="results/{step.kind}/{{id}}/{step.file}",')
    assert directive(body, "resources") == [f'**PLAN.resources("{step.kind}"),']
    assert directive(body, "params") == [f'artefact=lambda w: PLAN.artefact("{step.kind}", w.id),']


def test_generated_files_are_what_the_code_says():
    for name, text in generated.files(ROOT).items():
        assert (ROOT / name).read_text() == text, f"{name}: run `make docs`"


@pytest.mark.parametrize("study", STUDIES)
def test_editors_find_the_schema(study):
    first = (ROOT / f"config/studies/{study}.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=../schema/study.schema.json"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_script_is_thin(script):
    text = script.read_text()
    assert len(text.splitlines()) < 40
    assert "snakemake.config" not in text, "all that changes a result is an input or a parameter"
    assert "with job(snakemake) as this" in text
    assert re.match(r'"""(Rules? \w+|Every rule)', text)


@pytest.mark.parametrize("study", STUDIES)
@pytest.mark.parametrize("preset", PRESETS)
def test_study_is_valid_at_every_preset(study, preset):
    raw = {**read_yaml(ROOT / "config/config.yaml"), "preset": preset, "studies": [study]}
    plan = Plan(load(raw, ROOT))
    assert plan.studies[study].figures
    assert plan.artefacts


def test_configured_studies_exist():
    raw = read_yaml(ROOT / "config/config.yaml")
    assert set(raw["studies"]) <= set(STUDIES)
    assert {name for preset in PRESETS for name in (read_yaml(ROOT / f"config/presets/{preset}.yaml").get("studies") or {})} <= set(STUDIES)  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------------
# environments


def lock():
    """Return package -> version of the lock file."""
    lines = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if line and line[0] != "#"]
    pins = [re.fullmatch(r"([\w.-]+)==([\w.!]+)", line) for line in lines]
    assert all(pins), [line for line, pin in zip(lines, pins, strict=True) if not pin]
    return {re.sub(r"[-_.]+", "-", pin[1]).lower(): pin[2] for pin in pins}


def test_lock_satisfies_what_the_package_asks_for():
    import tomllib

    pins = lock()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for text in sum(project["optional-dependencies"].values(), project["dependencies"]):
        asked = Requirement(text)
        if asked.name == "lossatlas":  # an extra that takes another
            assert asked.extras <= set(project["optional-dependencies"])
            continue
        name = re.sub(r"[-_.]+", "-", asked.name).lower()
        assert name in pins, f"{asked.name} is not in requirements.lock; run `make lock`"
        assert asked.specifier.contains(pins[name]), f"{text}: requirements.lock has {pins[name]}"


def test_conda_environment_is_the_lock():
    """environment.yml names Python and takes every version from the lock, so that the two cannot differ."""
    text = (ROOT / "environment.yml").read_text()
    asked = yaml.safe_load(text)
    *conda, pip = asked["dependencies"]
    assert conda == ["python=3.11", "pip"]
    assert pip == {"pip": ["-r requirements.lock", "-e ."]}
    assert "://" not in text
    assert "python3.11" in (ROOT / "Makefile").read_text()
    assert '">=3.11"' in (ROOT / "pyproject.toml").read_text()


# ---------------------------------------------------------------------------------------------------------------------
# the README, and the page on the studies that it leads to


def commands():
    """Return the commands in their code blocks, indented or fenced, without comments."""
    text = README.read_text() + RUNNING.read_text()
    fenced = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    code = [line for line in text.splitlines() if line.startswith("    ")] + "".join(fenced).splitlines()
    lines = [line.strip().removeprefix("$ ") for line in code]
    lines = [part.strip() for line in lines for part in line.split("&&")]
    return [
        shlex.split(line, comments=True) for line in lines if re.match(r"(make|snakemake|dvc|python|lossatlas) ", line)
    ]


COMMANDS = commands()


def test_readme_says_what_to_type():
    typed = [" ".join(command) for command in COMMANDS]
    assert {"make figures", "make test", "dvc pull"} <= set(typed)
    assert any(line.startswith("snakemake --profile slurm") for line in typed)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_readme_command_exists(command, tmp_path):
    program, *arguments = command
    if program == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert {argument for argument in arguments if "=" not in argument} <= set(targets)
    elif program == "dvc":
        assert arguments[0] in ("pull", "push", "repro", "status", "remote", "fetch", "metrics")
    elif program == "python":
        if arguments[0] == "-m":
            assert importlib.util.find_spec(arguments[1]), f"no module {arguments[1]}"
        else:
            assert (ROOT / arguments[0]).exists()
    elif program == "lossatlas":
        name, *words = arguments
        get_command(app).commands[name].make_context(name, words)
    elif "--unlock" not in arguments:
        own = [argument.replace("my/study.yaml", str(TINY)) for argument in arguments]
        assert planned(ROOT, ["--directory", str(tmp_path), *own])


def test_python_example_of_the_page_on_studies_runs():
    (code,) = re.findall(r"^```python\n(.*?)^```", RUNNING.read_text(), re.MULTILINE | re.DOTALL)
    names = {}
    exec(code, names)
    assert names["losses"].shape == (51,)
    assert names["losses"].isfinite().all()
    at_the_point = float(names["landscape"].loss(names["theta"]))
    assert float(names["losses"][25]) == pytest.approx(at_the_point, rel=1e-6)


class SmallCNN(nn.Sequential):
    """A reader's network; here a smaller one."""

    def __init__(self):
        super().__init__(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 2))


def test_readme_five_lines_run(tmp_path, monkeypatch, capsys, fresh_seed):
    monkeypatch.chdir(tmp_path)
    matplotlib.use("agg")
    matplotlib.pyplot.close("all")  # of earlier tests of this process
    torch.manual_seed(fresh_seed)
    for name in "ab":
        torch.save(SmallCNN().state_dict(), f"{name}.pt")
    x = torch.randn(20, 2)
    names = {"SmallCNN": SmallCNN, "x": x, "y": (x[:, 0] > 0).long()}
    (code,) = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    exec(code, names)
    assert "largest eigenvalue" in capsys.readouterr().out
    assert len(matplotlib.pyplot.get_fignums()) == 2
    matplotlib.pyplot.close("all")
