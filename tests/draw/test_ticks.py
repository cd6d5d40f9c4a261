"""Numbers below an axis stand apart, also those of a narrow logarithmic one."""

from itertools import pairwise

import pytest

from lossatlas.draw.style import axes_at, new_figure
from lossatlas.draw.ticks import mend, short_labels


@pytest.mark.parametrize("width", [1.2, 1.75, 4.0])
def test_numbers_of_a_logarithmic_axis_do_not_touch(rng, width):
    for _ in range(10):
        figure = new_figure(width + 1, 2.0)
        axes = axes_at(figure, 0.5, 0.3, width, 1.0)
        low, span = rng.uniform(-15, 3), rng.uniform(1, 18)
        axes.plot([10.0**low, 10.0 ** (low + span)], [1.0, 2.0])
        axes.set_xscale("log")
        mend(figure)
        figure.draw_without_rendering()
        left, right = axes.get_xlim()
        shown = [text for text in axes.get_xticklabels() if left <= text.get_position()[0] <= right and text.get_text()]
        boxes = [text.get_window_extent() for text in shown]
        assert len(boxes) >= 2
        assert all(a.x1 < b.x0 for a, b in pairwise(boxes)), (low, span, [text.get_text() for text in shown])


def test_no_zero_before_the_point():
    assert short_labels([0, 0.01, 0.5, 1, 2.5, -0.5]) == ["0", ".01", ".5", "1", "2.5", "-0.5"]
