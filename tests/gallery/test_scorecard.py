"""The papers' statements as a table and a picture: what stands on which side of its threshold."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from lossatlas.claims.evaluate import COLUMNS, STATEMENT_COLUMNS
from lossatlas.draw.style import save
from lossatlas.errors import LossatlasError
from lossatlas.gallery import glance
from lossatlas.gallery.scorecard import LOOKS, compose, gather, scaled


def statement(**changes):
    numbers = {"paper": "", "ours": "", "low": "", "high": "", "n": "10", "unit": "paths", "threshold": "> 1"}
    told = {"study": "s", "id": "A", "sentence": "It is so.", "verdict": "holds", "main": "a", "preset": "laptop"}
    return {**dict.fromkeys(STATEMENT_COLUMNS, ""), **told, **numbers, **changes}


@pytest.mark.parametrize(
    ("threshold", "ours", "low", "high", "side"),
    [
        ("> 1", "3", "2", "4", 1),
        ("> 1", "-3", "-4", "-2", -1),
        ("<= 1e-5", "3e-6", "2e-6", "4e-6", 1),
        ("<= 1e-5", "3", "2", "4", -1),
        ("within -0.5 to 0.5", "0.1", "0.0", "0.2", 1),
        ("within -0.5 to 0.5", "0.9", "0.8", "1.0", -1),
        (">= 0.99 in every", "1.0", "0.69", "1.0", 1),
        ("<= 0.53 in most", "0.1", "0.0", "0.4", -1),
    ],
)
def test_what_satisfies_the_threshold_lies_right_of_it(threshold, ours, low, high, side):
    row = scaled(statement(threshold=threshold, ours=ours, low=low, high=high))
    assert side * row.value > 0
    assert row.low <= row.value <= row.high
    assert max(abs(row.low), abs(row.high)) <= 1
    assert (row.low > 0) == (side > 0)


def test_words_of_the_paper_are_no_value():
    row = scaled(statement(paper="at most 1e-5", ours="2"))
    assert np.isnan(row.paper)
    assert np.isnan(row.low)
    assert scaled(statement(paper="1.5", ours="2")).paper == pytest.approx(0.5)


def texts(drawn):
    return [text.get_text() for axes in drawn.figure.axes for text in axes.texts]


def test_every_verdict_is_drawn_and_no_text_overlaps_the_next_column(tmp_path):
    rows = [
        statement(id=f"S{i}", verdict=verdict, ours="4127", low="3457.9", high="4756.3", paper="more than 10,000 orders",
                  threshold=">= 1000", sentence="A long sentence of a paper about many things that it says. " * 4)
        for i, verdict in enumerate(LOOKS)
    ]  # fmt: skip
    rows.append(statement(id="E", verdict="fails", ours="0.2", low="0.03", high="0.56", threshold=">= 0.995 in every"))
    drawn = compose(pd.DataFrame(rows))
    said = texts(drawn)
    assert [f"S{i}" for i in range(len(LOOKS))] == [text for text in said if text in {f"S{i}" for i in range(9)}]
    assert "4,127 [3,458, 4,756], 10 paths\n>= 1000; paper: more than 10,000 orders" in said
    assert "true of 2 of 10 paths\n>= 0.995 in every" in said
    save(drawn, {"png": tmp_path / "card.png", "csv": tmp_path / "card.csv"}, "title", {})
    drawn.figure.canvas.draw()
    boxes = [text.get_window_extent() for axes in drawn.figure.axes for text in axes.texts]
    clash = [
        (said[i], said[j])
        for i, a in enumerate(boxes)
        for j, b in enumerate(boxes)
        if i < j and a.overlaps(b) and min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 4
    ]
    assert clash == []
    assert max(box.x1 for box in boxes) < drawn.figure.bbox.x1
    assert len(pd.read_csv(tmp_path / "card.csv")) == len(rows)


def test_the_table_takes_numbers_from_the_first_main_claim(tmp_path):
    claims = [
        {**dict.fromkeys(COLUMNS, ""), "study": "s", "id": id, "ours": ours, "threshold": "> 1", "preset": "laptop"}
        for id, ours in (("a", "2"), ("b", "3"))
    ]
    told = {**dict.fromkeys(STATEMENT_COLUMNS, ""), "study": "s", "id": "A", "verdict": "holds", "main": "b a"}
    pd.DataFrame([told]).to_csv(tmp_path / "s.statements.csv", index=False)
    (row,) = gather(tmp_path, pd.DataFrame(claims)).to_dict("records")
    assert (row["id"], row["ours"], row["preset"], row["verdict"]) == ("A", "3", "laptop", "holds")
    with pytest.raises(LossatlasError, match=r"t\.statements\.csv: no such file; delete .*/t\.csv"):
        gather(tmp_path, pd.DataFrame([{**claims[0], "study": "t"}]))


def test_at_a_glance_each_statement_is_a_cell_in_the_colour_of_its_verdict(rng):
    verdicts = rng.choice([*glance.LOOKS], 37)
    names = [f"{name}_{k}" for k, name in enumerate(rng.choice(["O6_centroids", "S1_continuity", "invariance"], 37))]
    every = [
        statement(id=name, verdict=v, study="a" if k < 15 else "b")
        for k, (name, v) in enumerate(zip(names, verdicts, strict=True))
    ]
    figure = glance.compose(pd.DataFrame(every)).figure.figure
    (axes,) = figure.axes
    cells = [p for p in axes.patches if p.get_width() == glance.CELL[0]]
    renderer = FigureCanvasAgg(figure).get_renderer()
    for name, verdict in zip(names, verdicts, strict=True):
        (text,) = [t for t in axes.texts if t.get_text().replace("\n", "_") == name]
        box = text.get_window_extent(renderer)
        (around,) = [c for c in cells if c.get_window_extent(renderer).contains(*box.get_points().mean(0))]
        outer = around.get_window_extent(renderer)
        assert outer.x0 < box.x0
        assert box.x1 < outer.x1
        assert to_hex(around.get_facecolor()) == to_hex(glance.LOOKS[verdict]["facecolor"])
    assert len(cells) == 37
    said = {t.get_text() for t in axes.texts}
    assert {f"{v}: {np.sum(verdicts == v)}" for v in glance.LOOKS} <= said
