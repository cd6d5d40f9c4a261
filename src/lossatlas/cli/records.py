"""Commands on files that were made: what is in them, whether they are whole or agree, packing and publishing them.

They are the modules ``lossatlas.fsck`` and so on under other names, and read their own arguments.
"""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import typer

from lossatlas.cli import made

ABOUT = {
    "fsck": """Check files against their checksums, places and sources.

\b
Examples:
  lossatlas fsck                 everything under results/
  lossatlas fsck out/            a folder, here one that `lossatlas surface` filled
  lossatlas fsck --subset 5%     a random part

Exit status 1 when a file is not what was written. `lossatlas fsck --help` has all options.
""",
    "provenance": """Print what made a file, and the command that makes it again; --verify does so and compares.

\b
Examples:
  lossatlas provenance out/surface.png
  lossatlas provenance results/figures/trajectories/fig2.png
  lossatlas provenance --verify results/figures/trajectories/fig2.png

Exit status 1 when there is none, or the file does not come out again.
""",
    "compare": """Say at which level two results agree: bits, rounding, conclusions; and why not at a higher one.

\b
Examples:
  lossatlas compare results other/results
  lossatlas compare a/gram.h5 b/gram.h5

Exit status 1 when they agree less than their machines let expect.
""",
    "export": """Pack results with all that made them into a Workflow Run RO-Crate, one zip for a repository.

\b
Examples:
  lossatlas export results/figures/trajectories/fig2.png
  lossatlas export results/claims/trajectories.csv results/figures/trajectories/fig2.png -o crate.zip
  lossatlas export results/claims/trajectories.csv --author "A. Person" --license CC-BY-4.0

The crate has the files, those they were made from as far as the tree holds them, the workflow, and every job's record.
Exit status 1 when a file has no provenance or is not what was written.
""",
    "publish": """Copy finished results of studies into the repository's docs/results, with their records.

\b
Examples:
  lossatlas publish generalization
""",
}
"""Command -> its help."""

OWN_ARGUMENTS = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
"""Everything behind the command goes to the module, --help too."""


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for name, about in ABOUT.items():
        app.command(name, help=about, context_settings=OWN_ARGUMENTS)(_called(name))


def _called(name: str) -> Callable[[typer.Context], int]:
    def command(context: typer.Context) -> int:
        return call(name, context.args)

    return command


def call(name: str, arguments: list[str]) -> int:
    """Run ``python -m lossatlas.<name>`` in this process; return its exit status."""
    if set(arguments) & {"-h", "--help"}:
        print(ABOUT[name].replace("\b\n", ""))
    elif name == "provenance" and len(arguments) == 1 and (text := made.told(Path(arguments[0]))):
        print(text)
        return 0
    before, sys.argv = sys.argv, [f"lossatlas {name}", *arguments]
    try:
        return int(importlib.import_module(f"lossatlas.{name}").main())
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    finally:
        sys.argv = before
