"""Small artefacts of every kind keep their bits under portable numerics, unless their step's version is raised."""

import json
from dataclasses import replace

import frozen_bits
import numpy as np
import pytest
from frozen_bits import COMMAND, PINNED, artefacts, bits, compare, compute, described, refused, versions

from lossatlas.clouds.jobs import synthesise
from lossatlas.files import machine
from lossatlas.study import subjects

PCA = ["embedding.pca[0]", "scores.tree[0].gram[0]", "clouds.tree[0]"]
"""An embedding and all that it is made from."""


@pytest.fixture(scope="module")
def made():
    """Return name -> artefact."""
    return artefacts()


@pytest.fixture
def pinned():
    """Return name -> kind, version, id, bits, as they are pinned."""
    return json.loads(PINNED.read_text())["artefacts"]


def test_every_kind_has_an_artefact(made, pinned):
    assert {one["kind"] for one in pinned.values()} == set(subjects.steps()), f"`{COMMAND}` pins what is new"
    assert {one.kind for one in made.values()} == set(subjects.steps()), "add one to tests/study/frozen/every_kind.yaml"


def test_bits_are_those_that_were_pinned(made, pinned, tmp_path):
    if "avx2" not in machine.cpu()["isa"]:
        pytest.skip("portable numerics need a CPU with AVX2")
    lines = compare(pinned, compute(tmp_path), made)
    others = machine.differing_versions(json.loads(PINNED.read_text())["versions"], versions())
    if lines and others:
        pytest.skip(f"libraries of other versions than when the bits were pinned: {', '.join(others)}")
    assert not lines, "\n".join(lines)


def test_a_change_of_the_last_bit_is_found_where_it_is_made(made, pinned, tmp_path, monkeypatch):
    chosen = {name: made[name] for name in PCA}
    before = described(chosen, tmp_path / "before")
    tree = synthesise.tree

    def changed(*arguments, **keywords):
        points, *rest = tree(*arguments, **keywords)
        points = np.array(points)
        points[-1, -1] = np.nextafter(points[-1, -1], np.inf, dtype=points.dtype)
        return points, *rest

    monkeypatch.setattr(synthesise, "tree", changed)
    after = described(chosen, tmp_path / "after")
    assert all(after[name]["bits"] != before[name]["bits"] for name in PCA)
    (line,) = compare(before, after, chosen)
    assert line.startswith("synthetic (clouds.tree[0]): its bits changed under the same name (tree-3x12-")
    assert "raise `version` of its Step where it is declared, or undo the change" in line
    assert refused(before, after) == PCA
    assert compare(before, before, chosen) == refused(before, before) == []


def rows(chosen, **changes):
    """Return made-up rows of artefacts, of which some have other bits."""
    return {
        name: {"kind": one.kind, "version": one.version, "id": one.id, "bits": changes.get(one.kind, "aa")}
        for name, one in chosen.items()
    }


def test_what_is_said_of_another_spec_and_of_a_raised_version(made):
    chosen = {name: made[name] for name in PCA}
    before, tree = rows(chosen), chosen["clouds.tree[0]"]
    for other, said in (
        (replace(tree, spec={**tree.spec, "noise": 0.2}), r"its spec changed (tree-3x12-"),
        (replace(tree, version=tree.version + 1), f"version {tree.version} -> {tree.version + 1}; "),
    ):
        gram = replace(chosen[PCA[1]], inputs={"cloud": (other,)})
        after = dict(zip(PCA, (replace(chosen[PCA[0]], inputs={"gram": (gram,)}), gram, other), strict=True))
        (line,) = compare(before, rows(after, synthetic="bb", grams="bb"), after)
        assert line.startswith(f"synthetic (clouds.tree[0]): {said}")
        assert line.endswith(f"if that is meant, `{COMMAND}`")
        assert refused(before, rows(after, synthetic="bb", grams="bb")) == []
    fewer = {name: chosen[name] for name in PCA[1:]}
    assert compare(before, rows(fewer), chosen) == [
        f"embeddings ({PCA[0]}): it is no longer made; if that is meant, `{COMMAND}`"
    ]
    assert compare(rows(fewer), before, chosen) == [f"embeddings ({PCA[0]}): not pinned; if that is meant, `{COMMAND}`"]


@pytest.mark.parametrize("other", [{}, {"numpy": "0.1"}], ids=["same libraries", "others"])
def test_bits_are_pinned_anew_only_where_that_is_honest(made, tmp_path, monkeypatch, capsys, other):
    chosen = {name: made[name] for name in PCA}
    monkeypatch.setattr(frozen_bits, "PINNED", tmp_path / "bits.json")
    monkeypatch.setattr(frozen_bits, "artefacts", lambda: chosen)
    monkeypatch.setattr("sys.argv", ["frozen_bits.py", "--rewrite"])
    monkeypatch.setattr(frozen_bits, "compute", lambda folder: rows(chosen))
    frozen_bits.main()
    content = json.loads((tmp_path / "bits.json").read_text())
    assert content == {"versions": versions(), "artefacts": rows(chosen)}
    (tmp_path / "bits.json").write_text(json.dumps({**content, "versions": {**versions(), **other}}))
    monkeypatch.setattr(frozen_bits, "compute", lambda folder: rows(chosen, grams="bb"))
    if other:
        frozen_bits.main()
    else:
        with pytest.raises(
            SystemExit, match=r"refused: scores\.tree\[0\]\.gram\[0\]: bits changed under the same name"
        ):
            frozen_bits.main()
    assert "its bits changed under the same name" in capsys.readouterr().out
    kept = json.loads((tmp_path / "bits.json").read_text())["artefacts"]
    assert kept == rows(chosen, **({"grams": "bb"} if other else {}))


def test_bits_are_of_what_a_file_holds(made, tmp_path):
    first, second = ({"embedding.pca[0]": made["embedding.pca[0]"]} for _ in range(2))
    a, b = described(first, tmp_path / "a"), described(second, tmp_path / "b")
    assert a == b
    path = tmp_path / "a/scores.csv"
    path.write_text("a\n1\n")
    before = bits(path)
    path.write_text("a\n2\n")
    assert bits(path) != before
