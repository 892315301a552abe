"""Whatever happens in whatever order: the tables have no dead end, no unreachable state, no way around the signal."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from agent.wire.messages import AlarmState, Severity
from fleet.core import alarm, evidence, ticket, verification
from fleet.core.ticket import Event, State

ENDS = {State.CANCELED}
SYSTEM = (Event.CLEARED, Event.RECURRED, Event.VERIFIED, Event.EXPIRED)


def _next(state: State, event: Event, resume: State) -> State | None:
    step = ticket.NEXT.get((state, event))
    return None if step is None else step.state or resume


def test_every_state_of_a_ticket_is_reached_from_new() -> None:
    reached, before = {State.NEW}, set()
    while reached != before:
        before = set(reached)
        reached |= {_next(state, event, State.NEW) for state, event in ticket.NEXT if state in before} - {None}
    assert reached == set(State)


def test_from_every_state_but_canceled_a_ticket_gets_to_closed() -> None:
    leads, before = {State.CLOSED}, set()
    while leads != before:
        before = set(leads)
        leads |= {state for (state, event) in ticket.NEXT if _next(state, event, State.NEW) in before}
    assert leads == set(State) - ENDS


def test_resolved_is_reached_from_verifying_alone_and_by_the_signal_alone() -> None:
    ways = {key for key, step in ticket.NEXT.items() if step.state is State.RESOLVED}
    assert ways == {(State.VERIFYING, Event.VERIFIED)}


def test_closed_is_reached_from_resolved_alone() -> None:
    assert {state for (state, _), step in ticket.NEXT.items() if step.state is State.CLOSED} == {State.RESOLVED}


def test_a_clear_takes_every_open_ticket_to_verifying_and_no_other() -> None:
    taken = {state for (state, event) in ticket.NEXT if event is Event.CLEARED}
    assert taken == set(ticket.OPEN)


def test_every_state_of_an_alarm_is_reached_and_none_is_a_dead_end() -> None:
    reached = {alarm.INITIAL, *(step.state for step in alarm.NEXT.values())}
    assert reached == set(AlarmState)
    assert {state for state, _ in alarm.NEXT} == set(AlarmState)


@given(st.lists(st.tuples(st.sampled_from(State), st.sampled_from((*SYSTEM, None))), max_size=60))
def test_no_sequence_of_moves_and_signals_resolves_a_ticket_without_a_passed_window(
    doings: list[tuple[State, Event | None]],
) -> None:
    state, resume, windows = State.NEW, State.ASSIGNED, 0
    for to, signal in doings:
        event = signal or ticket.move_event(state, to, resume)
        if event is None or (state, event) not in ticket.NEXT:
            continue
        step = ticket.NEXT[state, event]
        windows += ticket.Effect.OPEN_WINDOW in step.effects
        if ticket.Effect.REMEMBER in step.effects:
            resume = state
        after = step.state or resume
        if after is State.RESOLVED:
            assert state is State.VERIFYING
            assert windows > 0
        assert resume not in (State.VERIFYING, State.RESOLVED, State.CLOSED, State.CANCELED)
        state = after


@given(st.lists(st.tuples(st.sampled_from(tuple(AlarmState)[1:]), st.integers(0, 20)), max_size=40))
def test_an_alarm_never_moves_back_in_time_and_is_open_only_after_a_raise(
    announced: list[tuple[AlarmState, int]],
) -> None:
    known = None
    for state, t_us in announced:
        step = alarm.step(known, state, t_us)
        if step is None:
            continue
        assert known is None or t_us >= known.changed_us
        assert step.state is state
        known = alarm.Open(step.state, Severity.MAJOR, t_us)
    raised = any(state is AlarmState.ACTIVE for state, _ in announced)
    assert (known is not None) == raised


@given(
    st.lists(st.tuples(st.integers(0, 10_000), st.one_of(st.floats(-1e9, 1e9), st.none(), st.just("x"))), max_size=300),
    st.integers(4, 60),
)
def test_thinning_keeps_the_least_and_the_greatest_in_order_within_its_bound(
    readings: list[tuple[int, float | None]], most: int
) -> None:
    readings.sort(key=lambda reading: reading[0])
    facts = evidence.collect("a", "1", readings, from_us=0, to_us=10_001, most=most)
    kept = list(zip(facts.t_us, facts.v, strict=True))
    numbers = [value for _, value in readings if isinstance(value, float)]
    assert facts.count == len(readings)
    assert len(kept) <= most
    assert list(facts.t_us) == sorted(facts.t_us)
    assert set(kept) <= set(readings)
    if numbers:
        assert {min(numbers), max(numbers)} <= set(facts.v)


@given(st.lists(st.integers(0, 4_000), max_size=200), st.integers(100, 2_000))
def test_a_window_never_passes_over_a_silence_of_two_slots_and_never_ends_earlier_when_it_starts_anew(
    times: list[int], window: int
) -> None:
    times.sort()
    judged = verification.judge(0, window, times)
    if judged.outcome is verification.Outcome.PASSED:
        inside = [0, *(t for t in times if t < window), window]
        width = -(-window // verification.SLOTS)
        assert max(b - a for a, b in pairwise(inside)) < 2 * width
    if judged.outcome is verification.Outcome.UNKNOWN:
        assert judged.until_us > window
