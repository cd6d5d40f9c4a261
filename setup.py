"""Puts what Snakemake reads into the wheel: at the repository's top level, in the package `workflow_files`."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
FILES = ("Snakefile", "workflow", "config", "profiles", "slurm")
"""As the repository has them; `lossatlas.places` finds them in either place."""


class BuildWithWorkflow(build_py):
    """The package and, unless the installation points into the repository, a copy of the workflow."""

    def run(self) -> None:
        """Build."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "lossatlas" / "workflow_files"
        shutil.rmtree(target, ignore_errors=True)  # a build folder may hold files that the repository has no more
        for file in self.workflow_files():
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / file, target / file)

    @staticmethod
    def workflow_files() -> list[Path]:
        """Return the files of the workflow, relative to the repository."""
        found = [file for name in FILES for file in (ROOT / name, *(ROOT / name).rglob("*")) if file.is_file()]
        return sorted(file.relative_to(ROOT) for file in found if "__pycache__" not in file.parts)


setup(cmdclass={"build_py": BuildWithWorkflow})
