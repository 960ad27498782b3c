"""Former name of `devbox.isolation.supervisor.supervisor`; respawners of earlier versions start this module."""

from __future__ import annotations

from devbox.isolation.supervisor.supervisor import main

if __name__ == "__main__":
    main()
