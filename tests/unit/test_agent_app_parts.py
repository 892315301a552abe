import logging
from dataclasses import replace
from pathlib import Path

import pytest

from agent.adapters.log import KeyValue, Repeats
from agent.adapters.systemd import from_environment
from agent.core.status import (
    BufferStatus,
    CertificateStatus,
    ClockStatus,
    SourceStatus,
    Status,
    SyncStatus,
    certificate,
    iso,
    render,
)
from agent.errors import Misconfigured
from agent.settings import StateDir, load_identity, make_identity
from agent.wire.codec import decode, encode
from agent.wire.messages import ConfigOutcome, Reported

DAY_US = 86_400_000_000
NOW = 1_800_000_000_000_000
STATUS = Status(
    version=1,
    running=True,
    device="freezer-7k3m2q",
    agent_version="0.1.0",
    pid=611,
    t_us=NOW,
    t=iso(NOW),
    uptime_s=7200,
    rss_bytes=39_000_000,
    clock=ClockStatus("synced", 0.2),
    sources=(SourceStatus("board", connected=False, readings=10, errors=1, last_us=NOW, last=iso(NOW), detail="out"),),
    latest=(),
    buffer=BufferStatus(0, 0, 0, 0, None, 0.0, ""),
    sync=SyncStatus("fleet.example:8443", "link", NOW - 1_000_000, iso(NOW - 1_000_000), ""),
    config=Reported(4, ConfigOutcome.REFUSED, 3, "ab", "source[0].port: missing"),
    certificate=certificate(NOW + 61 * DAY_US, NOW),
)


def test_the_status_survives_its_json():
    assert decode(Status, encode(STATUS)) == STATUS


def test_a_refused_config_and_a_lost_source_stand_out():
    shown = render(STATUS)

    assert "revision 3 runs; revision 4 was REFUSED\n             source[0].port: missing" in shown
    assert "board             LOST" in shown
    assert "over the link, last ack 1.0 s ago" in shown


@pytest.mark.parametrize(
    ("days", "said"),
    [(61, "61 days left (until"), (5, "renewal is overdue"), (-1, "EXPIRED")],
)
def test_the_certificate_warns_in_time(days: int, said: str):
    shown = render(replace(STATUS, certificate=certificate(NOW + days * DAY_US, NOW)))

    assert said in shown


def test_an_unknown_certificate_end_is_no_alarm():
    assert "its dates are not known" in render(replace(STATUS, certificate=CertificateStatus(0, None, -20000)))


def test_renewal_is_due_at_two_thirds_of_the_life_and_spread_over_a_tenth(tmp_path: Path):
    identity = make_identity(StateDir(tmp_path), "d1", "h", 8443)
    identity = replace(identity, cert_issued_us=NOW, cert_expires_us=NOW + 90 * DAY_US)

    assert identity.renew_at_us(0.0) == NOW + 60 * DAY_US
    assert identity.renew_at_us(1.0) == NOW + 69 * DAY_US


def test_an_identity_with_an_unknown_key_names_file_key_and_nearest(tmp_path: Path):
    state = StateDir(tmp_path)
    state.identity.write_text('device = "d1"\nhost = "h"\ngateway_prot = 1\n')

    with pytest.raises(Misconfigured, match=r"identity\.toml: gateway_port: missing"):
        load_identity(state)


def record(text: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord("agent.sync", logging.WARNING, __file__, 1, text, args, None)


def test_a_record_is_one_key_value_line():
    line = KeyValue(with_time=False).format(record('said "%s"', "a\nb"))

    assert line == r'level=warning from=sync msg="said \"a\nb\""'


def test_repeats_are_held_back_and_counted():
    now = [0.0]
    repeats = Repeats(lambda: now[0])
    passed = [repeats.filter(record("lost %d", i)) for i in range(20)]
    now[0] = 61.0
    after = record("lost %d", 20)

    assert passed.count(True) == 5
    assert repeats.filter(after)
    assert after.held_back == 15
    assert repeats.filter(record("another"))


def test_the_watchdog_of_another_process_is_not_ours():
    assert from_environment({"WATCHDOG_USEC": "30000000"}).watchdog_s == 30.0
    assert from_environment({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}).watchdog_s is None
    assert from_environment({}).watchdog_s is None
