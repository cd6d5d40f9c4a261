"""Write docs/performance.md from benchmarks/results/*.json; no number of it is typed.

python -m benchmarks.report             write it
python -m benchmarks.report --check     exit 1 where it is not what the results say
"""

import argparse
import re
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import cases
from benchmarks.frame import results
from benchmarks.frame.case import OURS, Case, Goal
from benchmarks.frame.machine import titled
from benchmarks.frame.remote import ROOT

WIDE = {"AVX-512": "avx512f", "AVX-512 BF16": "avx512_bf16", "AMX": "amx_tile"}
"""Instructions that a CPU may have beyond AVX2, in words, and the flag of each."""

PAGE = ROOT / "docs" / "performance.md"

HEAD = """\
# Speed beside other packages

This page is written by `python -m benchmarks.report` from `benchmarks/results/*.json`, which `make bench` measures.
The cases are in `benchmarks/cases`. How each is compared:

- The same work, compared before it is timed: where another package's result is not ours within the tolerance, or where
  it cannot run, there is no ratio and the reason stands in its place.
- Ours and every other in processes of their own, which take turns, so that whatever else the machine does slows all
  alike. Packages come from `benchmarks/peers.lock`, with the same torch. Ours keeps freed memory as jobs of a study do
  (`lossatlas.workflow.allocator`), the others are as torch leaves them.
- A ratio is the other's time over ours in the same round: the median of five rounds, and in brackets their range; of
  the gallery, a round of which takes an hour, there is one. Times are process times of one thread unless *wall* stands
  beside them. The best of the others is what must be beaten.
- The limit is a rate of the machine from the same run: of the faster of a product of two matrices and a convolution of
  many channels, of a copy in memory, or of reading a file that is not cached. Its share is the work that cannot be
  avoided over what that rate could do in our time.

Size *full* is what was asked for; *small* and *tiny* are less of the same, where a machine had not the time. Speed is
measured here and never asserted by a test.
"""

UNITS = {"float32": "FLOP", "float64": "FLOP", "memory": "B", "disk": "B"}
QUANTITIES = {"cpu": "", "wall": " (wall)", "memory": " (peak memory)"}


