"""Numbers of sets of solutions that figures and claims share."""

import numpy as np
import pandas as pd


def pooled(table: pd.DataFrame) -> tuple[float, float]:
    """Return mean and standard deviation of the components of all vectors of a set, from each vector's own."""
    mean = float(table["weight_mean"].mean())
    square = float((table["weight_std"] ** 2 + table["weight_mean"] ** 2).mean())
    return mean, float(np.sqrt(square - mean**2))
