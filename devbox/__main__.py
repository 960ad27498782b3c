#!/usr/bin/env python
"""Starts devbox: `python -m devbox`, and installed as it is as the program `devbox`.

The script pip would generate imports `re` first: 5 ms of every `devbox exec`.
"""

from devbox.cli.main import main

if __name__ == "__main__":
    main()
