"""Commands on a network of one's own: each loads it, asks one probe, and writes what that found."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lossatlas.cli import given, made
from lossatlas.errors import LossatlasError

Model = Annotated[str, typer.Argument(metavar="MODEL", help="module:name of a torch.nn.Module, or what makes one.")]
Checkpoint = Annotated[str, typer.Argument(metavar="CHECKPOINT", help=".pt, .safetensors, or a folder of them.")]
Data = Annotated[str, typer.Option("--data", "-d", help="data.pt or data.npz with x and y, or module:name.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for what is written.")]
Format = Annotated[
    list[str], typer.Option("--format", "-f", help="png, pdf, svg, html, csv, h5, vtk or vtp; again for more.")
]
Criterion = Annotated[
    str | None, typer.Option(help="cross_entropy, token_cross_entropy, mse, binary_cross_entropy, model.")
]


def _at_most(default: str) -> Any:
    return typer.Option(min=1, help=f"At most so many examples.  [default: {default}]")


Examples = Annotated[int | None, _at_most("what a minute affords")]
Thousand = Annotated[int | None, _at_most("1,000")]
TwoThousand = Annotated[int | None, _at_most("2,000")]
FiveHundred = Annotated[int | None, _at_most("500")]
BatchNorm = Annotated[str, typer.Option(help="Statistics of batch norm: stored, recompute or batch.")]
Precision = Annotated[str | None, typer.Option(help="float32, float64, bfloat16 or float16.  [default: the model's]")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps.  [default: the model's]")]
Seed = Annotated[int, typer.Option(help="Of directions and of the choice of examples.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No bar.")]

OUT = Path("out")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (demo, surface, hessian, connect, jump, trajectory):
        app.command(command.__name__)(command)


def demo(out: Out = Path("lossatlas-demo"), quiet: Quiet = False) -> None:
    """Train a small network here and draw the surface around it, in well under a minute; nothing is needed.

    \b
    Examples:
      lossatlas demo
      lossatlas demo -o first/
    """
    from lossatlas.cli.spirals import write

    print(f"training a network of 1,218 weights on two spirals ({out}/spirals.py)", flush=True)
    files = write(out)
    import lossatlas

    network = lossatlas.load(files.model(), files.checkpoint, files.data())
    _write(network.surface(progress=_bar(quiet)), out, "surface", [])
    print(f"the same, step by step:\n  cd {out}\n  lossatlas surface spirals:Net a.pt --data data.pt")
    print("  lossatlas connect spirals:Net a.pt b.pt --data data.pt")


def surface(
    model: Model,
    checkpoint: Checkpoint,
    data: Data,
    out: Out = OUT,
    grid: Annotated[int | None, typer.Option(min=3, help="Points a side.  [default: what a minute affords]")] = None,
    range: Annotated[str, typer.Option(help="r for -r to r; rx,ry; or x0:x1,y0:y1.")] = "1",
    directions: Annotated[str, typer.Option(help="filter-normalised, layer, none or pca (of a folder).")] = (
        "filter-normalised"
    ),
    examples: Examples = None,
    criterion: Criterion = None,
    batch_norm: BatchNorm = "stored",
    precision: Precision = None,
    device: Device = None,
    seed: Seed = 0,
    format: Format = [],  # noqa: B006 - typer copies it
    quiet: Quiet = False,
) -> None:
    """Draw the loss on a plane through a checkpoint: surface.png, .html, .csv and .h5, and whether to believe it.

    \b
    Examples:
      lossatlas surface mynet:SmallCNN a.pt --data data.pt
      lossatlas surface mynet:SmallCNN a.pt --data mynet:loader -o out/ --grid 51 --range 0.5
      lossatlas surface mynet:SmallCNN checkpoints/ --data data.npz --directions pca --format png --format vtk
    """
    network = load(model, checkpoint, data, criterion, batch_norm, precision, device)
    found = network.surface(
        grid, given.numbers(range, "--range"), directions, examples=examples, seed=seed, progress=_bar(quiet)
    )
    _write(found, out, "surface", format)


def hessian(
    model: Model,
    checkpoint: Checkpoint,
    data: Data,
    out: Out = OUT,
    examples: Thousand = None,
    criterion: Criterion = None,
    batch_norm: BatchNorm = "stored",
    precision: Precision = None,
    device: Device = None,
    seed: Seed = 0,
    format: Format = [],  # noqa: B006
    quiet: Quiet = False,
) -> None:
    """Measure the curvature at a checkpoint: largest and smallest eigenvalue, trace, density of the spectrum.

    \b
    Examples:
      lossatlas hessian mynet:SmallCNN a.pt --data data.pt
      lossatlas hessian mynet:GPT a.safetensors --data mynet:batches --criterion token_cross_entropy --examples 64
    """
    network = load(model, checkpoint, data, criterion, batch_norm, precision, device)
    _write(network.hessian(examples=examples, seed=seed, progress=_bar(quiet)), out, "hessian", format)


def connect(
    model: Model,
    checkpoint: Annotated[str, typer.Argument(metavar="CHECKPOINT", help="The first.")],
    other: Annotated[str, typer.Argument(metavar="OTHER", help="The second, of the same model.")],
    data: Data,
    out: Out = OUT,
    points: Annotated[int, typer.Option(min=3, help="Of each curve.")] = 21,
    examples: Thousand = None,
    criterion: Criterion = None,
    batch_norm: BatchNorm = "stored",
    precision: Precision = None,
    device: Device = None,
    seed: Seed = 0,
    format: Format = [],  # noqa: B006
    quiet: Quiet = False,
) -> None:
    """Draw the loss between two checkpoints: on the straight line, on a low path, and how high the barrier is.

    \b
    Examples:
      lossatlas connect mynet:SmallCNN a.pt b.pt --data data.pt
    """
    import lossatlas

    first = load(model, checkpoint, data, criterion, batch_norm, precision, device)
    found = lossatlas.connect(first, first.at(other), points, examples=examples, seed=seed, progress=_bar(quiet))
    _write(found, out, "connect", format)


def jump(
    model: Model,
    checkpoint: Checkpoint,
    data: Data,
    out: Out = OUT,
    count: Annotated[int, typer.Option(min=1, help="Directions.")] = 3,
    epochs: Annotated[int, typer.Option(min=1, help="Of retraining.")] = 5,
    lr: Annotated[float, typer.Option(help="Rate of SGD with momentum 0.9: the training's, or its last.")] = 0.01,
    embedding: Annotated[str, typer.Option(help="pca, phate, umap, ...: how the paths are drawn.")] = "pca",
    examples: TwoThousand = None,
    criterion: Criterion = None,
    batch_norm: BatchNorm = "stored",
    precision: Precision = None,
    device: Device = None,
    seed: Seed = 0,
    format: Format = [],  # noqa: B006
    quiet: Quiet = False,
) -> None:
    """Jump away from a checkpoint in random directions, train on from there, and draw where that leads.

    \b
    Examples:
      lossatlas jump mynet:SmallCNN a.pt --data data.pt
      lossatlas jump mynet:SmallCNN a.pt --data data.pt --count 5 --lr 0.001 --embedding phate
    """
    network = load(model, checkpoint, data, criterion, batch_norm, precision, device)
    _write(
        network.jumps(
            count, epochs=epochs, lr=lr, embedding=embedding, examples=examples, seed=seed, progress=_bar(quiet)
        ),
        out,
        "jump",
        format,
    )


def trajectory(
    model: Model,
    checkpoints: Annotated[str, typer.Argument(metavar="FOLDER", help="Checkpoints of one training.")],
    data: Data,
    out: Out = OUT,
    grid: Annotated[int, typer.Option(min=3, help="Points a side.")] = 21,
    examples: FiveHundred = None,
    criterion: Criterion = None,
    batch_norm: BatchNorm = "stored",
    precision: Precision = None,
    device: Device = None,
    format: Format = [],  # noqa: B006
    quiet: Quiet = False,
) -> None:
    """Draw the path of a training, from its folder of checkpoints, on the plane it moved in most.

    \b
    Examples:
      lossatlas trajectory mynet:SmallCNN checkpoints/ --data data.pt
    """
    if not Path(checkpoints).is_dir():
        raise LossatlasError(f"{checkpoints}: no such folder; expected one with the checkpoints of a training")
    network = load(model, checkpoints, data, criterion, batch_norm, precision, device)
    _write(network.trajectory(grid=grid, examples=examples, progress=_bar(quiet)), out, "trajectory", format)


def load(
    model: str,
    checkpoint: str,
    data: str,
    criterion: str | None,
    batch_norm: str,
    precision: str | None,
    device: str | None,
) -> Any:
    """Return the network that a command names.

    Raises:
        LossatlasError: one of the words names nothing that fits.
    """
    if not Path(checkpoint).exists():
        raise LossatlasError(
            f"{checkpoint}: no such checkpoint; expected a .pt or .safetensors file, or a folder of them"
        )
    examples = given.data(data)
    import lossatlas

    try:
        return lossatlas.load(
            model, checkpoint, examples, criterion, batch_norm=batch_norm, precision=precision, device=device
        )
    except RuntimeError as error:
        if device is None or not any(word in str(error).lower() for word in ("device", "cuda", "mps")):
            raise
        raise LossatlasError(f"--device: got {device!r}: {str(error).splitlines()[0]}; `lossatlas doctor`") from None


def _write(result: Any, out: Path, name: str, formats: list[str]) -> None:
    print(result)
    for line in made.write(result, out, name, formats):
        print(line)


def _bar(quiet: bool) -> bool | None:
    return False if quiet else None
