"""The reckoned clock under any witnesses: it never goes back unless it steps, and what it settles on is right."""

from hypothesis import given, settings
from hypothesis import strategies as st
from receivers import rmc

from agent.core.dating import UNDATED, Order, date_row, load_order
from agent.core.outbox import Columns, Moment, event_row, readings_of
from agent.core.receiver import Receiver
from agent.core.reckoning import BUILT_US, FRESH_US, PERSIST_US, STEP_US, Reckoning, Witness, begin
from agent.ports import PortSettings, Reading, Time
from agent.protocols import nmea
from agent.wire.codec import decode
from agent.wire.messages import AlarmChange, AlarmState, Clock, DeviceEvent, Lane, Segment, Severity

S = 1_000_000
TRUE_OFFSET_US = 1_800_000_000 * S  # UTC when the machine booted
SOURCES = st.sampled_from(list(FRESH_US))

words = st.lists(
    st.tuples(
        SOURCES,
        st.integers(1, 120 * S),  # how long after the one before
        st.one_of(st.integers(-STEP_US, STEP_US), st.integers(-86_400 * S, 86_400 * S)),  # how wrong it is
        st.integers(0, S),  # and says it may be
    ),
    max_size=60,
)


@given(words)
def test_time_goes_back_only_where_a_step_is_told(said: list[tuple[Clock, int, int, int]]):
    reckoning = Reckoning(0)
    mono_us = 0
    before_us = reckoning.now_us(0)
    for source, wait_us, wrong_us, error_us in said:
        mono_us += wait_us
        assert reckoning.now_us(mono_us) >= before_us
        move = reckoning.hear(Witness(source, TRUE_OFFSET_US + wrong_us, error_us, mono_us), mono_us)
        if move is not None:
            assert move.is_first or abs(move.by_us) > STEP_US
            reckoning.move(move, mono_us)
        else:
            assert reckoning.now_us(mono_us + 1) > 0
        after_us = reckoning.now_us(mono_us)
        assert move is not None or after_us >= before_us
        before_us = after_us


@given(words)
@settings(max_examples=15)
def test_whatever_was_said_before_three_that_agree_are_believed(said: list[tuple[Clock, int, int, int]]):
    reckoning = Reckoning(0)
    mono_us = 0
    for source, wait_us, wrong_us, error_us in said:
        mono_us += wait_us
        move = reckoning.hear(Witness(source, TRUE_OFFSET_US + wrong_us, error_us, mono_us), mono_us)
        if move is not None:
            reckoning.move(move, mono_us)
    for _ in range(900):
        mono_us += S
        for source in FRESH_US:
            move = reckoning.hear(Witness(source, TRUE_OFFSET_US, 0, mono_us), mono_us)
            if move is not None:
                reckoning.move(move, mono_us)
    assert abs(reckoning.offset_us - TRUE_OFFSET_US) <= 1000
    assert reckoning.state(mono_us) is Clock.SYNCED


@given(st.sampled_from([Clock.SYNCED, Clock.GNSS]), st.integers(-86_400, 86_400).filter(lambda s: abs(s) > 3))
def test_one_that_steps_is_not_believed_against_the_fleet(source: Clock, step_s: int):
    reckoning = Reckoning(TRUE_OFFSET_US, is_known=True)
    for second in range(200):
        mono_us = second * S
        assert reckoning.hear(Witness(Clock.SERVER, TRUE_OFFSET_US, 100_000, mono_us), mono_us) is None
        wrong_us = step_s * S if second > 50 else 0
        assert reckoning.hear(Witness(source, TRUE_OFFSET_US + wrong_us, 0, mono_us), mono_us) is None


@given(st.integers(-86_400, 86_400).filter(lambda s: abs(s) > 3))
def test_one_that_nobody_contradicts_is_believed_once_it_persists(step_s: int):
    reckoning = Reckoning(TRUE_OFFSET_US, is_known=True)
    heard = [
        reckoning.hear(Witness(Clock.SYNCED, TRUE_OFFSET_US + step_s * S, 0, at_us), at_us)
        for at_us in range(0, PERSIST_US + S, S)
    ]
    assert heard[:-1] == [None] * (len(heard) - 1)
    assert heard[-1] is not None
    assert heard[-1].by_us == step_s * S


@given(st.integers(0, BUILT_US * 2), st.integers(0, BUILT_US * 2), st.booleans())
def test_a_guess_comes_after_all_that_was_dated_and_is_never_1970(wall_us: int, newest_us: int, has_undated: bool):  # noqa: FBT001 - drawn
    reckoning, kept = begin(None, "b", wall_us=wall_us, mono_us=5 * S, newest_us=newest_us, has_undated=has_undated)
    assert not kept.is_known
    assert reckoning.now_us(5 * S) > newest_us
    assert reckoning.now_us(5 * S) >= max(BUILT_US, wall_us if wall_us > newest_us else 0)


# A receiver on a serial line, and whatever else speaks there.

