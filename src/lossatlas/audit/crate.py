"""A Workflow Run RO-Crate of results: the files, the workflow, and every job behind them, as their records tell it.

Profiles: Process, Workflow and Provenance Run Crate 0.5 (Leo et al., Recording provenance of workflow runs with
RO-Crate, PLOS ONE 2024) and Workflow RO-Crate 1.0, on RO-Crate 1.1. An unpacked crate is a working directory:
Snakefile, configuration and ``results/`` lie where they lay, a study of one's own in ``studies/``.
"""

import io
import json
import mimetypes
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from rocrate.model import ContextEntity, Entity
from rocrate.rocrate import ROCrate

from lossatlas import __version__
from lossatlas.audit.lineage import Lineage, Made
from lossatlas.errors import LossatlasError
from lossatlas.files import checksum
from lossatlas.files.provenance import SEGMENTS
from lossatlas.study import subjects

RUN_CRATE = "https://w3id.org/ro/wfrun"
WORKFLOW_CRATE = "https://w3id.org/workflowhub/workflow-ro-crate/1.0"
PROFILES = {
    f"{RUN_CRATE}/process/0.5": "Process Run Crate",
    f"{RUN_CRATE}/workflow/0.5": "Workflow Run Crate",
    f"{RUN_CRATE}/provenance/0.5": "Provenance Run Crate",
    WORKFLOW_CRATE: "Workflow RO-Crate",
}
TERMS = {name: f"https://w3id.org/ro/terms/workflow-run#{name}" for name in ("sha256", "resourceUsage")}
"""Words that RO-Crate 1.1 itself does not define."""

BIOSCHEMAS = "https://bioschemas.org/profiles"
SPDX = "https://spdx.org/licenses"
NOT_LICENSED = "No licence is granted for the results; ask who made them. The workflow's own is the MIT licence."
ABSENT = (
    "Not in the crate: the tree did not hold it. Its identifier is the SHA-256 of what it carries (content_sha256)."
)
SNAKEMAKE = "https://w3id.org/workflowhub/workflow-ro-crate#snakemake"
WORKFLOW = ("Snakefile", "workflow", "config", "profiles", "slurm", "requirements.lock")
"""What a working directory has of the workflow; the lock only in a repository."""

CONFIGURATION = ("preset", "numerics", "seed", "studies", "variants", "overrides")
"""Parameters of a run, as far as records say them."""

README = """# Results of lossatlas with their provenance

{about}

An RO-Crate (https://www.researchobject.org/ro-crate): `ro-crate-metadata.json` names every file with its SHA-256,
and every job with its inputs, outputs, times, machine and versions. What a job was asked stands in the file it made:
HDF5 attribute `provenance`, or the `.json` beside.

This folder is a working directory of the workflow. With lossatlas installed (`requirements.lock` has the versions):

    lossatlas fsck                      # is every file what was written?
    lossatlas provenance {target}
"""

HDF5, UNKNOWN = "application/x-hdf5", "application/octet-stream"


def crate(found: Lineage, root: Path, license: str, author: str = "") -> ROCrate:
    """Return the crate of some results; nothing is written yet.

    Args:
        found: the results and what lies behind them.
        root: of the workflow.
        license: of the results: a URL, or an identifier of SPDX; "" = none is granted.
        author: who answers for the run; "" = nobody is named.

    Raises:
        LossatlasError: the results are of several configurations, and so of no one run.
    """
    made = ROCrate(version="1.1")
    made.metadata.extra_contexts.append(TERMS)
    return _Crate(made, found, root).filled(license, author)


