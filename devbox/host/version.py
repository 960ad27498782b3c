"""The version: pyproject.toml reads it here; `--version` prints it without asking package metadata, which takes 20 ms."""

VERSION = "0.1.0"
