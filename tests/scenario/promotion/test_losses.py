"""Clients and the report count the same lost requests by cause, for each strategy and despite killed processes."""

from __future__ import annotations

import pytest
from gray.proof.strategies import VICTIMS, proof
from support.machine import Box

pytestmark = pytest.mark.scenario


@pytest.mark.parametrize(("strategy", "victims"), [("rolling", ("router",)), ("recreate", ("router",))])
def test_issue10_11_12_clients_count_what_the_stage_counts(box: Box, strategy: str, victims: tuple[str, ...]):
    proof(box, strategy, requests=500, seconds=4, victims=victims, rate=200)


@pytest.mark.long
@pytest.mark.parametrize("strategy", VICTIMS)
def test_issue10_11_12_connections_of_two_minutes_through_each_strategy(box: Box, strategy: str):
    proof(box, strategy, requests=10_000, seconds=120, victims=VICTIMS[strategy])
