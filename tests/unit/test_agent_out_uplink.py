"""The sync machine, case by case: when a batch leaves, over which road, and how large."""

from agent.core.roads import Pace
from agent.core.uplink import Uplink
from agent.core.uplink_events import (
    Acked,
    Action,
    Built,
    Committed,
    Connect,
    Disconnect,
    Failed,
    Gate,
    GiveUp,
    LinkDown,
    LinkUp,
    Renew,
    Rewind,
    Road,
    Send,
    SetAside,
)
from agent.wire.limits import BACKLOG_BATCH_BYTES, STEADY_BATCH_BYTES
from agent.wire.messages import Ack, Lane, Refusal

NEXT_S = 5.0


def uplink(*, link_port: int = 0, mark: int = 0, top: int = 0) -> Uplink:
    return Uplink(dict.fromkeys(Lane, (mark, top)), link_port, lambda: 0.5, 0.0, Pace())


def sends(actions: list[Action]) -> list[Send]:
    return [action for action in actions if isinstance(action, Send)]


def answer(  # noqa: PLR0913 - the fields of a round
    machine: Uplink,
    send: Send,
    now: float,
    acked: int | None,
    *,
    last: int | None = None,
    more: bool = False,
    port: int = 0,
    refused: Refusal | None = None,
) -> list[Action]:
    name = f"batch{send.flight}"
    machine.handle(Built(send.lane, send.flight, name, last, more), now)
    return machine.handle(Acked(Ack(1, name, acked, 0, 0, NEXT_S, port, refused=refused)), now)


def settled(**ends: int) -> tuple[Uplink, float]:
    """Return a machine that has had its first acks, and the time."""
    machine = uplink(**ends)
    mark = ends.get("mark", 0)
    (events,) = sends(machine.handle(None, 0.0))
    (telemetry,) = sends(answer(machine, events, 0.0, mark))
    answer(machine, telemetry, 0.0, mark)
    return machine, 0.0


def test_the_first_batch_is_events_with_a_snapshot_over_the_gateway():
    (send,) = sends(uplink(top=9).handle(None, 0.0))

    assert (send.lane, send.road, send.snapshot) == (Lane.EVENTS, Road.GATEWAY, True)


def test_telemetry_waits_for_the_servers_pace_and_an_alarm_does_not():
    machine, now = settled()

    quiet = machine.handle(Committed(Lane.TELEMETRY, 1), now + 1)
    alarm = machine.handle(Committed(Lane.EVENTS, 1, urgent=True), now + 2)

    assert quiet == []
    assert [send.lane for send in sends(alarm)] == [Lane.EVENTS]
    assert machine.due() <= now + NEXT_S
    assert [send.lane for send in sends(machine.handle(None, now + NEXT_S))] == [Lane.TELEMETRY]


def test_events_that_waited_for_the_lanes_to_be_asked_go_before_the_backlog():
    machine = Uplink(dict.fromkeys(Lane, (5, 9)), 0, lambda: 0.5, 0.0, bases=dict.fromkeys(Lane, 9))
    (asked,) = sends(machine.handle(None, 0.0))
    (asked_too,) = sends(answer(machine, asked, 0.0, 5))
    (events,) = sends(answer(machine, asked_too, 0.0, 5))
    assert machine.handle(None, NEXT_S) == []
    (telemetry,) = sends(answer(machine, events, NEXT_S, 9, last=9))

    assert (asked.max_bytes, asked_too.max_bytes) == (0, 0)
    assert (events.lane, telemetry.lane) == (Lane.EVENTS, Lane.TELEMETRY)
    assert telemetry.max_bytes > 0


def test_a_mark_that_was_learnt_from_the_fleet_is_no_sign_that_the_buffer_went_back():
    # The newest event was set aside, and the mark that covers it was lost with the power.
    machine = Uplink({Lane.EVENTS: (3, 3), Lane.TELEMETRY: (0, 0)}, 0, lambda: 0.5, 0.0, bases={Lane.EVENTS: 4})
    (first,) = sends(machine.handle(None, 0.0))
    (telemetry,) = sends(answer(machine, first, 0.0, 4))
    answer(machine, telemetry, 0.0, 0)

    (events,) = [send for send in sends(machine.handle(None, 700.0)) if send.lane is Lane.EVENTS]

    assert not [action for action in answer(machine, events, 700.0, 4) if isinstance(action, Renew)]


def test_a_closed_gate_lets_alarms_pass_and_tells_the_fleet_how_long_it_may_be_silent():
    machine, now = settled()
    machine.handle(Committed(Lane.TELEMETRY, 9), now)
    (told,) = sends(machine.handle(Gate(is_open=False, call_s=900), now))
    after = answer(machine, told, now, 0)
    (alarm,) = sends(machine.handle(Committed(Lane.EVENTS, 1, urgent=True), now + 10))
    answer(machine, alarm, now + 10, 1, last=1)

    assert (told.lane, told.max_bytes, told.call_s) == (Lane.TELEMETRY, 0, 900)
    assert sends(after) == []
    assert (alarm.lane, alarm.max_bytes) == (Lane.EVENTS, STEADY_BATCH_BYTES)
    assert machine.due() >= now + 900
    assert [send.lane for send in sends(machine.handle(Gate(), now + 20))] == []
    (readings,) = [send for send in sends(machine.handle(None, now + 30)) if send.lane is Lane.EVENTS]
    assert readings.snapshot  # as after an outage


