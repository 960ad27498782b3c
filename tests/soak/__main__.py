"""`python -m soak [--seed N] [--cycles N] [--seconds N] [--kind KIND]` (from tests/): run a soak by hand."""

from __future__ import annotations

import argparse
import random
import time

from soak.drive import soak
from support.machine import destroy, make_box


def main() -> None:
    """Soak a box of its own, and remove it."""
    parser = argparse.ArgumentParser(prog="python -m soak")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--cycles", type=int, default=500)
    parser.add_argument("--seconds", type=float, help="begin no cycle after so many")
    parser.add_argument("--kind", default="root-crun", help="root-crun, root-runc, user-crun or user-runc")
    desired = parser.parse_args()
    box = make_box(desired.kind)
    begun = time.monotonic()
    try:
        done = soak(box, seed=desired.seed, cycles=desired.cycles, seconds=desired.seconds)
        print(f"{done} cycles in {time.monotonic() - begun:.0f} s: nothing lied, nothing is left")
    finally:
        destroy(box)


if __name__ == "__main__":
    main()