moments = st.integers(-86_400 * S, 400 * 86_400 * S)  # against the truth
modes = st.sampled_from("AVEMNS")
lines = st.one_of(
    moments.map(lambda us: rmc(TRUE_OFFSET_US + us)),
    st.tuples(moments, modes).map(lambda it: rmc(TRUE_OFFSET_US + it[0], "AV"[it[1] == "V"], it[1])),
    st.binary(max_size=40),
    st.just(b"$GPZDA,093015.00,22,11,2026,00,00*6A\r\n"),
)
speech = st.lists(st.tuples(lines, st.sampled_from([0, S // 10, S, 10 * S])), max_size=60)


def listen(reckoning: Reckoning, said: list[tuple[bytes, int]], others: tuple[Clock, ...] = ()) -> list[int]:
    """Let the clock hear it, and others beside it, who are right; returns by how much it was moved."""
    it, receiver, moved, mono_us = nmea.open(nmea.NmeaOptions(), PortSettings("/dev/x")), Receiver(), [], 0
    for data, wait_us in said:
        mono_us += wait_us
        told = [Witness(source, TRUE_OFFSET_US, 1000, mono_us) for source in others]
        times = [action.utc_us for action in it.feed(data, mono_us / S) if isinstance(action, Time)]
        found = (receiver.hear(utc_us, mono_us) for utc_us in times)
        for witness in (*told, *(one for one in found if one is not None)):
            move = reckoning.hear(witness, mono_us)
            if move is not None:
                reckoning.move(move, mono_us)
                moved.append(move.by_us)
    return moved


@given(speech, st.integers(0, 400 * 86_400))
def test_whatever_a_receiver_says_it_moves_no_time_that_others_tell(said: list[tuple[bytes, int]], by_s: int):
    reckoning = Reckoning(TRUE_OFFSET_US, is_known=True)
    steady = [(rmc(TRUE_OFFSET_US + (by_s + s) * S), S) for s in range(60)]
    assert listen(reckoning, [*said, *steady], (Clock.SYNCED, Clock.SERVER)) == []
    assert reckoning.offset_us == TRUE_OFFSET_US


@given(st.lists(st.tuples(st.sampled_from("VEMNS"), st.integers(0, 5)), max_size=60), st.binary(max_size=200))
def test_without_a_fix_or_in_one_burst_a_receiver_tells_no_time(said: list[tuple[str, int]], rest: bytes):
    unfixed = [(rmc(TRUE_OFFSET_US + i * S, "AV"[mode == "V"], mode), s * S) for i, (mode, s) in enumerate(said)]
    burst = [(rmc(TRUE_OFFSET_US + i * S), 0) for i in range(60)]
    reckoning = Reckoning(0)
    assert listen(reckoning, [*unfixed, (rest, S), *burst]) == []
    assert not reckoning.is_known


# Rows.

texts = st.text(max_size=20) | st.just('"clock":"unknown"') | st.just('{"t0_us":1}') | st.just("t0_us")


@given(
    st.lists(st.tuples(st.integers(0, 60 * S), st.floats(allow_nan=False) | texts), min_size=1, max_size=20),
    st.integers(-300 * 86_400, 300 * 86_400),
    st.booleans(),
)
@settings(max_examples=40)
def test_a_dated_segment_is_the_same_but_for_its_dates(said: list[tuple[int, float | str]], by_s: int, own: bool):  # noqa: FBT001 - drawn
    readings = [Reading("a.b", "1", BUILT_US + t_us, v) for t_us, v in said]
    columns = Columns()
    columns.add(readings)
    order = Order(dict.fromkeys(Lane, 9), by_s * S, BUILT_US, "b1" if own else "b2", Clock.SERVER)
    for row in columns.cut(1, Moment(BUILT_US, 100 * S, "b1", Clock.UNKNOWN)):
        assert (UNDATED in row.body, row.is_dated) == (True, False)
        dated = date_row(Lane.TELEMETRY, row.body, load_order(order.dump()))
        before, after = decode(Segment, row.body), decode(Segment, dated.body)
        assert len(dated.body) == len(row.body)
        assert [(it.t_us, it.v) for it in readings_of(after)] == [
            (it.t_us + by_s * S, it.v) for it in readings_of(before)
        ]
        assert (after.seq, after.boot_id, after.mono_us) == (before.seq, before.boot_id, before.mono_us)
        assert after.clock is (Clock.SERVER if own else Clock.UNKNOWN)


def test_an_alarm_whose_first_bad_reading_was_dated_rightly_keeps_that_date():
    alarm = AlarmChange("r", "s", AlarmState.ACTIVE, Severity.MAJOR, 5 * S, ticket=False, value=1, condition="c")
    event = DeviceEvent(1, BUILT_US + S, "b1", 7, Clock.UNKNOWN, "alarm.changed", "r", "text", alarm=alarm)
    order = Order(dict.fromkeys(Lane, 9), 60 * S, BUILT_US, "b1", Clock.GNSS)
    dated = decode(DeviceEvent, date_row(Lane.EVENTS, event_row(event).body, order).body)
    assert (dated.t_us, dated.alarm, dated.clock) == (BUILT_US + 61 * S, alarm, Clock.GNSS)
