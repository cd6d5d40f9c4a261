"""Configuration: config.yaml, a preset and the study files, checked; every mistake is one line that names its key."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator

from lossatlas.errors import LossatlasError
from lossatlas.numerics import Numerics
from lossatlas.specs.base import Spec, key, read, unique
from lossatlas.specs.yaml import merge, nearest, parse, read_yaml
from lossatlas.study.left_out import without_left_out
from lossatlas.study.read import StudyFile, read_study

Names = Annotated[list[str], AfterValidator(unique("name each once"))]


class Cluster(Spec):
    """What jobs may ask a cluster for. Names no artefact; runs on one machine ignore it."""

    max_runtime: float = key(
        "Longest time that a job asks for, hours: no longer than the partitions allow. A job that takes longer is sent "
        "again after its TIMEOUT and resumes.",
        24.0,
        gt=0,
    )
    gpu_worth: float = key(
        "Core-hours that a GPU-hour is worth: a job on networks goes where it costs less. 0 = every one to a GPU.",
        16.0,
        ge=0,
    )
    cpu_partition: str | None = key("Partition of jobs without a GPU; null = SLURM's default one.", None)
    gpu_partition: str | None = key("Partition of jobs with a GPU; null = SLURM's default one.", None)
    gpu_model: str | None = key("Kind of GPU, for `--gpus=a100:1` instead of `--gpus=1`.", None)
    gpu_shards: int | None = key(
        "Parts into which SLURM cuts each GPU (its gres/shard): jobs that do not fill one share it, by "
        "`--gres=shard:<parts>`. null = whole GPUs.",
        None,
        ge=2,
    )


class ConfigFile(Spec):
    """``config/config.yaml``, with what ``--config`` adds to it."""

    preset: str = key("Name of a file in config/presets without .yaml, or the path of a preset of your own.")
    studies: Names = key("Names of files in config/studies, or paths of studies of your own.", min_length=1)
    seed: int = key("Master seed; every seed is derived from it.", ge=0)
    numerics: Numerics | None = key(
        "portable: the same bits on every x86-64 CPU with AVX2, slower. native: what the machine does fastest. "
        "null = the preset's.",
        None,
    )
    formats: Annotated[list[Literal["png", "pdf", "svg"]], AfterValidator(unique("name each once"))] = key(
        "Figure formats.", min_length=1
    )
    variants: dict[str, str] | None = key(
        "Data set -> variant that replaces the preset's, but not what a study itself says.", {}
    )
    overrides: dict[str, dict[str, Any]] | None = key("Study -> keys merged in after the preset.", {})
    machines: dict[str, str] | None = key(
        "Name -> results of another machine (the folder that claims/ lies in); their verdicts stand beside ours in the "
        "scorecard.",
        {},
    )
    data_path: list[str] | None = key("Folders searched for data sets before LOSSATLAS_DATA.", [])
    cluster: Cluster = key("What jobs may ask a cluster for.", Cluster())


class Preset(Spec):
    """``config/presets/<preset>.yaml``: sizes only. The values of the papers stand in the studies."""

    description: str = key("What the preset is for and how long it takes.")
    numerics: Numerics = key("Of every job, where the configuration names none (lossatlas.numerics).", "native")
    judges: bool = key("Whether claims get verdicts; false for sizes that show the workflow and decide nothing.", True)
    variants: dict[str, str] = key("Data set -> variant this preset uses.", {})
    studies: dict[str, dict[str, Any]] = key(
        "Study -> keys that replace the study's own. A cloud that is null is left out, with the panels, rows and "
        "inputs of claims that name it.",
        {},
    )


@dataclass(frozen=True)
class Config:
    """What a run of the workflow is asked to build.

    Attributes:
        preset: name of the preset.
        seed: master seed.
        numerics: of every job.
        formats: figure formats besides CSV.
        studies: study name -> study with preset, variants and overrides merged in.
        variants: data set -> variant that replaces the preset's choice.
        data_path: folders searched for data sets before ``LOSSATLAS_DATA``.
        machines: name -> results of another machine.
        judges: whether the preset is large enough for verdicts.
        own: studies that lie outside ``config/studies``, each of which has a gallery of its own.
        asked: study -> what Snakemake's ``--config`` says to have it alone, with preset and numerics.
        cluster: what jobs may ask a cluster for.
    """

    preset: str
    seed: int
    numerics: Numerics
    formats: tuple[str, ...]
    studies: dict[str, StudyFile]
    variants: dict[str, str]
    data_path: tuple[str, ...]
    machines: dict[str, str] = field(default_factory=dict)
    judges: bool = True
    own: tuple[str, ...] = ()
    asked: dict[str, str] = field(default_factory=dict)
    cluster: Cluster = field(default_factory=Cluster)


def _file(entry: str, what: str, root: Path) -> Path:
    """Return the file of a preset or study given by name or, for a user's own, by path."""
    if entry.endswith((".yaml", ".yml")):
        return Path(entry)
    section = {"preset": "presets", "study": "studies"}[what]
    folder = root / "config" / section
    names = sorted(path.stem for path in folder.glob("*.yaml"))
    if entry not in names:
        place = "preset" if what == "preset" else "studies"
        raise LossatlasError(f"config/config.yaml: {place}: {entry!r} is not a {what}; {nearest(entry, names)}")
    return folder / f"{entry}.yaml"


