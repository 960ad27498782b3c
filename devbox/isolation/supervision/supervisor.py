"""Former name of `devbox.isolation.supervisor.supervisor`, under which a respawner of an earlier version starts it."""

from __future__ import annotations

from devbox.isolation.supervisor.supervisor import main

if __name__ == "__main__":
    main()