def number(value: float) -> str:
    """Return a number to three digits, without an exponent where it has few."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{float(f'{value:.3g}'):.10g}" if abs(value) >= 1e-4 else f"{value:.2g}"


def seconds(value: float) -> str:
    """Return a time with its unit."""
    for limit, factor, unit in ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms")):
        if value < limit:
            return f"{number(factor * value)} {unit}"
    return f"{number(value)} s"


def scaled(value: float, unit: str) -> str:
    """Return an amount or a rate with a prefix."""
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= factor:
            return f"{number(value / factor)} {prefix}{unit}"
    return f"{number(value)} {unit}"


def sized(record: Mapping[str, Any]) -> str:
    """Return the size that was measured, in words."""
    sizes = {key: value for key, value in record["sizes"].items() if value != ""}
    texts = {key: number(value) if isinstance(value, int | float) else value for key, value in sizes.items()}
    return ", ".join(f"{key} {text}" for key, text in texts.items())


# ---------------------------------------------------------------------------------------------------------------------
# goals


def standing(case: Case, goal: Goal, record: Mapping[str, Any]) -> tuple[str, bool | None]:
    """Return what stands for a goal, in words, and whether it is reached; None where nothing was measured."""
    if "missing" in record["sides"][OURS]:
        return f"not run: {record['sides'][OURS]['missing']}", None
    if goal.kind == "share":
        limit = bounded(record)
        if limit is None:
            return "the limit was not measured", None
        return f"{100 * limit['median']:.0f} % [{100 * limit['low']:.0f}, {100 * limit['high']:.0f}]", limit[
            "median"
        ] >= goal.asked
    found = record["ratios"].get(goal.quantity, {})
    found = {peer: ratio for peer, ratio in found.items() if goal.peer in ("", peer)}
    if not found:
        return "nothing to compare with", None
    peer, ratio = min(found.items(), key=lambda item: item[1]["median"])
    if goal.kind == "at most":
        times = f"{number(1 / ratio['median'])} [{number(1 / ratio['high'])}, {number(1 / ratio['low'])}]"
        return f"{times} times {peer}", 1 / ratio["median"] <= goal.asked
    return f"{number(ratio['median'])} [{number(ratio['low'])}, {number(ratio['high'])}] ({peer})", ratio[
        "median"
    ] >= goal.asked


def asked(goal: Goal) -> str:
    """Return what is asked for, in words."""
    if goal.kind == "share":
        return f"{100 * goal.asked:.0f} % of the limit"
    what = QUANTITIES.get(goal.quantity, f" ({goal.quantity})")
    words = "at most " if goal.kind == "at most" else ""
    return f"{words}{number(goal.asked)} times{what}" + (
        f", {goal.peer}" if goal.peer and goal.kind != "at most" else ""
    )


def summary(record_of: Mapping[str, Any], heading: Callable[[Case], str]) -> Iterator[str]:
    """Yield the table of all goals; a comparison that was made has a section with its heading."""
    yield "| what | at least | measured [range of the rounds] | size | reached |"
    yield "| --- | --- | --- | --- | --- |"
    for case in cases.ALL:
        record = record_of.get(case.name)
        for goal in case.goals:
            text, reached = ("not measured on this machine", None) if record is None else standing(case, goal, record)
            size = "" if record is None else record["size"]
            word = {True: "yes", False: "**no**", None: ""}[reached]
            what = case.what if record is None else f"[{case.what}](#{anchor(heading(case))})"
            yield f"| {what} | {asked(goal)} | {text} | {size} | {word} |"


def anchor(heading: str) -> str:
    """Return what a heading is linked by, on GitHub as on the site."""
    return re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-")


# ---------------------------------------------------------------------------------------------------------------------
# one comparison


def detail(case: Case, record: Mapping[str, Any], heading: str) -> Iterator[str]:
    """Yield the section of one comparison."""
    rounds = f"{record['rounds']} round{'' if record['rounds'] == 1 else 's'}"
    yield f"### {heading}"
    yield ""
    yield f"{case.what[0].upper()}{case.what[1:]}. The same work: {case.same}."
    yield ""
    yield (
        f"Size *{record['size']}*: {sized(record)}. {rounds} on {record['measured']}, commit "
        f"`{record['commit']}`, torch {record['versions'].get('torch', '?')}; processes that wanted a core when it "
        f"began: {number(record['busy'])}."
    )
    yield ""
    ours = record["sides"][OURS]
    if "missing" in ours:
        yield f"Not run: {ours['missing']}."
        yield ""
        return
    yield from sides(case, record)
    yield ""
    yield from limits(case, record)
    yield from growth(record)
    if any(standing(case, goal, record)[1] is False for goal in case.goals):
        yield f"Why not more: {case.reason or 'not known yet.'}"
        yield ""
    for name, reason in case.unmeasured.items():
        yield f"Not compared: {name} {reason}."
        yield ""


def sides(case: Case, record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the table of sides: times, memory, counts, ratio, and how far the results are apart."""
    counted = sorted({name for side in record["sides"].values() for name in side.get("counts", {})})
    quantities = list(record.get("ratios", {}))
    heads = ["", "process time", "wall", "peak memory", *counted]
    heads += [f"times ours{QUANTITIES.get(name, f' ({name})')}" for name in quantities] + ["results differ by"]
    yield f"| {' | '.join(heads)} |"
    yield f"|{' --- |' * len(heads)}"
    for name in (OURS, *case.peers):
        side = record["sides"].get(name)
        if side is None:
            continue
        title = f"{name} {side.get('version', '')}".strip()
        check = record["checks"].get(name)
        if "cpu" not in side:
            why = side.get("missing") or f"not timed: its results are not ours ({_deviation(check)})"
            yield f"| {title} | {why} |{' |' * (len(heads) - 2)}"
            continue
        cells = [seconds(median(side["cpu"])), seconds(median(side["wall"])), scaled(median(side["memory"]), "B")]
        cells += [number(median(side["counts"][key])) if key in side["counts"] else "" for key in counted]
        cells += [_ratio(record["ratios"][quantity].get(name)) for quantity in quantities]
        cells.append("" if check is None else _deviation(check))
        yield f"| {title} | {' | '.join(cells)} |"


def _deviation(check: Mapping[str, Any]) -> str:
    found = "no number" if check["deviation"] is None else number(check["deviation"])
    return f"{found}, at most {number(check['tolerance'])}"


