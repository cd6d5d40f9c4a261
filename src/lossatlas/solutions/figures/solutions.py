"""What two optimisers found: loss curves with their minima, and the tables of losses, weights and learning rates."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from lossatlas.clouds.files import Gram
from lossatlas.draw import style
from lossatlas.draw.legend import Sidebar
from lossatlas.draw.panels import layout
from lossatlas.draw.style import Drawn
from lossatlas.solutions.files import read_history
from lossatlas.solutions.numbers import pooled
from lossatlas.solutions.spec import SOLUTION_SETS, Histories, LossesTable, PaperRun, RatesTable, WeightsTable
from lossatlas.specs.registry import Inputs

LOOKS = {"lbfgs": ("L-BFGS-GSS", style.HUES[0]), "sgd": ("SGD", style.HUES[1])}
"""Shown name and colour of each optimiser."""

PARTS = {"train": "training loss", "test": "test loss"}


# ---------------------------------------------------------------------------------------------------------------------
# loss curves


def histories(spec: Histories, inputs: Inputs) -> Drawn:
    """Draw training and test loss by epoch, one row of two panels a network.

    Returns:
        The figure and its numbers: row, optimizer, replica, representative, epoch, passes (of the training set,
        forward), train_loss, test_loss. The representative is the member of median training loss.
    """
    found = [
        (
            row.title,
            {name: _history(inputs.paths("gram", getattr(row, name))[0], getattr(spec.costs, name)) for name in LOOKS},
        )
        for row in spec.rows
    ]
    shown = [(title, curves, part) for title, curves in found for part in PARTS]
    figure, panels = layout(len(shown), 2, (2.7, 1.75), _sidebar(), titles=[title for title, _, _ in shown])
    for axes, (_, curves, part) in zip(panels, shown, strict=True):
        _draw(axes, curves, part, spec.x)
    parts = [history.assign(row=title, optimizer=name) for title, curves in found for name, history in curves.items()]
    columns = ["row", "optimizer", "replica", "representative", "epoch", "passes", "train_loss", "test_loss"]
    return Drawn(figure, pd.concat(parts, ignore_index=True)[columns])


def _history(path: Path, cost: float) -> pd.DataFrame:
    """Return the history of the members of a set, with columns ``representative`` and ``passes``: cost an epoch."""
    table, history = read_history(path)
    members = table.sort_values("train_loss", kind="stable")["replica"].to_numpy()
    history = history[history["replica"].isin(members) & (history["held_out"] == 0)]
    typical = (history["replica"] == members[(len(members) - 1) // 2]).astype(int)
    return history.assign(representative=typical, passes=cost * history["epoch"])


def _draw(axes: Axes, curves: Mapping[str, pd.DataFrame], part: str, x: str) -> None:
    column = f"{part}_loss"
    for name, history in curves.items():
        color = LOOKS[name][1]
        for _, path in history.groupby("replica", sort=True):
            path = path.sort_values("epoch")
            typical = bool(path["representative"].iloc[0])
            look: dict[str, Any] = (
                {"linewidth": 1.5, "zorder": 4} if typical else {"linewidth": 0.6, "alpha": 0.35, "zorder": 3}
            )
            axes.plot(path[x], path[column], color=color, **look)
            if typical and np.isfinite(path[column]).any():
                epochs, values = path[x].to_numpy(float), path[column].to_numpy(float)
                best = int(np.nanargmin(values))
                axes.axvline(epochs[best], color=color, linestyle="--", linewidth=0.8, zorder=2)
                dot: dict[str, Any] = {"color": color, "markersize": 4, "markeredgecolor": "white", "zorder": 5}
                axes.plot(epochs[best], values[best], "o", **dot)
    axes.set_yscale("log", nonpositive="mask")
    if x == "passes":
        axes.set_xscale("log")
        axes.set_xlabel("passes of the training set")
    else:
        axes.set_xlabel("epoch (SGD), iteration (L-BFGS-GSS)")
    axes.set_ylabel(PARTS[part])
    axes.margins(x=0.02)
    axes.grid(True, color="#e4e4e4", linewidth=0.5, zorder=0)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _sidebar() -> Sidebar:
    sidebar = Sidebar()
    sidebar.heading("Optimiser")
    for name, color in LOOKS.values():
        sidebar.line(name, color=color, linewidth=1.5)
    sidebar.heading("Runs")
    sidebar.line("of median training loss", color=style.FAINT, linewidth=1.5)
    sidebar.line("the others", color=style.FAINT, linewidth=0.6, alpha=0.5)
    sidebar.line("its minimum", color=style.FAINT, linewidth=0.8, linestyle="--", marker="o", markersize=3)
    return sidebar


# ---------------------------------------------------------------------------------------------------------------------
# tables

LOSSES = ("train", "test")


def losses(spec: LossesTable, inputs: Inputs) -> pd.DataFrame:
    """Compare mean training and test losses with the paper's.

    Returns:
        One row a network. ``<optimiser>_train`` is the mean training loss of the *train* set (end of training),
        ``<optimiser>_test`` the mean test loss of the *test* set (stopped at its lowest test loss), each with the
        sample deviation over runs and the paper's value; then the test loss at the end, the training loss where it was
        stopped, and the accuracies.
    """
    rows = []
    for entry in spec.rows:
        grams: dict[str, Gram] = {name: inputs.one("gram", getattr(entry, name)) for name in SOLUTION_SETS}
        first = grams["lbfgs_train"]
        row: dict[str, Any] = {"network": entry.title, "parameters": first.dimension}
        row["paper_parameters"] = entry.paper.parameters
        row |= {"train_images": int(first.table["train_examples"].iloc[0])}
        row |= {"test_images": int(first.table["test_examples"].iloc[0]), "runs": first.n}
        for part in LOSSES:
            for name in LOOKS:
                values = grams[f"{name}_{part}"].table[f"{part}_loss"]
                row |= {f"{name}_{part}": values.mean(), f"{name}_{part}_std": values.std(ddof=1)}
                row[f"paper_{name}_{part}"] = getattr(entry.paper, f"{name}_{part}")
        for name in LOOKS:
            end, early = grams[f"{name}_train"].table, grams[f"{name}_test"].table
            row |= {f"{name}_test_at_end": end["test_loss"].mean(), f"{name}_train_at_stop": early["train_loss"].mean()}
            row |= {f"{name}_accuracy_at_end": end["test_accuracy"].mean()}
            row |= {f"{name}_accuracy_at_stop": early["test_accuracy"].mean()}
            row |= {f"{name}_epochs": end["epoch"].max(), f"{name}_epochs_at_stop": early["epoch"].mean()}
        rows.append(row)
    return pd.DataFrame(rows)


def weights(spec: WeightsTable, inputs: Inputs) -> pd.DataFrame:
    """Compare mean and standard deviation of all weights of a set with the paper's.

    Returns:
        One row a network and set: mean and deviation over the components of all its vectors together, and the mean
        length of a vector.
    """
    rows = []
    for entry in spec.rows:
        for name in SOLUTION_SETS:
            gram = inputs.one("gram", getattr(entry, name))
            mean, std = pooled(gram.table)
            said = entry.paper.get(name, [None, None])
            row = {"network": entry.title, "set": name, "mean": mean, "paper_mean": said[0]}
            row |= {"std": std, "paper_std": said[1], "norm": float(gram.norms().mean()), "runs": gram.n}
            rows.append(row)
    return pd.DataFrame(rows)


def rates(spec: RatesTable, inputs: Inputs) -> pd.DataFrame:
    """Show what hangs on SGD's learning rate, which the paper does not state.

    Returns:
        One row a network and learning rate, and one of L-BFGS-GSS: mean training loss at the end and mean test loss
        where stopped, over runs, and the deviations of the weights there. Runs that diverged are left out and counted.
        ``misfit`` is the root mean square of the decimal logarithms of these four over the paper's, for SGD;
        ``best_fit`` is 1 at its least.
    """
    rows = []
    for entry in spec.rows:
        scan, stops, train, test = (
            inputs.one("gram", name).table for name in (entry.end, entry.stop, entry.lbfgs_train, entry.lbfgs_test)
        )
        pairs = [("SGD", value, end, stops[stops["value"] == value]) for value, end in scan.groupby("value", sort=True)]
        pairs.append(("L-BFGS-GSS", np.nan, train, test))
        for name, value, end, stop in pairs:
            row = {"network": entry.title, "optimizer": name, "lr": value, "runs": len(end)}
            row |= {"train_loss": end["train_loss"].mean(), "train_loss_std": end["train_loss"].std(ddof=1)}
            row |= {"test_loss_at_stop": stop["test_loss"].mean(), "test_loss_std": stop["test_loss"].std(ddof=1)}
            row |= {"train_std": pooled(end)[1], "test_std": pooled(stop)[1]}
            row["misfit"] = np.nan if entry.paper is None or name != "SGD" else misfit(row, entry.paper)
            rows.append({**row, "test_accuracy_at_stop": stop["test_accuracy"].mean()})
    table = pd.DataFrame(rows)
    least = table.groupby("network")["misfit"].transform("min")
    return table.assign(best_fit=(table["misfit"] == least).astype(int))


def misfit(row: Mapping[str, Any], paper: PaperRun) -> float:
    """Return how far losses and deviations are from the paper's: root mean square of their logarithms to base 10."""
    pairs = [
        (row["train_loss"], paper.train_loss),
        (row["test_loss_at_stop"], paper.test_loss),
        (row["train_std"], paper.train_std),
        (row["test_std"], paper.test_std),
    ]
    return float(np.sqrt(np.mean([np.log10(ours / theirs) ** 2 for ours, theirs in pairs])))