class _Crate:
    """A crate while it is filled; entities refer to each other by their names."""

    def __init__(self, made: ROCrate, found: Lineage, root: Path) -> None:
        self.made, self.found, self.root = made, found, root
        self.asked = [job for job in found.jobs if set(job.files) & set(found.asked)]

    def filled(self, license: str, author: str) -> ROCrate:
        """Describe everything; return the crate."""
        agent = self._add("Person", "#author", name=author) if author else None
        self._root(license, agent)
        tools, steps = self._rules()
        workflow = self._workflow(tools, steps)
        self._readme()
        for job in self.found.jobs:
            for name, path in job.files.items():
                self._file(name, path)
        for name, digest in self.found.absent.items():
            self._add("CreativeWork", f"#{name}", name=name, identifier=f"sha256:{digest}", description=ABSENT)
        run = self._run(workflow, agent)
        actions = [self._job(job, agent) for job in self.found.jobs]
        self._engine(run, actions, agent)
        return self.made

    def _add(self, type: str | list[str], id: str, **properties: Any) -> Entity:
        """Add a thing that is no file, or return it; properties without a value are left out."""
        known = self.made.dereference(id)
        if known is not None:
            return known
        given = {name: _single(value) for name, value in properties.items() if value not in (None, "", [])}
        return self.made.add(ContextEntity(self.made, id, {"@type": type, **given}))

    def _root(self, license: str, agent: Entity | None) -> None:
        names = ", ".join(self.found.asked)
        first = self.asked[0].record
        self.made.name = f"lossatlas: {names}"
        self.made.description = (
            f"{names} with {len(self.found.jobs)} jobs behind it, made by lossatlas at commit {first['commit']}; "
            f"{len(self.found.absent)} inputs are named by their digests alone."
        )
        url = license if "://" in license else f"{SPDX}/{license}"
        granted = self._add("CreativeWork", url, name=license, identifier=url) if license else NOT_LICENSED
        self.made.license = granted
        profiles = [
            self._add("CreativeWork", url, name=name, version=url.split("/")[-1]) for url, name in PROFILES.items()
        ]
        self.made.root_dataset["conformsTo"] = profiles
        self.made.metadata["conformsTo"] = [{"@id": url} for url in ("https://w3id.org/ro/crate/1.1", WORKFLOW_CRATE)]
        if agent is not None:
            self.made.root_dataset["author"] = agent

    def _rules(self) -> tuple[list[Entity], list[Entity]]:
        """Add a tool and a step for every rule that ran."""
        tools, steps = [], []
        for position, name in enumerate(dict.fromkeys(map(rule, self.found.jobs)), 1):
            tools.append(
                self._add(
                    "SoftwareApplication",
                    f"#rule/{name}",
                    name=f"rule {name}",
                    softwareVersion=__version__,
                    url=f"#{name}",
                )
            )
            steps.append(
                self._add("HowToStep", f"#step/{name}", name=name, position=str(position), workExample=tools[-1])
            )
        return tools, steps

    def _workflow(self, tools: list[Entity], steps: list[Entity]) -> Entity:
        """Add the workflow's files; return the Snakefile, which stands for all."""
        for path in workflow_files(self.root):
            self._file(path.relative_to(self.root).as_posix(), path)
        for study in self.asked[0].record.get("config", {}).get("studies", ()):
            file = self.found.tree.parent / study
            if file.suffix == ".yaml" and file.is_file():
                self._file(f"studies/{file.name}", file)
        main = self.made.dereference("Snakefile")
        language = self._add(
            "ComputerLanguage", SNAKEMAKE, name="Snakemake", url="https://snakemake.github.io",
            identifier="https://snakemake.github.io", alternateName="Snakemake", version=self._version("snakemake"),
        )  # fmt: skip
        main["name"], main["version"], main["programmingLanguage"] = "lossatlas", __version__, language
        main["license"] = f"{SPDX}/MIT"
        main["url"], main["hasPart"], main["step"] = "#", _single(tools), _single(steps)
        main["conformsTo"] = {"@id": f"{BIOSCHEMAS}/ComputationalWorkflow/1.0-RELEASE"}
        self.made.mainEntity = main
        return main

    def _version(self, package: str) -> str:
        """Return the version that ran, by the last stretch of the job asked for."""
        stretches = self.asked[0].record.get(SEGMENTS) or [{}]
        return str(stretches[-1].get("versions", {}).get(package, ""))

    def _file(self, name: str, path: Path) -> None:
        about: dict[str, Any] = {
            "contentSize": str(path.stat().st_size),
            "sha256": checksum.file_digest(path),
            "name": name,
        }
        if name == "Snakefile":
            about["@type"] = ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"]
        self.made.add_file(path, name, properties={**about, "encodingFormat": media_type(path)})

    def _readme(self) -> None:
        text = README.format(about=self.made.description, target=" ".join(self.found.asked))
        about = {"name": "README.md", "encodingFormat": "text/markdown", "contentSize": str(len(text.encode()))}
        self.made.add_file(io.StringIO(text), "README.md", properties={**about, "about": {"@id": "./"}})

    def _run(self, workflow: Entity, agent: Entity | None) -> Entity:
        """Add the run of the whole workflow, with its configuration and what was asked for."""
        parameters = [self._parameter(name, value) for name, value in configuration(self.asked).items()]
        results = [self.made.dereference(name) for name in self.found.asked]
        output = self._add(
            "FormalParameter", "#output/results", name="results", additionalType="File", workExample=results,
            conformsTo={"@id": f"{BIOSCHEMAS}/FormalParameter/1.0-RELEASE"},
        )  # fmt: skip
        for one in results:
            one["exampleOfWork"] = output
        workflow["input"], workflow["output"] = _single([one["exampleOfWork"] for one in parameters]), output
        times = [span(job.record) for job in self.found.jobs]
        return self._add(
            "CreateAction", "#run", name=f"Run of lossatlas for {', '.join(self.found.asked)}", instrument=workflow,
            description="All that is behind the files asked for, in one call of Snakemake or several.",
            object=parameters, result=results, agent=agent, actionStatus="http://schema.org/CompletedActionStatus",
            startTime=min(start for start, _ in times), endTime=max(end for _, end in times),
        )  # fmt: skip

    def _parameter(self, name: str, value: Any) -> Entity:
        text = value if isinstance(value, str | int | float) else json.dumps(value)
        given = self._add("PropertyValue", f"#configuration/{name}", name=name, value=text)
        given["exampleOfWork"] = self._add(
            "FormalParameter", f"#input/{name}", name=name, workExample=given,
            additionalType="Integer" if isinstance(value, int) else "Text",
            conformsTo={"@id": f"{BIOSCHEMAS}/FormalParameter/1.0-RELEASE"},
        )  # fmt: skip
        return given

    def _job(self, job: Made, agent: Entity | None) -> Entity:
        """Add what one job did, and that its step did it; return the latter."""
        start, end = span(job.record)
        seconds = job.record.get("seconds")
        usage = None
        if seconds is not None:
            usage = self._add(
                "PropertyValue", f"#seconds/{job.name}", name="seconds of work", value=str(seconds),
                unitCode="http://qudt.org/vocab/unit/SEC",
                propertyID="https://w3id.org/ro/terms/workflow-run#resourceUsage",
            )  # fmt: skip
        action = self._add(
            "CreateAction", f"#job/{job.name}", name=f"{rule(job)} of {job.name}", description=conditions(job.record),
            instrument=self.made.dereference(f"#rule/{rule(job)}"), agent=agent, startTime=start, endTime=end,
            object=[self.made.dereference(name) or self.made.dereference(f"#{name}") for name in job.inputs],
            result=[self.made.dereference(name) for name in job.files], resourceUsage=usage,
            actionStatus="http://schema.org/CompletedActionStatus",
        )  # fmt: skip
        return self._add(
            "ControlAction", f"#control/{job.name}", name=f"Snakemake: {rule(job)} of {job.name}",
            instrument=self.made.dereference(f"#step/{rule(job)}"), object=action,
        )  # fmt: skip

    def _engine(self, run: Entity, controls: list[Entity], agent: Entity | None) -> None:
        engine = self._add(
            "SoftwareApplication", "#snakemake", name="Snakemake", url="https://snakemake.github.io",
            softwareVersion=self._version("snakemake"),
        )  # fmt: skip
        organized = self._add(
            "OrganizeAction", "#snakemake/run", name="Snakemake", instrument=engine, object=controls, result=run,
            agent=agent, startTime=run["startTime"], endTime=run["endTime"],
        )  # fmt: skip
        self.made.root_dataset["mentions"] = [run, organized, *(one["object"] for one in controls)]


