"""The boxes of the scenario tests, for test matrices."""

from __future__ import annotations

from scenario.conftest import any_box, box, boxes, pytest_collection_modifyitems

__all__ = ["any_box", "box", "boxes", "pytest_collection_modifyitems"]
