"""Time and memory of planning the paper preset as it is, and of many of it at once.

    python benchmarks/plan.py [--times 1 10 100] [--only-plan]

Every copy of a study has learning rates of its own (a millionth apart), so that no training is shared. Prints jobs, CPU
seconds (user and system) and peak memory: of lossatlas's own plan with the requests of all its jobs, and of
Snakemake's dry run on top of it, which goes through the graph and prints every job.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent

PLAN = """
import sys
from pathlib import Path
from lossatlas.specs.yaml import read_yaml
from lossatlas.workflow import resources
from lossatlas.workflow.wiring import load_plan
root = Path(sys.argv[1])
raw = {**read_yaml(root / "config/config.yaml"), "preset": sys.argv[2], "studies": sys.argv[3:]}
wiring = load_plan(raw, root)
for made in wiring.plan.artefacts.values():
    resources.request(made.kind, [made])
print("total", len(wiring.plan.artefacts))
"""


def shifted(value: Any, factor: float, key: str = "") -> Any:
    """Return a document in which every learning rate is multiplied by a factor."""
    if isinstance(value, dict):
        return {name: shifted(item, factor, name) for name, item in value.items()}
    if isinstance(value, list):
        return [shifted(item, factor) for item in value]
    return value * factor if key == "lr" and isinstance(value, int | float) else value


def copies(times: int, folder: Path) -> tuple[str, list[str]]:
    """Write copies of all studies and a preset for them; return their paths."""
    preset = yaml.safe_load((ROOT / "config/presets/paper.yaml").read_text())
    sizes, files = preset["studies"], []
    preset["studies"] = {}
    for study in sorted((ROOT / "config/studies").glob("*.yaml")):
        document = yaml.safe_load(study.read_text())
        for i in range(times):
            name, factor = f"{study.stem}_{i}", 1 + 1e-6 * i
            file = folder / f"{name}.yaml"
            file.write_text(yaml.safe_dump(shifted(document, factor), sort_keys=False))
            preset["studies"][name] = shifted(sizes.get(study.stem, {}), factor)
            files.append(str(file))
    (folder / "preset.yaml").write_text(yaml.safe_dump(preset, sort_keys=False))
    return str(folder / "preset.yaml"), files


def measure(command: list[str], folder: Path) -> tuple[int, float, float]:
    """Return jobs, CPU seconds and peak memory (GB) of a command."""
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
    text = (folder / "output").read_text()
    found = re.findall(r"^total\s+(\d+)", text, re.MULTILINE)
    if status or not found:
        sys.exit(f"{text[-2000:]}\n{command[:4]} failed")
    return int(found[-1]), usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e6


def main() -> None:
    """Print a line for each number of copies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--only-plan", action="store_true", help="without Snakemake")
    given = parser.parse_args()
    snakemake = str(Path(sys.executable).with_name("snakemake"))
    print("times    what              jobs     CPU, s  memory, GB")
    for times in given.times:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            preset, files = copies(times, folder)
            config = [f"preset={preset}", f"studies=[{','.join(files)}]"]
            whole = [snakemake, "-s", str(ROOT / "Snakefile"), "--profile", str(ROOT / "slurm"), "-n"]
            commands = {"plan": [sys.executable, "-c", PLAN, str(ROOT), preset, *files]}
            if not given.only_plan:
                commands["dry run"] = [*whole, "--directory", name, "--config", *config]
            for what, command in commands.items():
                jobs, seconds, memory = measure(command, folder)
                print(f"{times:5d}    {what:8s}  {jobs:12,d}  {seconds:9.1f}  {memory:10.2f}", flush=True)


if __name__ == "__main__":
    main()
