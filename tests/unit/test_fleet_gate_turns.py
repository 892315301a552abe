"""Turns: in order for one device, beside each other for many, and never more than the bounds."""

import asyncio

import pytest
from structlog.testing import capture_logs

from fleet.gateway import turns
from fleet.gateway.seldom import Seldom
from fleet.gateway.turns import Said, Turns


def _msg(device: str, data: bytes) -> Said:
    return f"fleet.{device}.up.batch", data


def _run(messages: list[Said], *, fails: bytes = b"") -> list[tuple[str, bytes, str]]:
    told: list[tuple[str, bytes, str]] = []

    async def handle(device: str, _subject: str, data: bytes) -> None:
        told.append((device, data, "begins"))
        await asyncio.sleep(0)
        if data == fails:
            raise RuntimeError("a mistake")
        told.append((device, data, "ends"))

    async def story() -> None:
        async with asyncio.TaskGroup() as group:
            some = Turns(group, handle)
            for msg in messages:
                some.offer(*msg)

    asyncio.run(story())
    return told


def test_one_devices_messages_are_handled_one_after_the_other_in_order():
    told = _run([_msg("d1", b"1"), _msg("d1", b"2"), _msg("d1", b"3")])

    assert told == [("d1", data, edge) for data in (b"1", b"2", b"3") for edge in ("begins", "ends")]


def test_devices_are_handled_beside_each_other():
    told = _run([_msg("d1", b"1"), _msg("d2", b"1")])

    assert [edge for _, _, edge in told] == ["begins", "begins", "ends", "ends"]


def test_a_mistake_on_one_message_stops_neither_the_device_nor_the_others():
    told = _run([_msg("d1", b"bad"), _msg("d1", b"2"), _msg("d2", b"1")], fails=b"bad")

    assert ("d1", b"2", "ends") in told
    assert ("d2", b"1", "ends") in told


def test_of_the_mistakes_on_one_devices_messages_one_is_told():
    with capture_logs() as logs:
        _run([_msg("d1", b"bad"), _msg("d1", b"bad"), _msg("d2", b"bad")], fails=b"bad")

    assert [line["device"] for line in logs if line["log_level"] == "error"] == ["d1", "d2"]


def test_a_device_that_says_too_much_loses_what_is_beyond_and_nobody_else_does():
    told = _run([*(_msg("d1", b"%d" % i) for i in range(50)), _msg("d2", b"1")])

    assert len([1 for device, _, edge in told if device == "d1" and edge == "ends"]) == turns.MAX_PENDING_OF_ONE
    assert ("d2", b"1", "ends") in told


def test_bytes_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(turns, "MAX_PENDING_BYTES", 10)

    told = _run([_msg("d1", b"x" * 8), _msg("d2", b"x" * 8), _msg("d3", b"xx")])

    assert {device for device, _, _ in told} == {"d1", "d3"}


def test_a_subject_that_is_no_devices_is_dropped():
    assert _run([("fleet.up.batch", b"")]) == []


def test_what_is_said_of_one_is_said_seldom_and_of_others_all_the_same():
    seldom = Seldom(60.0)

    assert [seldom.may("d1", now) for now in (0.0, 1.0, 59.0, 60.0, 61.0)] == [True, False, False, True, False]
    assert seldom.may("d2", 1.0)