def _ratio(ratio: Mapping[str, Any] | None) -> str:
    return "" if ratio is None else f"{number(ratio['median'])} [{number(ratio['low'])}, {number(ratio['high'])}]"


def bounded(record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what bounds our side; nothing where float32 was held against a product alone, which a library may slow."""
    limit = record.get("limit")
    return None if limit and limit["rate"] == "float32" and "convolution" not in record["rates"] else limit


def limits(case: Case, record: Mapping[str, Any]) -> Iterator[str]:
    """Yield what bounds our side, the share of it that is reached, and the ratio of a side that reached all of it."""
    limit = bounded(record)
    if limit:
        best = min((ratio["median"] for ratio in record["ratios"].get("cpu", {}).values()), default=None)
        bound = (
            f" At the limit the best of the others would take {number(best / limit['median'])} times ours."
            if best
            else ""
        )
        unit, rate = UNITS[limit["rate"]], record["rates"][limit["rate"]]
        yield (
            f"Limit: {scaled(limit['amount'], unit)} at the {limit['rate']} rate of {scaled(rate, unit + '/s')}; we "
            f"reach {100 * limit['median']:.0f} % [{100 * limit['low']:.0f}, {100 * limit['high']:.0f}]."
            + _of_product(limit, record["rates"])
            + (bound if any(goal.kind == "times" for goal in case.goals) else "")
        )
        yield ""


def _of_product(limit: Mapping[str, Any], rates: Mapping[str, float]) -> str:
    """Return the share of a product of two matrices alone, where that is not the limit."""
    if limit["rate"] != "float32" or rates["float32"] <= rates.get("product", rates["float32"]):
        return ""
    share = 100 * limit["median"] * rates["float32"] / rates["product"]
    return f" Of a product's {scaled(rates['product'], 'FLOP/s')} that is {share:.0f} %."


def growth(record: Mapping[str, Any]) -> Iterator[str]:
    """Yield how our time grows along each axis."""
    for axis, found in record.get("growth", {}).items():
        if "missing" in found:
            yield f"How our time grows with *{axis}* was not measured: {found['missing']}."
            yield ""
            continue
        pairs = zip(found["values"], found["seconds"], strict=True)
        times = ", ".join(f"{number(value)}: {seconds(second)}" for value, second in pairs)
        yield f"Our time grows with *{axis}* to the power {found['exponent']:.2f} ({times})."
        yield ""


# ---------------------------------------------------------------------------------------------------------------------


def headed(title: str, seen: Collection[str], case: Case) -> str:
    """Return the heading of a comparison: its name, and on which machine where one before has made it, too."""
    return f"{case.name} on {title}" if case.name in seen else case.name


def page(documents: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the page from the documents of all machines, by name; the one with most comparisons is the first."""
    lines, seen = [HEAD], set[str]()
    for name, document in sorted(documents.items(), key=lambda item: (-len(item[1]["cases"]), item[0])):
        machine, records = document["machine"], document["cases"]
        title = titled(machine)
        wide = [word for word, flag in WIDE.items() if flag in machine["isa"]]
        lines += [f"## {title}", ""]
        lines += [f"Instructions: {', '.join(wide) or 'AVX2 at most'}. File `benchmarks/results/{name}`.", ""]

        heading = partial(headed, title, frozenset(seen))
        lines += [*summary(records, heading), ""]
        for case in cases.ALL:
            if case.name in records:
                lines += detail(case, records[case.name], heading(case))
        seen |= records.keys()
    return "\n".join(lines).rstrip() + "\n"


def documents(folder: Path = results.FOLDER) -> dict[str, Any]:
    """Return the files of results by name."""
    return {path.name: results.read(path) for path in sorted(folder.glob("*.json"))}


def main(arguments: list[str] | None = None, target: Path = PAGE, folder: Path = results.FOLDER) -> int:
    """Write or check the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="do not write; exit 1 where it is out of date")
    given = parser.parse_args(arguments)
    text = page(documents(folder))
    if target.exists() and target.read_text(encoding="utf-8") == text:
        return 0
    if given.check:
        print(f"{target.name}: not what the results say; run `make docs`", file=sys.stderr)
        return 1
    target.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
