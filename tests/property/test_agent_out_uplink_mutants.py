"""The schedule explorer has teeth: it finds what is wrong with machines that are broken on purpose."""

import re
from collections.abc import Mapping
from typing import Any

import pytest
import test_agent_out_uplink_property as explorer
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from agent.core.uplink import Uplink, _Flight
from agent.core.uplink_events import Action, GiveUp
from agent.wire.messages import Ack, Lane


class GivesUpWhatItSent(Uplink):
    """Takes any answer for a yes."""

    def _settle(self, name: Lane, flight: _Flight, ack: Ack, now: float) -> list[Action]:
        actions = super()._settle(name, flight, ack, now)
        return [*actions, GiveUp(name, flight.last_seq)] if flight.last_seq else actions


class BelievesAnyAck(Uplink):
    """Does not look whose ack it is."""

    def _acked(self, ack: Ack, now: float) -> list[Action]:
        for lane in self._lanes.values():
            if lane.flight is not None and lane.flight.batch:
                lane.flight.batch = ack.batch
                break
        return super()._acked(ack, now)


class AsksNoQuestions(Uplink):
    """Sends rows before it knows that the buffer did not go back."""

    def __init__(self, *args: Any, bases: Mapping[Lane, int]) -> None:  # noqa: ANN401 - as the machine's
        super().__init__(*args, bases={} if bases else None)


FOUND = "stored twice|given up unstored|set aside what|never arrived"
SEARCHES = 8  # at most; most often the first one finds it
MUTANTS = (GivesUpWhatItSent, BelievesAnyAck, AsksNoQuestions)


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_broken_machine_is_found_out(mutant: type[Uplink], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(explorer, "Uplink", mutant)
    few = settings(
        max_examples=300,
        stateful_step_count=40,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    assert any(_finds(number, few) for number in range(1, SEARCHES + 1))


def _finds(number: int, few: settings) -> bool:
    """Search once. What a seed leads to depends on all code: Hypothesis takes constants out of it."""
    try:
        run_state_machine_as_test(seed(number)(explorer.SyncSchedule), settings=few)
    except AssertionError as error:
        return re.search(FOUND, str(error)) is not None
    return False
