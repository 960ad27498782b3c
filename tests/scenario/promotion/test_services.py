"""An approval covers the services of a release as the env file describes them."""

from __future__ import annotations

from pathlib import Path

import pytest
from scenario.promotion.test_denials import APPROVED, Signed

from devbox.model.plan import PASS, PENDING

FILE = APPROVED.replace("[image]\n", '[image]\nneeds = ["db"]\n')
FILE += '[service.db]\nrecipe = "redis"\nneeds = ["disk"]\n'
FILE += "".join(f'[service.{name}]\nrecipe = "redis"\n' for name in ("disk", "other"))


@pytest.fixture
def signed(tmp_path: Path, home: Path) -> Signed:
    return Signed(tmp_path, FILE)


@pytest.mark.parametrize("service", ["db", "disk", "other"])
def test_issue10_5_an_approval_is_void_after_a_change_of_a_service(signed: Signed, service: str):
    """`[service.db]` had another command in production than the approved one."""
    made = signed.built()
    signed.approve(made, "ann")
    assert signed.shop.why("staging", made)["approval"].verdict == PASS
    table = f"[service.{service}]\n"
    signed.shop.rewrite(FILE.replace(table, f'{table}env = {{ LEVEL = "debug" }}\n'))
    verdict, is_void = signed.shop.why("staging", made)["approval"], service != "other"
    assert verdict.verdict == (PENDING if is_void else PASS)
    assert (f"with another service.{service}" in verdict.reason) == is_void


def test_issue10_5_a_service_of_another_stage_voids_nothing(signed: Signed):
    """A stage's vars give it its own services."""
    text = FILE.replace('recipe = "redis"\nneeds', 'recipe = "redis"\nenv = { LEVEL = "${level}" }\nneeds')
    text = f'vars = {{ level = "1" }}\n{text}'
    signed.shop.rewrite(text)
    made = signed.built()
    signed.approve(made, "ann")
    assert signed.shop.why("staging", made)["approval"].verdict == PASS
    signed.shop.rewrite(f'{text}[stage.test]\nvars = {{ level = "2" }}\n')
    assert signed.shop.why("staging", made)["approval"].verdict == PASS
    own = text.replace("[stage.staging]\n", '[stage.staging]\nvars = { level = "2" }\n')
    signed.shop.rewrite(own)
    assert "service.db" in signed.shop.why("staging", made)["approval"].reason
