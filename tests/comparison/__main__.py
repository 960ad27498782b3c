"""`python -m comparison [NAME…]`: compare devbox with Docker; `--write` puts the table into the documentation."""

from __future__ import annotations

import sys

from comparison import table
from comparison.compare import unexplained
from comparison.expected import EXPECTED
from comparison.session import cases, run, session


def main(words: list[str]) -> int:
    desired = [word for word in words if word != "--write"]
    chosen = [case for case in cases() if not desired or case[1] in desired or case[0] in desired]
    results = []
    with session() as made:
        for result in run(made, chosen):
            results.append(result)
            left = unexplained(result.differences, EXPECTED)
            print(f"{'ok' if not left else 'DIFFERS'} {result.kind} {result.name}", flush=True)
            for line in left:
                print(f"    {line}", flush=True)
    if "--write" in words:
        table.write(results)
    return 1 if any(unexplained(result.differences, EXPECTED) for result in results) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
