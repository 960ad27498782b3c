"""Clients and the report count the same lost requests, by cause, whatever strategy and whatever is killed."""

from __future__ import annotations

import pytest
from gray.proof.strategies import VICTIMS, proof
from support.machine import Box

pytestmark = pytest.mark.scenario


# A router that is killed while `recreate` has no server forgets 503s at a rate that no reading has seen: the bound is
# an estimate there (docs/adr/0073-held-sockets.md), and did not always hold.
QUICK = (
    ("rolling", ("router",)),
    ("recreate", ()),
    pytest.param("recreate", ("router",), marks=pytest.mark.long),
)


@pytest.mark.parametrize(("strategy", "victims"), QUICK)
def test_issue10_11_12_clients_count_what_the_stage_counts(box: Box, strategy: str, victims: tuple[str, ...]):
    proof(box, strategy, requests=500, seconds=10, victims=victims, rate=200)


@pytest.mark.long
@pytest.mark.parametrize("strategy", VICTIMS)
def test_issue10_11_12_connections_of_two_minutes_through_each_strategy(box: Box, strategy: str):
    proof(box, strategy, requests=10_000, seconds=120, victims=VICTIMS[strategy])
