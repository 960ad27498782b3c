"""Titles as parts of addresses."""

import re
import unicodedata


def slug(title: str) -> str:
    """Small letters and digits, joined by hyphens."""
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    return "-".join(re.findall(r"[a-z0-9]+", plain.lower()))
