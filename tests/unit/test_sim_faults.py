"""Faults change values and frames as they say, and nothing else."""

from random import Random

import pytest

from firmware_sim.catalogue import FREEZER, TRACKER
from firmware_sim.errors import Refused
from firmware_sim.faults import Fault, Faults
from firmware_sim.protocols.lines import Lines

VALUES = (-18.0, 0.0, 1.0, 22.0, 120.0)


def make() -> Faults:
    return Faults(FREEZER.quantities, FREEZER.heating, 1, lines=True)


def test_without_faults_values_and_frames_pass() -> None:
    faults = make()
    frame = Lines("csv", FREEZER.quantities).encode(0, VALUES)[0]
    assert faults.shape(VALUES, 0.1) == VALUES
    assert faults.damage(frame).data == frame.data
    assert faults.damage(frame).whole


def test_overheat_passes_minus_five_within_three_seconds_and_goes_back_as_fast() -> None:
    faults = make()
    faults.set(Fault.OVERHEAT, None, None)
    warm = [faults.shape(VALUES, 0.1)[0] for _ in range(30)]
    assert warm[-1] > -5
    assert warm == sorted(warm)
    for _ in range(100):
        faults.shape(VALUES, 0.1)
    assert faults.shape(VALUES, 0.1)[0] <= 12.0001
    faults.end(Fault.OVERHEAT)
    cooled = [faults.shape(VALUES, 0.1)[0] for _ in range(60)]
    assert cooled[-1] == pytest.approx(-18.0)


def test_a_stuck_quantity_keeps_the_value_it_had() -> None:
    faults = make()
    faults.set(Fault.STUCK, None, None)
    faults.shape(VALUES, 0.1)
    later = tuple(value + 1 for value in VALUES)
    assert faults.shape(later, 0.1) == (-18.0, *later[1:])
    faults.end(Fault.STUCK)
    assert faults.shape(later, 0.1) == later


def test_a_fault_with_a_time_ends_by_itself() -> None:
    faults = make()
    faults.set(Fault.SILENT, None, 10.0)
    assert faults.expire(9.9) == ()
    assert faults.silent
    assert faults.expire(10.0) == (Fault.SILENT,)
    assert not faults.silent


def test_what_does_not_fit_the_board_is_refused() -> None:
    with pytest.raises(Refused, match="can overheat"):
        Faults(TRACKER.quantities, TRACKER.heating, 1, lines=True).set(Fault.OVERHEAT, None, None)
    with pytest.raises(Refused, match="has no 'x'"):
        make().set(Fault.STUCK, "x", None)
    with pytest.raises(Refused, match="whole board"):
        make().set(Fault.SILENT, "temp", None)


@pytest.mark.parametrize("form", ["csv", "json", "kv"])
@pytest.mark.parametrize("fault", [Fault.GARBAGE, Fault.HALF_FRAMES])
def test_a_frame_is_whole_if_and_only_if_its_line_is(form: str, fault: Fault) -> None:
    faults, encoder, rng = make(), Lines(form, FREEZER.quantities), Random(3)  # noqa: S311 - a simulation
    faults.set(fault, None, None)
    frames = [encoder.encode(0, tuple(rng.uniform(-20, 20) for _ in VALUES))[0] for _ in range(400)]
    damaged = [faults.damage(frame) for frame in frames]
    lines = set(b"".join(each.data for each in damaged).splitlines(keepends=True))
    assert [each.whole for each in damaged] == [frame.data in lines for frame in frames]
    assert 50 < sum(each.whole for each in damaged) < 350
