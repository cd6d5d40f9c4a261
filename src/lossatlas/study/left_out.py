"""Clouds that a preset leaves out (``clouds.name: null``), and all that names them."""

from collections.abc import Collection, Mapping
from typing import Any

from lossatlas.errors import LossatlasError
from lossatlas.specs.yaml import nearest

VIEWS = ("cloud", "gram", "shares")
"""Keys under which a claim names a cloud."""


def without_left_out(raw: Any, known: Collection[str], source: str) -> Any:
    """Return a study without the clouds that are null, and without what names them.

    Panels, points, series and rows of figures and tables that show such a cloud go. In the inputs of a claim, what
    stands at one place of lists of clouds of one length belongs together (pairs, initialisations): where one of it is
    left out all of it is, and so is the place of ``parameters.initialisations``.

    Args:
        raw: the study as YAML has it, preset and overrides merged in.
        known: names of the clouds of the study's own file.
        source: that file, for messages, with the preset.

    Raises:
        LossatlasError: no such cloud, or nothing is left of a figure, table or claim; one line each.
    """
    clouds = raw.get("clouds") if isinstance(raw, Mapping) else None
    names = {str(name) for name, entry in clouds.items() if entry is None} if isinstance(clouds, Mapping) else set()
    if not names:
        return raw
    wrong = [
        f"clouds.{name}: null leaves out a cloud that the study does not have; {nearest(name, sorted(known))}"
        for name in sorted(names - set(known))
    ]
    study = {**raw, "clouds": {name: entry for name, entry in raw["clouds"].items() if str(name) not in names}}
    for section in ("figures", "tables"):
        if isinstance(raw.get(section), Mapping):
            study[section] = {
                name: _product(product, names, f"{section}.{name}", wrong) for name, product in raw[section].items()
            }
    if isinstance(raw.get("claims"), list):
        study["claims"] = [
            _claim(claim, names, f"claims.{claim.get('id', i) if isinstance(claim, Mapping) else i}", wrong)
            for i, claim in enumerate(raw["claims"])
        ]
    if wrong:
        raise LossatlasError("\n".join(f"{source}: {line}" for line in wrong))
    return study


def _product(product: Any, names: set[str], where: str, wrong: list[str]) -> Any:
    if not isinstance(product, Mapping):
        return product
    found = dict(product)
    for key, items in product.items():
        if isinstance(items, list):
            found[key] = [item for item in items if not (isinstance(item, Mapping) and item.get("cloud") in names)]
            if items and not found[key]:
                wrong.append(f"{where}.{key}: all of its clouds are left out; keep one")
    return found


def _claim(claim: Any, names: set[str], where: str, wrong: list[str]) -> Any:
    """Return a claim without the places of clouds that are left out; its conditions have inputs of their own, too."""
    if not isinstance(claim, Mapping):
        return claim
    found = dict(claim)
    inputs = claim.get("inputs")
    if isinstance(inputs, Mapping):
        lists = {role: given for role, given in inputs.items() if _of_clouds(given)}
        gone: dict[int, set[int]] = {}
        for given in lists.values():
            places = {i for i, one in enumerate(given) if next(iter(one.values())) in names}
            gone.setdefault(len(given), set()).update(places)
        found["inputs"] = {
            role: _kept(given, gone[len(given)]) if role in lists else given for role, given in inputs.items()
        }
        for role, given in found["inputs"].items():
            if role in lists and not given:
                wrong.append(f"{where}.inputs.{role}: all of its clouds are left out; keep one")
        parameters = claim.get("parameters")
        numbers = parameters.get("initialisations") if isinstance(parameters, Mapping) else None
        if isinstance(parameters, Mapping) and isinstance(numbers, list) and len(numbers) in gone:
            found["parameters"] = {**parameters, "initialisations": _kept(numbers, gone[len(numbers)])}
    conditions = claim.get("measurable_if")
    if isinstance(conditions, list):
        found["measurable_if"] = [
            _claim(one, names, f"{where}.measurable_if[{i}]", wrong) for i, one in enumerate(conditions)
        ]
    elif isinstance(conditions, Mapping):
        found["measurable_if"] = _claim(conditions, names, f"{where}.measurable_if", wrong)
    return found


def _of_clouds(given: Any) -> bool:
    """Tell whether an input of a claim is a list of clouds."""
    if not isinstance(given, list) or not given:
        return False
    return all(isinstance(one, Mapping) and len(one) == 1 and next(iter(one)) in VIEWS for one in given)


def _kept(items: list[Any], gone: set[int]) -> list[Any]:
    return [item for i, item in enumerate(items) if i not in gone]
