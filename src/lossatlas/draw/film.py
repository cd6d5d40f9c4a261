"""Moving pictures: frames in, MP4 and GIF out, small enough for a paper's supplement and a web page."""

import errno
import logging
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lossatlas.errors import LossatlasError

Frame = NDArray[np.uint8]
"""Height x width x RGB."""

LIMIT = 3_000_000
"""Largest file in bytes."""

MP4_STEPS = ((200, 18), (200, 23), (160, 25), (120, 28), (100, 32))
"""Qualities of the MP4, best first: pixels an inch and x264's constant rate factor. The first that fits is kept."""

GIF_STEPS = ((120, 128), (100, 128), (100, 64), (80, 64), (70, 32))
"""Qualities of the GIF, best first: pixels an inch and colours of its palette. The first that fits is kept."""

SAMPLED = 8
"""Frames that a GIF's palette is made from."""

GREYS = 12
"""Greys of a GIF's palette, for text, lines and diamonds."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Film:
    """A moving picture that is ready to be encoded.

    Attributes:
        render: pixels an inch and k -> every k-th frame from the first, each the same size.
        count: how many frames there are.
        fps: frames a second; a divisor of 100, since a GIF counts hundredths of a second.
        lead: frames for which the first one stands still before the picture moves.
        hold: frames for which the last one stands still before the picture starts again.
    """

    render: Callable[[int, int], Iterator[Frame]]
    count: int
    fps: int
    lead: int
    hold: int

    def stills(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Return frames with the first and the last repeated as long as they stand still."""
        for i, frame in enumerate(frames):
            repeats = 1 + (self.lead if i == 0 else 0) + (self.hold if i == self.count - 1 else 0)
            yield from [frame] * repeats

    def durations(self) -> list[int]:
        """Return how long each frame stands, in milliseconds."""
        each = [1000 // self.fps] * self.count
        each[0] += self.lead * 1000 // self.fps
        each[-1] += self.hold * 1000 // self.fps
        return each


def encode(film: Film, path: Path, kind: str, title: str, comment: str, limit: int = LIMIT) -> None:
    """Encode a film at the best quality that fits.

    Every frame is kept: only resolution, palette and compression give way. The frame count is therefore what the
    figure's spec says, whatever the size.

    Args:
        film: the film.
        path: file to write.
        kind: ``mp4`` (H.264, plays everywhere) or ``gif`` (loops for ever).
        title: title in the file's metadata (MP4).
        comment: comment in the file's metadata.
        limit: largest file in bytes.

    Raises:
        LossatlasError: no quality fits, or the encoder fails.
    """
    steps = MP4_STEPS if kind == "mp4" else GIF_STEPS
    size = 0
    for dpi, quality in steps:
        if kind == "mp4":
            _write_mp4(film, path, dpi, quality, title, comment)
        else:
            _write_gif(film, path, dpi, quality, comment)
        size = path.stat().st_size
        _log.info("%s: %d bytes at %d pixels an inch, quality %d", path.name, size, dpi, quality)
        if size <= limit:
            return
    raise LossatlasError(
        f"{kind}: {size / 1e6:.1f} MB at the lowest quality, more than {limit / 1e6:.1f} MB; lower seconds_max or "
        "frames_per_epoch, or give the figure fewer panels"
    )


def _write_mp4(film: Film, path: Path, dpi: int, rate: int, title: str, comment: str) -> None:
    frames = film.stills(film.render(dpi, 1))
    first = _even(next(frames))
    height, width, _ = first.shape
    with tempfile.TemporaryDirectory() as folder:
        tags, errors = Path(folder) / "tags", Path(folder) / "errors"
        tags.write_text(f";FFMETADATA1\ntitle={_escaped(title)}\ncomment={_escaped(comment)}\n", encoding="utf-8")
        command = [
            *(_encoder(), "-y", "-loglevel", "error"),
            *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(film.fps), "-i", "-"),
            *("-f", "ffmetadata", "-i", str(tags), "-map", "0:v", "-map_metadata", "1"),
            *("-c:v", "libx264", "-preset", "slow", "-tune", "animation", "-crf", str(rate), "-pix_fmt", "yuv420p"),
            *("-threads", "2", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-movflags", "+faststart"),
            *("-f", "mp4", str(path)),
        ]
        with open(errors, "wb") as log, subprocess.Popen(command, stdin=subprocess.PIPE, stderr=log) as encoder:
            assert encoder.stdin is not None
            try:
                for frame in chain([first], map(_even, frames)):
                    encoder.stdin.write(frame.tobytes())
                encoder.stdin.close()
            except BrokenPipeError:
                pass
            except BaseException:
                encoder.kill()
                raise
        if encoder.returncode:
            said = " ".join(errors.read_text(encoding="utf-8", errors="replace").split())
            if "No space left" in said:
                raise OSError(errno.ENOSPC, said)
            raise LossatlasError(f"mp4: ffmpeg failed ({said or f'exit status {encoder.returncode}'}); {_REMEDY}")


_REMEDY = "reinstall imageio-ffmpeg, or name an ffmpeg with libx264 in the environment variable IMAGEIO_FFMPEG_EXE"


def _encoder() -> str:
    import imageio_ffmpeg

    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise LossatlasError(f"mp4: no ffmpeg found; {_REMEDY}") from error


def _escaped(text: str) -> str:
    """Return a value as ffmpeg's metadata files want it."""
    for character in "\\=;#\n":
        text = text.replace(character, f"\\{character}")
    return text


def _even(frame: Frame) -> Frame:
    """Return a frame with a row and a column repeated where its sides are odd, which H.264's colours cannot be."""
    return np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge")


def _write_gif(film: Film, path: Path, dpi: int, colors: int, comment: str) -> None:
    palette = _palette(film, dpi, colors)
    pictures = (
        Image.fromarray(frame).quantize(palette=palette, dither=Image.Dither.NONE) for frame in film.render(dpi, 1)
    )
    first = next(pictures)
    first.save(
        path,
        format="GIF",
        save_all=True,
        append_images=pictures,
        duration=film.durations(),
        loop=0,
        comment=comment.encode(),
        optimize=False,
    )


def _palette(film: Film, dpi: int, colors: int) -> Image.Image:
    """Return a picture whose palette serves all frames: greys from white to black, then the hues.

    Half of the hues are the most frequent ones of some frames, no two in one small cell of the colour cube: the colours
    of dots, paths and colour bars come out exactly. The other half are a median cut over the rest, each counted once,
    for edges and fading tails. Over all pixels a white page would take nearly the whole palette.
    """
    pixels = [
        frame.reshape(-1, 3).astype(np.uint32) @ np.array([65536, 256, 1], dtype=np.uint32)
        for frame in film.render(dpi, max(film.count // SAMPLED, 1))
    ]
    distinct, counts = np.unique(np.concatenate(pixels), return_counts=True)
    distinct = distinct[np.argsort(-counts, kind="stable")]
    cells = np.unique(distinct & 0xF8F8F8, return_index=True)[1]
    rgb = np.stack([distinct >> 16, distinct >> 8 & 255, distinct & 255], axis=-1).astype(np.uint8)[np.sort(cells)]
    hues = rgb[(np.ptp(rgb.astype(int), axis=1) > 12) & (rgb.min(axis=1) < 236)]
    greys = [round(255 * (1 - i / (GREYS - 1))) for i in range(GREYS)]
    table = [level for grey in greys for level in (grey, grey, grey)]
    half = (colors - GREYS) // 2
    table += hues[:half].ravel().tolist()
    if len(hues) > half:
        cut = Image.fromarray(hues[None, half:]).quantize(half, method=Image.Quantize.MEDIANCUT)
        table += (cut.getpalette() or [])[: 3 * half]
    palette = Image.new("P", (1, 1))
    palette.putpalette(table)
    return palette
