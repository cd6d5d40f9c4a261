"""Make comparisons and write benchmarks/results/<machine>.json.

python -m benchmarks                                  all of them, at the sizes of the table
python -m benchmarks radii levelset --size small      some, by the beginning of their names
"""

import argparse
import sys
from pathlib import Path

from benchmarks import cases
from benchmarks.frame import machine, results
from benchmarks.frame.case import OURS, Case
from benchmarks.frame.measure import left_out, measure
from benchmarks.frame.remote import ROOT, Remote


def chosen(names: list[str]) -> list[Case]:
    """Return the cases whose names begin like one of those given; all where none is."""
    found = [case for case in cases.ALL if not names or any(case.name.startswith(name) for name in names)]
    lost = [name for name in names if not any(case.name.startswith(name) for case in found)]
    if lost:
        sys.exit(f"{', '.join(lost)}: no such comparison; there are {', '.join(case.name for case in cases.ALL)}")
    return found


def opened(case: Case):
    """Return what starts a side of a case in a process of its own; ours does not see the other packages."""
    module = cases.MODULE_OF[case.name]
    return lambda side: Remote(module, case.name, side, case.side(side).threads, peers=side != OURS)


def said(case: Case, record: dict) -> str:
    """Return a line on what a comparison found."""
    ours = record["sides"][OURS]
    if "missing" in ours:
        return f"{case.name}: not run: {ours['missing']}"
    words = [f"{case.name} ({record['size']}): {sorted(ours['cpu'])[len(ours['cpu']) // 2]:.3g} s CPU"]
    for peer in case.peers:
        side, check = record["sides"].get(peer, {}), record["checks"].get(peer, {"passed": True})
        if "missing" in side:
            words.append(f"{peer}: {side['missing']}")
        elif not check["passed"]:
            words.append(f"{peer}: other results, {check['deviation']} > {check['tolerance']}")
    for quantity, peers in record["ratios"].items():
        for peer, ratio in peers.items():
            words.append(
                f"{peer} {ratio['median']:.3g} times ({ratio['low']:.3g} to {ratio['high']:.3g}) the {quantity}"
            )
    if record["limit"]:
        words.append(f"{100 * record['limit']['median']:.0f} % of the {record['limit']['rate']} rate")
    words += [
        f"grows with {axis}^{found['exponent']:.2f}" for axis, found in record["growth"].items() if "exponent" in found
    ]
    return "; ".join(words)


def main() -> None:
    """Make the comparisons asked for, each written as soon as it is made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="CASE", help=", ".join(case.name for case in cases.ALL))
    parser.add_argument("--rounds", type=int, help="runs of each side, in turns (5; of the gallery 1)")
    parser.add_argument("--size", default="full", choices=("full", "small", "tiny"), help="how much work (full)")
    parser.add_argument("--results", type=Path, default=results.FOLDER, help="folder of the file that is written")
    parser.add_argument("--leave-out", metavar="REASON", help="do not run them; keep why in the results")
    parser.add_argument("--list", action="store_true", help="only say what there is")
    given = parser.parse_args()
    picked = chosen(given.names)
    if given.list:
        print("\n".join(f"{case.name:24} {case.what}" for case in picked))
        return
    busy = machine.busy()
    rates = machine.rates()
    print(f"load {busy:.1f}; " + ", ".join(f"{name} {rate / 1e9:.3g} G/s" for name, rate in rates.items()), flush=True)
    path = given.results / f"{machine.slug()}.json"
    for case in picked:
        rounds = given.rounds or case.rounds
        if given.leave_out:
            record = left_out(case, given.size, rounds, given.leave_out)
        else:
            record = measure(case, opened(case), given.size, rounds, rates)
        record |= results.context(busy, rates, ROOT)
        results.merge(path, machine.identity(), {case.name: record})
        print(said(case, record), flush=True)


if __name__ == "__main__":
    main()
