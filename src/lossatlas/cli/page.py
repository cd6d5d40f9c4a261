"""``docs/command-line.md``: the help of every command, as the command prints it.

python -m lossatlas.cli.page            write it
python -m lossatlas.cli.page --check    exit 1 when it is not what the code says
"""

import sys
from pathlib import Path

from typer.main import get_command
from typer.testing import CliRunner

from lossatlas.cli.main import app

PAGE = Path("docs/command-line.md")
WIDTH = 100

HEAD = """# Command line

Written by `make docs` from the commands themselves (`src/lossatlas/cli/`). An installed lossatlas is enough for the
commands on a network of one's own; `new`, `check`, `run`, `fsck`, `compare`, `export` and
`publish` need `pip install 'lossatlas[workflow]'`.

| exit status | means |
| --- | --- |
| 0 | done |
| 1 | an error: one line on standard error, `lossatlas: error: ...`, that names what was got and expected; `doctor`: lossatlas does not work as it is; `fsck`, `compare`, `provenance --verify`: something was found |
| 2 | a command line that cannot be read: one line that says why (`fsck`, `provenance`, `compare`, `export` and `publish` print their usage before it) |
| 130 | interrupted |

`run` becomes Snakemake and ends as that does: 0, or 1 when a job failed. Warnings, such as what was chosen for the user, are
lines on standard error that begin with `lossatlas:`; results and the names of the files written go to standard output.

**MODEL** is `module:name` of a `torch.nn.Module`, or of a class or function without arguments that makes one; the working
directory comes first. **CHECKPOINT** is what `torch.save` wrote of a `state_dict` (read with `weights_only`), a
`.safetensors` file, or a folder of checkpoints of one training, of which the last is taken. **--data** is a `.pt` file of
`(x, y)` or of a dict with `x` and `y` (or `x_train` and `y_train`), an `.npz` file with these, or `module:name` of a
`DataLoader`, a `Dataset`, `(x, y)`, or a function that returns one. Inputs are those that the network was trained on.

"""  # noqa: E501 - rows of a table


def page() -> str:
    """Return the page."""
    names = list(get_command(app).commands)  # type: ignore[attr-defined]
    blocks = [f"## lossatlas {name}\n\n```text\n{_help(name)}\n```\n" for name in names]
    return HEAD + f"```text\n{_help()}\n```\n\n" + "\n".join(blocks)


def _help(*words: str) -> str:
    width = {"COLUMNS": str(WIDTH)}  # of the commands that read their own arguments
    done = CliRunner(env=width).invoke(app, [*words, "--help"], prog_name="lossatlas", terminal_width=WIDTH)
    return "\n".join(line.rstrip() for line in done.output.strip("\n").splitlines())


def main() -> int:
    """Write or check the page below the working directory."""
    text = page()
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    if "--check" in sys.argv[1:]:
        print(f"{PAGE}: not what the commands say; run `make docs`", file=sys.stderr)
        return 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
