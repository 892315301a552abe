"""The desk's pure parts: alarms, tickets, evidence, verification, times."""

import pytest

from agent.wire.messages import AlarmState, Severity
from fleet.api.times import iso, parse_time
from fleet.core import alarm, evidence, ticket, verification
from fleet.core.actor import Scope
from fleet.core.alarm import Open
from fleet.core.ticket import State
from fleet.core.verification import Outcome
from fleet.errors import Invalid

S_US = 1_000_000
MIN_US = 60 * S_US


def test_an_announcement_older_than_the_newest_change_changes_nothing() -> None:
    known = Open(AlarmState.ACTIVE, Severity.MAJOR, changed_us=100)
    assert alarm.step(known, AlarmState.CLEARED, 99) is None
    assert alarm.step(known, AlarmState.CLEARED, 100) is not None


def test_only_a_raise_opens_an_alarm() -> None:
    opened = [state for state in AlarmState if alarm.step(None, state, 0) is not None]
    assert opened == [AlarmState.ACTIVE]


def test_the_worse_of_two_severities_wins_whichever_comes_first() -> None:
    assert alarm.worst(Severity.MINOR, Severity.CRITICAL) is Severity.CRITICAL
    assert alarm.worst(Severity.CRITICAL, Severity.MINOR) is Severity.CRITICAL


def test_a_remote_repair_skips_the_visit() -> None:
    assert State.REPAIRED in ticket.moves(State.ASSIGNED, None)


def test_a_ticket_on_hold_can_be_moved_back_to_where_it_was() -> None:
    assert ticket.move_event(State.ON_HOLD, State.ON_SITE, State.ON_SITE) is ticket.Event.RESUME
    assert ticket.move_event(State.ON_HOLD, State.ON_SITE, State.NEW) is None


@pytest.mark.parametrize("to", [State.RESOLVED, State.NEW])
def test_nobody_moves_a_ticket_to_new_or_resolved(to: State) -> None:
    assert all(ticket.move_event(state, to, None) is None for state in State)


def test_holding_and_canceling_need_one_of_their_own_reasons() -> None:
    assert ticket.reason_of(State.ON_HOLD, "parts") is None
    assert ticket.reason_of(State.ON_HOLD, "duplicate") == "customer, parts, vendor, problem, access"
    assert ticket.reason_of(State.CANCELED, "") == "duplicate, false_alarm, expected"
    assert ticket.reason_of(State.ASSIGNED, "") is None


def test_each_scope_allows_those_before_it() -> None:
    assert Scope.ADMIN.allows(Scope.READ)
    assert Scope.TECHNICIAN.allows(Scope.TECHNICIAN)
    assert not Scope.READ.allows(Scope.TECHNICIAN)


def test_few_readings_are_kept_as_they_are() -> None:
    facts = evidence.collect("a", "1", [(1, 1), (2, None), (2, "x")], from_us=0, to_us=10, most=3)
    assert (facts.count, facts.thinned, facts.t_us, facts.v) == (3, False, (1, 2, 2), (1, None, "x"))


def test_many_readings_are_thinned_over_the_whole_span_and_no_peak_is_lost() -> None:
    readings = [(i, 1000 if i == 7777 else -1000 if i == 9 else i % 7) for i in range(10_000)]
    facts = evidence.collect("a", "1", readings, from_us=0, to_us=10_000, most=100)
    assert (facts.count, facts.thinned) == (10_000, True)
    assert len(facts.t_us) <= 100
    assert (9, -1000) in zip(facts.t_us, facts.v, strict=True)
    assert (7777, 1000) in zip(facts.t_us, facts.v, strict=True)
    assert list(facts.t_us) == sorted(facts.t_us)
    assert (facts.t_us[0] < 200, facts.t_us[-1] > 9800) == (True, True)


def test_a_few_series_keep_more_of_their_readings_than_many() -> None:
    assert evidence.series_share(1) == evidence.MAX_SERIES_READINGS
    assert evidence.series_share(40) == evidence.MAX_READINGS // 40
    assert evidence.series_share(10_000) == evidence.MIN_SERIES_READINGS


def test_a_window_is_twenty_sample_periods_and_at_least_half_an_hour() -> None:
    assert verification.window_us(0) == 30 * MIN_US
    assert verification.window_us(10 * MIN_US) == 200 * MIN_US
    assert verification.sample_period_us([0, 10, 20, 500, 510]) == 10
    assert verification.sample_period_us([5]) == 0


@pytest.mark.parametrize(
    ("minutes", "outcome", "until"),
    [
        (range(31), Outcome.PASSED, 30),
        (range(30), Outcome.WAITING, 30),  # the window's end is not here yet
        ([], Outcome.WAITING, 30),
        ([0, 40], Outcome.UNKNOWN, 70),  # silence from 0 to 40: anew from 40
        ([*range(10), *range(20, 31)], Outcome.UNKNOWN, 51),  # the slot from 18 is the last silent one: anew from 21
        (range(0, 31, 3), Outcome.PASSED, 30),
    ],
)
def test_a_window_passes_with_a_reading_in_every_slot(minutes: list[int], outcome: Outcome, until: int) -> None:
    judged = verification.judge(0, 30 * MIN_US, [minute * MIN_US for minute in minutes])
    assert judged.outcome is outcome
    assert until - 1 <= judged.until_us / MIN_US <= until


@pytest.mark.parametrize(
    ("said", "t_us"),
    [
        ("now", 10**15),
        ("-90s", 10**15 - 90 * S_US),
        ("-1.5h", 10**15 - 5400 * S_US),
        ("0", 0),
        ("1600000000000001", 1_600_000_000_000_001),
        ("1970-01-01T00:00:01Z", S_US),
        ("1970-01-01T01:00:00.000001+01:00", 1),
    ],
)
def test_a_time_is_read_in_each_of_its_spellings(said: str, t_us: int) -> None:
    assert parse_time(said, now_us=10**15, name="from") == t_us


@pytest.mark.parametrize(
    "said", ["", "1970-01-01T00:00:01", "1600000000", "1600000000000", "-1y", "- 5m", "+5m", "9" * 20]
)
def test_what_is_no_time_is_refused_with_the_spellings(said: str) -> None:
    with pytest.raises(Invalid) as refused:
        parse_time(said, now_us=10**15, name="from")
    assert refused.value.message.startswith("from: ")
    assert refused.value.hint


def test_a_time_is_written_with_its_microseconds() -> None:
    assert iso(1) == "1970-01-01T00:00:00.000001Z"
