"""URL slugs: "Hello, Wörld!" becomes "hello-world"."""

import re
import unicodedata

__all__ = ["slug"]


def slug(text: str, *, longest: int = 60) -> str:
    """Return `text` as lower-case ASCII words joined by hyphens, shortened to whole words if possible."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    words = re.findall(r"[a-z0-9]+", plain)
    made = "-".join(words)
    if len(made) <= longest:
        return made
    cut = made[: longest + 1].rpartition("-")[0]
    return cut or made[:longest]