def _single(value: Any) -> Any:
    """Return the one member of a list that has one, as RO-Crate wants it."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def rule(made: Made) -> str:
    """Return the rule that made something."""
    kind = made.record.get("kind")
    if kind in subjects.steps():
        return subjects.steps()[kind].rule
    spec = made.record.get("spec", {})
    if "claims" in spec:
        return "claims"
    if "kind" in spec:
        role = subjects.products()[spec["kind"]].role
        return {"animation": "animate", "relief": "relief"}.get(spec["kind"], role)
    return str(kind)


def span(record: Mapping[str, Any]) -> tuple[str, str]:
    """Return when a job began and ended, in ISO 8601; its begin by its seconds where its stretches do not say it."""
    end = datetime.fromisoformat(str(record["created"]))
    starts = [datetime.fromisoformat(one["started"]) for one in record.get(SEGMENTS, ()) if "started" in one]
    begun = min(starts) if starts else end - timedelta(seconds=float(record.get("seconds", 0)))
    return begun.isoformat(), end.isoformat()


def conditions(record: Mapping[str, Any]) -> str:
    """Return on what and with what a job ran, a sentence for every stretch of it."""
    said = []
    for one in record.get(SEGMENTS, ()):
        versions = ", ".join(f"{name} {version}" for name, version in one.get("versions", {}).items())
        said.append(
            f"Commit {one.get('commit', record['commit'])} on {one.get('class', 'an unknown machine')}: {versions}."
        )
    return " ".join(said) or f"Commit {record['commit']}; machine and versions were not recorded."


def configuration(asked: Iterable[Made]) -> dict[str, Any]:
    """Return the one configuration of some results; of studies only the names of their files.

    Raises:
        LossatlasError: there are several.
    """
    found: list[dict[str, Any]] = []
    for made in asked:
        given = {
            **made.record.get("config", {}),
            **{key: made.record[key] for key in CONFIGURATION if key in made.record},
        }
        if "studies" in given:
            given["studies"] = [Path(study).name for study in given["studies"]]
        found.append({name: given[name] for name in CONFIGURATION if given.get(name) not in (None, {}, [])})
        if found[-1] != found[0]:
            raise LossatlasError(
                f"{made.name}: its configuration is {found[-1]}, that of the first file {found[0]}; "
                "one crate has one run"
            )
    return found[0]


def workflow_files(root: Path) -> Iterator[Path]:
    """Yield the files of the workflow below its root, without caches."""
    for name in WORKFLOW:
        for path in sorted([root / name, *(root / name).rglob("*")]):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path


def media_type(path: Path) -> str:
    """Return the media type of a file by its suffix."""
    if path.suffix == ".h5":
        return HDF5
    plain = {".smk", ".yaml", ".lock", ".py", ""}
    return "text/plain" if path.suffix in plain else mimetypes.guess_type(path.name)[0] or UNKNOWN
