"""`python -m gray.proof [--requests N] [--kind KIND] [--strategy NAME]` (from tests/): cost of kills under load."""

from __future__ import annotations

import argparse
import time

from gray.proof import strategies
from gray.proof.drive import proof
from support.machine import destroy, make_box


def main() -> None:
    """Run it in a box of its own, and remove that: gray releases, or another strategy."""
    parser = argparse.ArgumentParser(prog="python -m gray.proof")
    parser.add_argument("--requests", type=int, default=300_000)
    parser.add_argument("--kind", default="root-crun", help="root-crun, root-runc, user-crun or user-runc")
    parser.add_argument("--long", type=int, default=90, help="seconds that downloads, WebSockets and streams last")
    parser.add_argument("--strategy", choices=strategies.VICTIMS, help="not gray: each promotion gets so many requests")
    parser.add_argument("--rate", type=float, default=0.0, help="requests a second to it (0: as many as can be)")
    wanted = parser.parse_args()
    box = make_box(wanted.kind)
    begun = time.monotonic()
    try:
        if wanted.strategy:
            victims = strategies.VICTIMS[wanted.strategy]
            facts = {"requests": wanted.requests, "seconds": wanted.long, "rate": wanted.rate}
            strategies.proof(box, wanted.strategy, victims=victims, **facts)
            return
        rows = proof(box, requests=wanted.requests, long=wanted.long)
    finally:
        destroy(box)
    requests, lost = sum(row.requests for row in rows), sum(row.lost for row in rows)
    print(f"{requests} requests in {time.monotonic() - begun:.0f} s, {lost} lost; no POST executed twice")


if __name__ == "__main__":
    main()
