"""Write docs/reference from the code: `make reference`. The house rules compare the two."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from support import catalogue, familiar, manual_commands, manual_env_file, manual_recipes

from devbox.envfile import schema

DIRECTORY = Path(__file__).resolve().parents[2] / "docs/reference"


def _render_schema() -> str:
    return json.dumps(schema.build_json_schema(), indent=2, ensure_ascii=False) + "\n"


PAGES: Mapping[str, Callable[[], str]] = {
    "cli.md": manual_commands.render_manual,
    "recipes.md": manual_recipes.render_manual,
    "env-file.md": manual_env_file.render_manual,
    "devbox.schema.json": _render_schema,
    "errors.md": catalogue.page,
    "familiar-commands.md": familiar.render_page,
}


def main() -> int:
    """Write the pages that differ, and print their names."""
    for name, render in PAGES.items():
        path, text = DIRECTORY / name, render()
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            print(f"docs/reference/{name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
