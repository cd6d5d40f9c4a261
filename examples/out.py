"""What the examples share with no network: their arguments, and how a result is shown."""

import argparse
from pathlib import Path
from typing import Any


def arguments(about: str | None) -> dict[str, Any]:
    """Return the arguments of an example's ``main``."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("examples-out"), help="default: examples-out")
    parser.add_argument("--small", action="store_true", help="a picture too coarse to look at, in seconds")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    return vars(given)


def show(result: Any, out: Path, name: str) -> None:
    """Print a result with its verdict, and save picture and numbers."""
    print(result)
    print(result.save(out / f"{name}.png"), result.save(out / f"{name}.csv"))
