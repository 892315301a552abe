"""How a device stands, in sentences."""

import pytest

from fleet.cli.why import explain

NOW = 1_800_000_000_000_000
WELL = {
    "id": "freezer-a",
    "presence": "online",
    "last_seen_us": NOW,
    "config": {"desired": 4, "applied": 4, "handled": 4, "state": "in_sync", "reason": ""},
    "health": {"sources": [{"name": "board", "connected": True}], "buffer_oldest_us": 0},
    "gaps": 0,
    "quarantined": 0,
}


def _said(**changed: object) -> str:
    return " ".join(explain({**WELL, **changed}, NOW))


def test_a_device_that_is_well_takes_one_sentence():
    assert list(explain(WELL, NOW)) == ["freezer-a is online, runs config 4, and all that it sent was stored."]


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"presence": "never", "last_seen_us": None}, "has never called"),
        ({"presence": "offline", "last_seen_us": NOW - 7_200_000_000}, "last heard 2 h ago"),
        ({"presence": "late", "last_seen_us": NOW - 60_000_000}, "last heard 1 m ago"),
        ({"revoked": True, "revoked_us": NOW}, "was revoked"),
        (
            {"config": {"desired": 5, "applied": 4, "handled": 5, "state": "refused", "reason": "no port /dev/x"}},
            "refused config 5: no port /dev/x. It goes on with revision 4",
        ),
        (
            {"config": {"desired": 5, "applied": 4, "handled": 5, "state": "refused", "reason": "say 'lines'?"}},
            "refused config 5: say 'lines'? It goes on",
        ),
        (
            {"config": {"desired": 5, "applied": 4, "handled": 5, "state": "rolled_back", "reason": "board rests."}},
            "rolled config 5 back: board rests. It goes on with revision 4",
        ),
        (
            {"config": {"desired": 5, "applied": 5, "handled": 5, "state": "trying", "reason": ""}},
            "tries config 5",
        ),
        (
            {"config": {"desired": 5, "applied": 0, "handled": 0, "state": "pending", "reason": ""}},
            "Config 5 is on its way; it runs its own seed",
        ),
        ({"health": {"sources": [{"name": "board", "connected": False, "detail": "unplugged"}]}}, "unplugged"),
        ({"health": {"buffer_oldest_us": NOW - 3_600_000_000, "buffer_rows": 9}}, "(9 rows)"),
        ({"health": {"cert_expires_us": NOW - 1}}, "certificate has expired"),
        ({"health": {"cert_expires_us": NOW + 86_400_000_000 * 3}}, "ends in 3 d"),
        ({"quarantined": 2}, "2 of its batches could not be read"),
        ({"gaps": 1}, "1 gap that"),
        ({"open_alarms": 1, "worst_severity": "minor"}, "1 alarm is open, minor"),
        ({"open_alarms": 2, "worst_severity": "major"}, "2 alarms are open, the worst major"),
    ],
)
def test_each_trouble_is_named_with_its_next_step(changed: dict[str, object], sentence: str):
    assert sentence in _said(**changed)
