"""What a metered link may carry: the day, the even line over it, quiet hours, and what a restart remembers."""

import pytest

from agent.core.allowance import Allowance, Metering, Quiet
from agent.core.config import parse_config
from agent.core.uplink_events import Gate
from agent.ports import ProtocolKind
from agent.wire.document import DocumentError

DAY_US = 86_400_000_000
HOUR_US = 3_600_000_000
MB = 1_000_000
NOON_US = 20_000 * DAY_US + DAY_US // 2


def find(name: str) -> ProtocolKind:
    raise AssertionError(name)


def allowance(spent: int = 0, **metering: object) -> Allowance:
    it = Allowance()
    it.metering = Metering(**metering)
    it.gate(NOON_US)
    it.spend(spent)
    return it


def test_without_a_limit_everything_leaves_and_nothing_is_counted_or_kept():
    it = allowance(10**9)

    assert it.gate(NOON_US) == Gate()
    assert (it.spent_bytes, it.to_keep(), it.told()) == (0, None, None)


def test_half_of_the_day_allows_half_of_the_bytes_and_two_hours_of_readings_ahead():
    most = int(MB * (0.75 * (0.5 + 1 / 12) + 0.25 * 0.5))

    assert allowance(most - 1, bytes_per_day=MB).gate(NOON_US).is_open
    assert not allowance(most, bytes_per_day=MB).gate(NOON_US).is_open


def test_a_closed_gate_opens_again_once_there_is_room_for_a_batch_worth_its_envelope():
    it = allowance(600_000, bytes_per_day=MB)

    opened = [minute for minute in range(120) if it.gate(NOON_US + minute * 60_000_000).is_open]

    assert opened[0] == pytest.approx((600_000 + 15_625 - 562_500) / MB * 1440, abs=1)
    assert opened == list(range(opened[0], 120))


def test_who_is_near_the_line_tells_for_how_long_it_may_be_silent_before_it_is():
    far = allowance(500_000, bytes_per_day=MB).gate(NOON_US)
    near = allowance(540_000, bytes_per_day=MB).gate(NOON_US)

    assert far == Gate(is_metered=True)
    assert near.is_open
    assert near.call_s >= 900


def test_a_new_day_has_an_allowance_of_its_own_and_the_day_before_does_not_come_back():
    it = allowance(MB, bytes_per_day=MB)

    assert not it.gate(NOON_US + 11 * HOUR_US).is_open
    assert it.gate(NOON_US + 12 * HOUR_US).is_open
    it.spend(MB)
    assert not it.gate(NOON_US).is_open
    assert not it.gate(NOON_US + 13 * HOUR_US).is_open


def test_a_clock_that_was_decades_ahead_leaves_what_was_spent_and_the_next_day_begins():
    it = allowance(bytes_per_day=MB)
    it.gate(NOON_US + 7000 * DAY_US)
    it.spend(MB)

    assert not it.gate(NOON_US).is_open
    assert it.gate(NOON_US + DAY_US).is_open


@pytest.mark.parametrize(("hour", "is_quiet"), [(21, False), (22, True), (23, True), (0, True), (5, True), (6, False)])
def test_quiet_hours_may_go_over_midnight(hour: int, is_quiet: bool):  # noqa: FBT001 - a parameter
    it = allowance(quiet_hours=(Quiet(22 * 3600, 6 * 3600),))

    assert it.gate(20_000 * DAY_US + hour * HOUR_US).is_open is not is_quiet


def test_without_a_clock_no_hour_is_quiet_and_the_share_for_calls_is_kept():
    it = Allowance()
    it.metering = Metering(MB, (Quiet(0, 86_340),))

    assert it.gate(None).is_open
    it.spend(750_000)
    assert not it.gate(None).is_open


def test_a_restart_goes_on_with_what_was_spent_and_a_crash_with_no_less():
    before = allowance(300_000, bytes_per_day=MB)
    written_ahead = before.to_keep()
    at_end = before.to_keep(at_end=True)

    for kept, most in ((written_ahead, 300_000 + MB // 64), (at_end, 300_000)):
        after = Allowance()
        after.metering = before.metering
        after.restore(kept)
        assert 300_000 <= after.spent_bytes <= most + 1


def test_the_disk_is_written_once_in_a_step_and_not_for_each_batch():
    it = allowance(bytes_per_day=MB)
    kept = 0
    for _ in range(1000):
        it.spend(500)
        kept += it.to_keep() is not None

    assert 500_000 // (MB // 64 + 500) <= kept <= 33


def test_the_keys_of_the_config_are_read_strictly():
    config = parse_config('[agent]\nbytes_per_day = 5_000_000\nquiet_hours = ["22:00-05:30", "12:00-13:00"]\n', find)

    assert config.metering == Metering(5_000_000, (Quiet(79_200, 19_800), Quiet(43_200, 46_800)))
    for line, told in (
        ("bytes_per_day = 1000", "less than 500000"),
        ('quiet_hours = ["22-6"]', "no span of the day in UTC"),
        ('quiet_hours = ["24:00-06:00"]', "no span"),
        ('quiet_hours = ["06:00-06:00"]', "empty"),
        ("quiet_hours = [22]", "expected strings"),
        ('quiet_hours = "22:00-06:00"', "an array of strings"),
    ):
        with pytest.raises(DocumentError, match=told):
            parse_config(f"[agent]\n{line}\n", find)
