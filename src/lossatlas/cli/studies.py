"""Commands on studies: a new one, what it would make, making it, and what kinds of things it may have."""

import importlib.util
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from lossatlas import places
from lossatlas.errors import LossatlasError

REST = {"allow_extra_args": True, "ignore_unknown_options": False}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("new")(new)
    app.command("check")(check)
    app.command("run", context_settings=REST)(run)
    app.command("kinds")(kinds)


def new(
    study: Annotated[Path, typer.Argument(metavar="STUDY", help="The file to write, my/study.yaml.")],
    model: Annotated[str, typer.Option(help="module:name of the network, importable from where `run` is called.")],
    data: Annotated[str, typer.Option("--data", "-d", help="data.pt or data.npz, or a data set by name.")],
    checkpoint: Annotated[
        list[str], typer.Option("--checkpoint", "-c", help="Trained weights; again for more. None: train here.")
    ] = [],  # noqa: B006 - typer copies it
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
) -> None:
    """Write a study of a network of your own, ready to run and to be edited.

    \b
    Examples:
      lossatlas new my/study.yaml --model mynet:SmallCNN --data data.pt --checkpoint a.pt
      lossatlas new my/study.yaml --model mynet:SmallCNN --data data.pt -c a.pt -c b.pt --force
    """
    from lossatlas.study import template

    template.write(study, model=model, data=data, checkpoints=checkpoint, replace=force)
    print(f"{study}\nlossatlas check {study}    what it would make\nlossatlas run {study}      make it")


def check(
    study: Annotated[str, typer.Argument(metavar="STUDY", help="A file, or the name of a study that comes along.")],
    preset: Annotated[str, typer.Option(help="Sizes: quick, laptop, paper, or a file.")] = "laptop",
    numerics: Annotated[str | None, typer.Option(help="portable or native.  [default: the preset's]")] = None,
) -> None:
    """Read a study and say what it would make; every mistake in it is one line that names the key.

    \b
    Examples:
      lossatlas check my/study.yaml
      lossatlas check trajectories --preset paper
    """
    from lossatlas.specs.yaml import read_yaml
    from lossatlas.study.config import load
    from lossatlas.study.plan import Plan

    root = places.here_or_installed()
    raw = {**read_yaml(root / "config" / "config.yaml"), "preset": preset, "studies": [study], "numerics": numerics}
    plan = Plan(load(raw, root))
    made = Counter(one.kind for one in plan.artefacts.values())
    ((name, found),) = plan.studies.items()
    print(f"{name}: {found.study.title} (preset {plan.config.preset})")
    print(f"  {len(found.figures)} figures: {', '.join(found.figures) or 'none'}")
    print(f"  {len(found.tables)} tables: {', '.join(found.tables) or 'none'}")
    print(f"  {sum(made.values())} artefacts: {', '.join(f'{count} {kind}' for kind, count in sorted(made.items()))}")
    here = [one for one in plan.artefacts.values() if Path(one.path).exists()]
    print(f"  {len(here)} of them are in results/ already")


def run(
    context: typer.Context,
    studies: Annotated[list[str], typer.Argument(metavar="STUDY...", help="Files or names.")],
    preset: Annotated[str | None, typer.Option(help="Sizes: quick, laptop, paper, or a file.")] = None,
    cores: Annotated[int | None, typer.Option(min=1, help="Jobs at once.  [default: 2]")] = None,
    target: Annotated[
        list[str], typer.Option("--target", "-t", help="Files to make, not the whole gallery; again for more.")
    ] = [],  # noqa: B006 - typer copies it
    config: Annotated[list[str], typer.Option("--config", "-C", help="key=value of config.yaml; again for more.")] = [],  # noqa: B006
    profile: Annotated[str | None, typer.Option(help="Snakemake profile; slurm comes along.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "-n", help="Say what would be made.")] = False,
) -> int:
    """Make studies: Snakemake on the workflow that came with lossatlas, in this folder; results go to results/.

    Words behind `--` go to Snakemake as they are. Its screen is shown and its exit status is passed on.

    \b
    Examples:
      lossatlas run my/study.yaml
      lossatlas run trajectories --preset quick --cores 4
      lossatlas run trajectories -t results/figures/trajectories/fig2.png -n
      lossatlas run my/study.yaml -- --keep-going --rerun-incomplete
      lossatlas run trajectories --profile slurm
    """
    if importlib.util.find_spec("snakemake") is None:
        raise LossatlasError("snakemake is not installed, which this needs; pip install 'lossatlas[workflow]'")
    more = [word for word in context.args if word != "--"]
    studies, more = _split(studies, more)
    root = places.here_or_installed()
    command = [sys.executable, "-m", "snakemake", "-s", str(root / "Snakefile")]
    command += ["--cores", str(cores)] if cores else []
    command += ["--profile", _profile(profile, root)] if profile else []
    command += ["--dry-run"] if dry_run else []
    entries = [f"studies={json.dumps(studies)}", *([f"preset={preset}"] if preset else []), *config]
    return _become([*command, *more, "--config", *entries, *(["--", *target] if target else [])])


def _split(studies: list[str], more: list[str]) -> tuple[list[str], list[str]]:
    """Return the studies, and the options for Snakemake, which stand behind `--` and look like arguments."""
    first = next((i for i, word in enumerate(studies) if word.startswith("-")), len(studies))
    return studies[:first], [*studies[first:], *more]


def _profile(named: str, root: Path) -> str:
    """Return a profile by name: of the working directory, of lossatlas, else Snakemake's business."""
    ours = root / named
    return str(ours) if not Path(named).exists() and (ours / "config.yaml").is_file() else named


def _become(command: list[str]) -> int:
    """Let another program take this one's place, so that its screen, signals and exit status are the user's."""
    if os.name == "posix":
        sys.stdout.flush()
        os.execv(command[0], command)
    return subprocess.run(command).returncode


def kinds(
    what: Annotated[
        str, typer.Argument(metavar="WHAT", help="figures, tables, probes, models, measures, artefacts or all.")
    ] = "all",
) -> None:
    """List what a study may have: kinds of figures, tables, probes, models, measures, artefacts.

    \b
    Examples:
      lossatlas kinds
      lossatlas kinds figures
    """
    listed = _listed()
    if what != "all" and what not in listed:
        from lossatlas.specs.yaml import nearest

        raise LossatlasError(f"kinds: got {what!r}; {nearest(what, [*listed, 'all'])}")
    for name, rows in listed.items():
        if what in (name, "all"):
            width = max(len(row) for row in rows)
            print(f"{name}:")
            print("\n".join(f"  {row:{width}}  {about}" for row, about in sorted(rows.items())))
    if what == "all":
        print("every key of each: docs/reference.md")


def _listed() -> dict[str, dict[str, str]]:
    """Return what -> name -> first line of its description."""
    from lossatlas.models.spec import MODELS
    from lossatlas.study import subjects

    products = subjects.products().items()
    return {
        "figures": {name: _first(one) for name, one in products if one.role == "figure"},
        "tables": {name: _first(one) for name, one in products if one.role == "table"},
        "probes": {
            f"{section}: {kind}" if kind else section: _first(one.spec)
            for (section, kind), one in subjects.entries().items()
        },
        "models": {name: _first(one) for name, one in MODELS.items()},
        "measures": {name: _first(one) for name, one in subjects.measures().items()},
        "artefacts": {
            name: f"{step.file}, from {', '.join(step.roles) or 'nothing'}" for name, step in subjects.steps().items()
        },
    }


def _first(one: type) -> str:
    return (one.__doc__ or "").strip().splitlines()[0]