def test_a_metered_backlog_goes_in_small_batches_one_after_the_other():
    machine, now = settled()
    machine.handle(Gate(is_metered=True), now)
    machine.handle(Committed(Lane.TELEMETRY, 500), now)
    machine.handle(Committed(Lane.EVENTS, 5), now)
    (events,) = sends(machine.handle(None, now + NEXT_S))

    (first,) = sends(answer(machine, events, now + NEXT_S, 5, last=5))
    (second,) = sends(answer(machine, first, now + NEXT_S, 100, last=100, more=True))

    assert (first.lane, second.max_bytes) == (Lane.TELEMETRY, STEADY_BATCH_BYTES)


def test_a_backlog_goes_on_at_once_and_in_large_batches():
    machine, now = settled()
    machine.handle(Committed(Lane.TELEMETRY, 500), now)
    (first,) = sends(machine.handle(None, now + NEXT_S))

    (second,) = sends(answer(machine, first, now + NEXT_S, 100, last=100, more=True))

    assert (first.max_bytes, second.max_bytes) == (STEADY_BATCH_BYTES, BACKLOG_BATCH_BYTES)
    assert (second.prev_seq, second.after_seq) == (100, 100)


def test_an_ack_gives_rows_up_and_a_second_copy_of_it_does_nothing():
    machine, now = settled()
    machine.handle(Committed(Lane.TELEMETRY, 5), now)
    (send,) = sends(machine.handle(None, now + NEXT_S))

    first = answer(machine, send, now + NEXT_S, 5, last=5)
    second = machine.handle(Acked(Ack(1, f"batch{send.flight}", 5, 0, 0, NEXT_S, 0)), now + NEXT_S)

    assert first == [GiveUp(Lane.TELEMETRY, 5)]
    assert second == []
    assert machine.stale_acks == 1


def test_a_server_that_went_back_gets_again_what_it_lost():
    machine, now = settled(mark=50, top=50)
    machine.handle(Committed(Lane.TELEMETRY, 55), now)
    (send,) = sends(machine.handle(None, now + NEXT_S))

    actions = answer(machine, send, now + NEXT_S, 20, last=55)

    assert actions[0] == Rewind(Lane.TELEMETRY, 20)
    again = {send.lane: (send.prev_seq, send.after_seq) for send in sends(actions)}
    assert again == {Lane.EVENTS: (50, 50), Lane.TELEMETRY: (20, 20)}


def test_a_quarantined_batch_is_passed_and_the_mark_stays_the_servers():
    machine, now = settled()
    machine.handle(Committed(Lane.TELEMETRY, 5), now)
    (send,) = sends(machine.handle(None, now + NEXT_S))

    actions = answer(machine, send, now + NEXT_S, None, last=3, more=True, refused=Refusal("$", "no", quarantined=True))

    assert actions[0] == SetAside(Lane.TELEMETRY, 1, 3, "$: no")
    assert [(send.prev_seq, send.after_seq) for send in sends(actions)] == [(0, 3)]


def test_a_refusal_that_keeps_nothing_is_tried_again_later():
    machine, now = settled()
    machine.handle(Committed(Lane.TELEMETRY, 5), now)
    (send,) = sends(machine.handle(None, now + NEXT_S))

    at_once = answer(machine, send, now + NEXT_S, None, last=5, refused=Refusal("$", "no", quarantined=False))
    later = machine.handle(None, machine.due())

    assert at_once == []
    assert [send.after_seq for send in sends(later)] == [0]


def test_the_link_is_tried_first_and_the_gateway_taken_when_it_stays_down():
    machine = uplink(link_port=8883)

    assert machine.handle(None, 0.0) == [Connect(8883)]
    assert sends(machine.handle(LinkDown(), 1.0)) == []
    assert [send.road for send in sends(machine.handle(None, 6.0))] == [Road.GATEWAY]


def test_the_link_takes_over_again_by_itself():
    machine = uplink(link_port=8883)
    machine.handle(None, 0.0)
    machine.handle(LinkDown(), 1.0)
    (events,) = sends(machine.handle(None, 6.0))

    machine.handle(LinkUp(), 7.0)
    actions = answer(machine, events, 7.0, 0, port=8883)

    assert [send.road for send in sends(actions)] == [Road.LINK]


def test_a_link_that_does_not_ack_is_cut_and_the_gateway_taken_at_once():
    machine = uplink(link_port=8883)
    machine.handle(None, 0.0)
    (send,) = sends(machine.handle(LinkUp(), 0.0))
    machine.handle(Built(send.lane, send.flight, "b", None, more=False), 0.0)

    actions = machine.handle(None, Pace().link_ack_s)

    assert Disconnect() in actions
    assert [send.road for send in sends(actions)] == [Road.GATEWAY]


def test_a_busy_gateway_gets_the_time_it_asks_for():
    machine = uplink()
    (send,) = sends(machine.handle(None, 0.0))

    machine.handle(Built(send.lane, send.flight, "b", None, more=False), 0.0)
    machine.handle(Failed(send.lane, send.flight, wait_s=30.0), 0.0)

    assert sends(machine.handle(None, 29.9)) == []
    assert sends(machine.handle(None, 30.0 * 1.125)) != []


def test_a_device_that_is_not_accepted_asks_seldom():
    machine = uplink()
    (send,) = sends(machine.handle(None, 0.0))

    machine.handle(Built(send.lane, send.flight, "b", None, more=False), 0.0)
    machine.handle(Failed(send.lane, send.flight, refused=True), 0.0)

    assert sends(machine.handle(None, 600.0)) == []
    assert sends(machine.handle(None, 700.0)) != []
