"""Presence, from facts alone."""

import pytest

from agent.wire.units import US_PER_S
from fleet.core.presence import Facts, Presence, is_stale, judge

SEEN_US = 1_000 * US_PER_S


def facts(**changed: object) -> Facts:
    values: dict[str, object] = {
        "last_seen_us": SEEN_US,
        "next_s": 5,
        "link_up": False,
        "announced": Presence.ONLINE,
        "since_us": 900 * US_PER_S,
        "connection": 7,
        "boot_id": "boot-1",
    }
    return Facts(**(values | changed))  # type: ignore[arg-type] # by name


@pytest.mark.parametrize(
    ("silent_s", "presence", "since_s"),
    [(0, "online", 900), (14, "online", 900), (15, "late", 1015), (59, "late", 1015), (60, "offline", 1060)],
)
def test_a_device_that_falls_silent_becomes_late_and_then_offline(silent_s: int, presence: str, since_s: int):
    assert judge(facts(), SEEN_US + silent_s * US_PER_S) == (presence, since_s * US_PER_S)


def test_a_device_that_was_told_to_call_seldom_is_given_the_time():
    assert judge(facts(next_s=3600), SEEN_US + 7000 * US_PER_S)[0] is Presence.ONLINE


def test_a_device_that_was_never_heard_is_never():
    assert judge(None, SEEN_US) == (Presence.NEVER, 0)


@pytest.mark.parametrize(("after_s", "presence"), [(0, "online"), (4, "online"), (5, "late"), (57, "late")])
def test_a_device_whose_link_ended_is_late_if_nothing_is_heard_within_the_grace(after_s: int, presence: str):
    ended_us = SEEN_US + 2 * US_PER_S
    late_us = ended_us + 5 * US_PER_S

    judged, since_us = judge(facts(link_ended_us=ended_us), ended_us + after_s * US_PER_S)

    assert judged == presence
    assert since_us == (late_us if presence == "late" else facts().since_us)


def test_a_link_that_ended_is_forgotten_once_the_device_is_heard_over_whichever_road():
    heard = facts(link_ended_us=SEEN_US - 1)

    assert judge(heard, SEEN_US + 14 * US_PER_S)[0] is Presence.ONLINE


def test_a_link_that_ended_long_after_the_last_call_makes_nothing_later():
    silent = facts(link_ended_us=SEEN_US + 14 * US_PER_S)

    assert judge(silent, SEEN_US + 15 * US_PER_S) == (Presence.LATE, SEEN_US + 15 * US_PER_S)


def test_since_when_it_is_offline_does_not_move_once_it_was_told():
    told = facts(announced=Presence.OFFLINE, since_us=1060 * US_PER_S)

    assert judge(told, SEEN_US + 10_000 * US_PER_S) == (Presence.OFFLINE, 1060 * US_PER_S)


@pytest.mark.parametrize(
    ("connection", "boot_id", "stale"),
    [(6, "boot-1", True), (7, "boot-1", False), (8, "boot-1", False), (1, "boot-2", False)],
)
def test_a_birth_is_stale_if_a_newer_link_of_the_same_boot_is_known(connection: int, boot_id: str, *, stale: bool):
    assert is_stale(connection, boot_id, facts()) is stale
