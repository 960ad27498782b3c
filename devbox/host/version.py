"""The version of devbox: pyproject.toml reads it here, `--version` prints it without asking package metadata (20 ms)."""

VERSION = "0.1.0"
