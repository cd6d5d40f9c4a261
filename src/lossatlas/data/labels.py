"""Random labels: the training set of a memorising network."""

import torch


def randomise(y: torch.Tensor, classes: int, seed: int | torch.Generator, fraction: float = 1.0) -> torch.Tensor:
    """Replace labels by labels drawn uniformly from all classes (so one in ``classes`` stays what it was).

    Args:
        y: labels int64 (n,).
        classes: number of classes.
        seed: of the draw, or a CPU generator to draw from.
        fraction: share of the labels to replace, rounded to a whole number of them; which ones is drawn too.

    Returns:
        int64 (n,), a new tensor on the device of ``y``.
    """
    if not 0.0 <= fraction <= 1.0:
        raise ValueError(f"fraction is {fraction}, expected 0 to 1")
    generator = seed if isinstance(seed, torch.Generator) else torch.Generator().manual_seed(seed)
    drawn = torch.randint(classes, (len(y),), generator=generator).to(y)
    if fraction == 1.0:
        return drawn
    chosen = torch.randperm(len(y), generator=generator)[: round(fraction * len(y))].to(y.device)
    result = y.clone()
    result[chosen] = drawn[chosen]
    return result