def _typed(value: Any) -> Any:
    """Return a nested value with numbers and switches as such: ``--config`` hands nested ones over as text."""
    if isinstance(value, Mapping):
        return {name: _typed(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_typed(item) for item in value]
    if not isinstance(value, str):
        return value
    parsed = parse(value)
    return parsed if isinstance(parsed, bool | int | float) or value in ("null", "~") else value


def _checked(spec: type[Any], raw: Any, source: str) -> Any:
    """Read a file's mapping; every line of a mistake begins with its name."""
    try:
        return read(spec, raw)
    except LossatlasError as error:
        raise LossatlasError("\n".join(f"{source}: {line}" for line in str(error).splitlines())) from None


def _document(path: Path) -> Mapping:
    """Return the mapping that a study's file holds."""
    found = read_yaml(path)
    if isinstance(found, Mapping):
        return found
    what = "is empty" if found is None else f"holds {type(found).__name__}"
    raise LossatlasError(f"{path}: {what}; a study is a mapping with title, reference, runs and figures")


def _is_ours(path: Path, root: Path) -> bool:
    return path.resolve().parent == (root / "config" / "studies").resolve()


def _check_name(path: Path, files: Mapping[str, Path], root: Path) -> None:
    """Raise where a study would take the place of another in ``results/``: its figures lie under its file's name."""
    ours = root / "config" / "studies" / f"{path.stem}.yaml"
    other = files.get(path.stem, ours if ours.is_file() and not _is_ours(path, root) else None)
    if other is not None:
        raise LossatlasError(
            f"{path}: a study called {path.stem!r}, as {other} is; its figures would take the place of that one's in "
            "results/figures; rename the file"
        )


def _read(raw: Mapping, root: Path) -> tuple[ConfigFile, Preset, str]:
    """Return the configuration, its preset and that one's name."""
    given = {**raw, "cluster": _typed(raw.get("cluster") or {})}
    config = _checked(ConfigFile, given, "config/config.yaml or --config")
    file = _file(config.preset, "preset", root)
    return config, _checked(Preset, read_yaml(file) or {}, str(file)), file.stem


def load(raw: Mapping, root: Path) -> Config:
    """Load presets and studies named by a raw configuration (config.yaml plus ``--config``) and check everything.

    Args:
        raw: the mapping Snakemake hands over.
        root: the repository.

    Returns:
        The checked configuration; studies carry the preset's sizes and the overrides.

    Raises:
        LossatlasError: names the file and key, and the nearest valid ones.
    """
    config, preset, name = _read(raw, root)
    overrides = _typed(config.overrides or {})
    studies: dict[str, StudyFile] = {}
    files: dict[str, Path] = {}
    asked: dict[str, str] = {}
    same = f"preset={config.preset}" + (f" numerics={config.numerics}" if config.numerics else "")
    for entry in config.studies:
        path = _file(entry, "study", root)
        _check_name(path, files, root)
        files[path.stem] = path
        asked[path.stem] = f"{same} 'studies=[{entry}]'"
        own, source = _document(path), f"{path} (preset {name})"
        merged = merge(merge(own, preset.studies.get(path.stem, {})), overrides.get(path.stem, {}))
        clouds = own.get("clouds")
        known = [str(cloud) for cloud in clouds] if isinstance(clouds, Mapping) else []
        studies[path.stem] = read_study(without_left_out(merged, known, source), source)
    return Config(
        preset=name,
        seed=config.seed,
        numerics=config.numerics or preset.numerics,
        formats=tuple(config.formats),
        studies=studies,
        variants={**preset.variants, **(config.variants or {})},
        data_path=tuple(config.data_path or ()),
        machines=dict(config.machines or {}),
        judges=preset.judges,
        own=tuple(name for name, path in files.items() if not _is_ours(path, root)),
        asked=asked,
        cluster=config.cluster,
    )
