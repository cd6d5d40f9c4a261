"""Whether what an artefact is made from was made like it: on one class of machine, with one set of versions.

Bits are the same only within a class (:func:`lossatlas.files.machine.kernel_class`), so an artefact whose input comes
from another class is one that no single machine can make again bit by bit. A record is compared with those of its
direct inputs, as they lie in the tree; what is not recorded, or not there, is not compared. Prepared data has the same
bits everywhere and never counts; nor does work that needs no GPU, done beside work that had one.
"""

from collections.abc import Iterator, Mapping
from itertools import pairwise

from lossatlas.audit.facts import Facts, Segment
from lossatlas.files.machine import differing_versions
from lossatlas.study import subjects


def mixture(made: Facts, inputs: Mapping[str, Facts]) -> str:
    """Return what a file mixes, in words; "" where nothing recorded does.

    Args:
        made: an artefact, or a figure, table or claims file.
        inputs: those of its inputs that lie in the tree, by their path in it.
    """
    if _exact(made):
        return ""
    within = next(filter(None, (_difference(made, a, made, b) for a, b in pairwise(made.segments))), "")
    if within:
        return f"stretches of its job ran on {within}"
    # A figure is drawn anywhere; that its inputs are alike is what counts.
    pairs = _from_inputs(made, inputs) if made.kind else _among_inputs(inputs)
    found = [(name, said) for name, said in pairs if said]
    if not found:
        return ""
    more = f" (and {len(found) - 1} more of its {len(inputs)} inputs)" if len(found) > 1 else ""
    return found[0][1] + more


def _exact(made: Facts) -> bool:
    return bool(made.kind) and subjects.steps()[made.kind].exact


def _from_inputs(made: Facts, inputs: Mapping[str, Facts]) -> Iterator[tuple[str, str]]:
    for name, one in inputs.items():
        said = _apart(made, one)
        yield name, f"it and its input {name} were made on {said}" if said else ""


def _among_inputs(inputs: Mapping[str, Facts]) -> Iterator[tuple[str, str]]:
    """Compare every input with the first that needs a GPU as it does, or not."""
    first: dict[bool, tuple[str, Facts]] = {}
    for name, one in inputs.items():
        if not one.kind or _exact(one) or not one.segments:
            continue
        other, facts = first.setdefault(subjects.steps()[one.kind].gpu, (name, one))
        said = _apart(facts, one)
        yield name, f"its inputs {other} and {name} were made on {said}" if said else ""


def _apart(first: Facts, second: Facts) -> str:
    """Return how two files differ, where no stretch of one is like any of the other's."""
    if _exact(first) or _exact(second):
        return ""
    found = [_difference(first, a, second, b) for a in first.segments for b in second.segments]
    return found[0] if found and all(found) else ""


def _difference(first: Facts, a: Segment, second: Facts, b: Segment) -> str:
    """Return in which class or versions two stretches differ, as ``A / B``; "" where they do not."""
    if a.kernels != b.kernels and not _by_design(first, a, second, b):
        return f"{a.kernels} / {b.kernels}"
    return ", ".join(differing_versions(a.versions, b.versions))


def _by_design(first: Facts, a: Segment, second: Facts, b: Segment) -> bool:
    """Whether one ran on a GPU, and the other did not because its kind never does."""
    if a.gpu == b.gpu:
        return False
    plain = second if a.gpu else first
    return not plain.kind or not subjects.steps()[plain.kind].gpu
