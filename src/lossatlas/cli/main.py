"""The command ``lossatlas``: its commands, and how an error ends it.

Exit status: 0 done; 1 an error, one line on standard error; 2 a command line that cannot be read, one line as well; 130
interrupted. ``run`` ends as Snakemake does, ``fsck``, ``compare`` and ``provenance --verify`` with 1 when they find
something.
"""

import logging
import sys
from typing import Annotated, Any

import typer

from lossatlas import __version__
from lossatlas.cli import doctor, probes, records, studies
from lossatlas.errors import LossatlasError

ABOUT = """Look at the loss landscape of a network.

\b
    lossatlas demo                                              a surface in a minute, without anything of yours
    lossatlas surface mynet:SmallCNN a.pt --data data.pt        the loss around a checkpoint
    lossatlas connect mynet:SmallCNN a.pt b.pt --data data.pt   and between two
    lossatlas run trajectories --preset quick                   a study: trainings, probes, figures, verdicts

`lossatlas COMMAND --help` has examples. Exit status: 0 done, 1 an error (one line on standard error), 2 a command line
that cannot be read, 130 interrupted; `run` ends as Snakemake does.
"""

EXTRAS = {
    "plotly": "3d",
    "phate": "embed",
    "umap": "embed",
    "graphtools": "embed",
}
"""Package -> the extra that brings it, where it is not `workflow`."""

app = typer.Typer(
    name="lossatlas",
    help=ABOUT,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (probes, studies, records, doctor):
    group.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"lossatlas {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Take the options in front of a command."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    logging.basicConfig(format="lossatlas: %(message)s", level=logging.WARNING)
    try:
        given = sys.argv[1:] if arguments is None else arguments
        status = app(given or ["--help"], prog_name="lossatlas", standalone_mode=False)
    except LossatlasError as error:
        return said(str(error), 1)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "lossatlas":
            raise
        return said(missing(error.name), 1)
    except KeyboardInterrupt:
        return said("interrupted", 130)
    except OSError as error:
        return said(f"{error.filename or 'error'}: {error.strerror or error}", 1)
    except Exception as error:
        if not hasattr(error, "format_message"):  # what typer raises of a command line
            if type(error).__name__ == "Abort":
                return said("interrupted", 130)
            raise
        return said(f"{error.format_message()} {_help(error)}", 2)
    return status if isinstance(status, int) else 0


def said(text: str, status: int) -> int:
    """Print an error, a line for each of its own; return the exit status."""
    for line in text.splitlines():
        print(f"lossatlas: error: {line}", file=sys.stderr)
    return status


def missing(module: str) -> str:
    """Return what to do where a package is not installed."""
    package = module.partition(".")[0]
    extra = EXTRAS.get(package, "workflow")
    return f"{package} is not installed, which this needs; pip install 'lossatlas[{extra}]'"


def _help(error: Any) -> str:
    context = getattr(error, "ctx", None)
    return f"(`{context.command_path if context else 'lossatlas'} --help`)"


if __name__ == "__main__":
    sys.exit(main())
