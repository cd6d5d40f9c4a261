"""Decoding image files and making images smaller by exact area averaging."""

import io
from collections.abc import Iterable

import numpy as np
from PIL import Image, UnidentifiedImageError

from lossatlas.errors import LossatlasError

BLOCK = 1024
"""Images averaged at a time: bounds the float64 copies."""


def area_weights(side: int, size: int) -> np.ndarray:
    """Return the (size, side) float64 matrix that averages ``side`` pixels over ``size`` equal intervals.

    Entry (i, j) is the share of interval i that pixel j covers, so each row sums to one. For ``side`` a multiple of
    ``size`` that is the mean over blocks; otherwise a pixel on a border counts for both sides by its share.
    """
    edges = np.arange(size + 1) * (side / size)
    pixels = np.arange(side)
    covered = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights = np.clip(covered, 0.0, None)
    return weights / weights.sum(axis=1, keepdims=True)


def area_average(x: np.ndarray, size: int) -> np.ndarray:
    """Return images with ``size`` pixels a side: antialiased, exact up to rounding to whole grey values.

    Args:
        x: uint8 (n, C, H, W) with ``size`` <= min(H, W); of images that are not square the central square is used.
        size: pixels a side of the result.

    Returns:
        uint8 (n, C, size, size), halves rounded up.

    Raises:
        LossatlasError: the images are smaller than ``size``.
    """
    height, width = x.shape[-2:]
    side = min(height, width)
    if size > side:
        raise LossatlasError(
            f"size {size} is larger than the images ({height} x {width}); choose at most {side}, or null"
        )
    top, left = (height - side) // 2, (width - side) // 2
    x = x[..., top : top + side, left : left + side]
    if size == side:
        return np.ascontiguousarray(x)
    weights = area_weights(side, size)
    out = np.empty((*x.shape[:2], size, size), np.uint8)
    for start in range(0, len(x), BLOCK):
        block = weights @ x[start : start + BLOCK].astype(np.float64) @ weights.T
        out[start : start + BLOCK] = np.floor(block + 0.5)
    return out


def decode(content: bytes, name: str, channels: int) -> np.ndarray:
    """Decode an image file to uint8 (channels, H, W); ``channels`` is 1 (grey) or 3 (colour).

    Raises:
        LossatlasError: the content is not an image that Pillow reads; ``name`` says which file.
    """
    try:
        with Image.open(io.BytesIO(content)) as image:
            pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise LossatlasError(f"{name}: not a readable image file ({error}); repair or remove it") from error
    return pixels[None] if channels == 1 else np.moveaxis(pixels, -1, 0)


def decode_all(files: Iterable[tuple[str, bytes]], channels: int, size: int | None) -> np.ndarray:
    """Decode image files to one array, reduced to ``size`` pixels a side where it is given.

    Args:
        files: (name, content) of each file.
        channels: 1 or 3.
        size: pixels a side, None to keep the images as they are (then all of one shape).

    Returns:
        uint8 (n, channels, H, W).

    Raises:
        LossatlasError: a file is no image or too small, or the images differ in shape and ``size`` is None.
    """
    names, pixels = [], []
    for name, content in files:
        image = decode(content, name, channels)
        if size is not None and image.nbytes > channels * 64 * 64:  # large ones at once: never all of them in memory
            image = _reduced(image, name, size)
        names.append(name)
        pixels.append(image)
    shapes = {image.shape for image in pixels}
    if len(shapes) == 1:
        stack = np.stack(pixels)
        return stack if size is None else _named(stack, names[0], size)
    if size is None:
        other = next(i for i, image in enumerate(pixels) if image.shape != pixels[0].shape)
        raise LossatlasError(
            f"{names[other]}: {pixels[other].shape[1]} x {pixels[other].shape[2]} pixels, but {names[0]} has "
            f"{pixels[0].shape[1]} x {pixels[0].shape[2]}; give the data set a `size`"
        )
    return np.stack([_reduced(image, name, size) for name, image in zip(names, pixels, strict=True)])


def _reduced(image: np.ndarray, name: str, size: int) -> np.ndarray:
    """Return one image (C, H, W) reduced to (C, size, size)."""
    return _named(image[None], name, size)[0]


def _named(x: np.ndarray, name: str, size: int) -> np.ndarray:
    """Return :func:`area_average`, its error naming the file."""
    try:
        return area_average(x, size)
    except LossatlasError as error:
        raise LossatlasError(f"{name}: {error}") from error
