"""Tiny studies without Snakemake: their plans, and their artefacts made by the functions that the scripts call."""

from functools import partial

from workflow_tools import ROOT, plan, snakemake

from lossatlas.barriers.jobs import path
from lossatlas.barriers.jobs.separate import probe as separate
from lossatlas.basins import jobs as minima
from lossatlas.clouds.embeddings import embed
from lossatlas.clouds.files import Gram, write_embedding
from lossatlas.clouds.jobs.gather import chosen, with_history
from lossatlas.clouds.jobs.gram import compute
from lossatlas.clouds.jobs.import_points import import_points
from lossatlas.data.jobs import prepare
from lossatlas.files.points import gather
from lossatlas.legacy.plan import Plan
from lossatlas.levelsets.jobs import average, surface
from lossatlas.levelsets.jobs.levelset import traverse
from lossatlas.planes.jobs import assemble, descent, tile
from lossatlas.solutions import jobs as triangle
from lossatlas.study.config import load
from lossatlas.train.jobs.sweep import sweep
from lossatlas.train.jobs.train import train_run


def tiny(name):
    """Return the file of a tiny study."""
    return ROOT / "tests" / "studies" / f"{name}.yaml"


def study(name, /, **overrides):
    """Return the plan of a tiny study with keys merged in."""
    raw = {"preset": "quick", "studies": [str(tiny(name))], "seed": 0, "formats": ["png"]}
    return Plan(load({**raw, "overrides": {name: overrides}}, ROOT)).studies[name]


def make(made, folder):
    """Make an artefact and what it is made from, by the functions that the scripts call."""
    output = folder / made.path
    if output.exists():
        return output
    inputs = {role: [make(part, folder) for part in parts] for role, parts in made.inputs.items()}
    first = {role: next(iter(files), None) for role, files in inputs.items()}
    output.parent.mkdir(parents=True, exist_ok=True)
    state = folder / "state" / made.id
    data, cloud, gram, run = (first.get(role) for role in ("data", "cloud", "gram", "run"))
    points = inputs.get("points", [])
    jobs = {
        "data": partial(prepare, made.spec, output, ROOT),
        "runs": partial(train_run, made.spec, data, output, state, {}),
        "sweeps": partial(sweep, made.spec, data, output, state, {}, inputs.get("starts", [])),
        "imports": partial(import_points, made.spec, data, output, {}),
        "levelsets": partial(traverse, made.spec, data, inputs.get("starts", []), output, state, {}),
        "clouds": partial(_gather, made, points, output),
        "grams": partial(compute, cloud, output, {}),
        "embeddings": partial(_embed, made, gram, output),
        "surfaces": partial(surface.probe, made.spec, cloud, gram, data, output, state, {}),
        "averages": partial(average.probe, made.spec, cloud, data, output, {}),
        "triangles": partial(triangle.probe, made.spec, cloud, data, output, {}),
        "paths": partial(path.probe, made.spec, cloud, data, output, state, {}),
        "separations": partial(separate, made.spec, gram, output, {}),
        "volumes": partial(minima.volume, made.spec, data, points, output, state, {}),
        "slices": partial(minima.slices, made.spec, data, points, output, state, {}),
        "boundaries": partial(minima.boundaries, made.spec, data, points, output, {}),
        "tiles": partial(tile.probe, made.spec, data, run, first.get("to"), gram, output, state, {}),
        "grids": partial(assemble.gather, inputs.get("tiles", []), output, {}),
        "descents": partial(descent.probe, made.spec, data, run, gram, output, state, {}),
    }
    jobs[made.kind]()
    assert not state.exists()
    return output


def _gather(made, files, output):
    sources, columns = zip(*chosen(made.spec, files), strict=True)
    gather(output, sources, {}, made.spec.get("names"), columns, with_history(made.spec))


def _embed(made, gram_file, output):
    gram = Gram.load(gram_file)
    settings = {key: made.spec[key] for key in ("method", "metric", "seed")}
    write_embedding(output, embed(gram, **settings, **made.spec["parameters"]), gram.table, {})


def make_all(found, folder):
    """Make every artefact of a study's figures, tables and claims."""
    for product in (*found.figures.values(), *found.tables.values(), found.claims):
        for artefact in product.artefacts:
            make(artefact, folder)


def placed(value, folder):
    """Return the paths of a product's inputs below the folder they were made in."""
    if isinstance(value, str):
        return folder / value
    if isinstance(value, dict):
        return {key: placed(item, folder) for key, item in value.items()}
    return [placed(item, folder) for item in value]


def assert_made_by_the_rules(folder, name, figure):
    """Have Snakemake make a figure of a tiny study; then nothing is left to do, and no unfinished state."""
    target, config = f"results/figures/{name}/{figure}.png", (f"studies=[{tiny(name)}]",)
    done = snakemake(folder, target, config=config, options=("--cores", "2"))
    assert done.returncode == 0, done.stdout
    assert (folder / target).stat().st_size > 10_000
    assert plan(folder, target, config=config) == []
    assert not any((folder / "results/.state").glob("*/*"))
