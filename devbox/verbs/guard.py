"""Former name of `devbox.deploy.drift_monitor`, under which a supervisor of an earlier version restarts it."""

from __future__ import annotations

from devbox.deploy.drift_monitor import main

if __name__ == "__main__":
    main()
