"""Where the files of the workflow lie: in the repository, or inside the installed package."""

from pathlib import Path

from lossatlas.errors import LossatlasError

PACKAGE = Path(__file__).resolve().parent


def is_workflow(folder: Path) -> bool:
    """Tell whether a folder has the Snakefile of lossatlas and its configuration."""
    return (folder / "Snakefile").is_file() and (folder / "config" / "config.yaml").is_file()


def workflow() -> Path:
    """Return the folder that holds Snakefile, workflow, config, profiles and slurm.

    A wheel carries them in ``lossatlas/workflow_files`` (setup.py puts them there); an editable installation, and a
    checkout on ``PYTHONPATH``, has them at the top of the repository.

    Raises:
        LossatlasError: neither is there, since something installed the package without its files.
    """
    for folder in (PACKAGE / "workflow_files", PACKAGE.parent.parent):
        if is_workflow(folder):
            return folder
    raise LossatlasError(
        f"{PACKAGE / 'workflow_files'}: the Snakefile is not there; install lossatlas again "
        "(pip install --force-reinstall --no-deps lossatlas)"
    )


def here_or_installed() -> Path:
    """Return the working directory where it is a checkout of the workflow, else :func:`workflow`."""
    return Path.cwd() if is_workflow(Path.cwd()) else workflow()
