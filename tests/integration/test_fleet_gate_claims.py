"""Claims and certificates in either database: used once, in time, by one key."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

import pytest
from sqlalchemy import Connection

from fleet.api.claim import NewClaim
from fleet.core.actor import FLEET
from fleet.errors import Invalid, NotFound
from fleet.store import certificate, claim, config, device, event
from fleet.store.certificate import Certificate, CertificateExpired, CertificateRevoked, CertificateUnknown
from fleet.store.claim import AGAIN_US, ClaimExpired, ClaimRevoked, ClaimUnknown, ClaimUsed, DeviceExists, State
from fleet.store.config import Target
from fleet.store.database import Database

pytest_plugins = ("databases",)

T = TypeVar("T")
NOW_US = 1_780_000_000_000_000
S = 1_000_000


def _in(url: str, work: Callable[[Connection], T]) -> T:
    async def story() -> T:
        async with Database.open(url) as db:
            return await db.write(work)

    return asyncio.run(story())


def _make(conn: Connection, product: str = "freezer", **fields: object) -> tuple[bytes, claim.Claim]:
    facts = {"device_id": None, "serial": "", "site": "", "expires_s": 3600, "now_us": NOW_US, "by": FLEET, **fields}
    return claim.create(conn, product, **facts)  # type: ignore[arg-type] # by name


def _enrol(conn: Connection, secret: bytes, mark: str, now_us: int = NOW_US) -> str:
    used = claim.use(conn, secret, key_hash="k" * 64, now_us=now_us)
    issued = Certificate(mark * 64, used.claim.device_id, "1f", now_us, now_us + 90 * 86_400 * S)
    certificate.enrol(conn, used.claim, issued, now_us=now_us, again=used.again)
    return used.claim.device_id


def test_a_claim_names_the_device_and_is_used_once(database_url: str):
    def work(conn: Connection) -> None:
        secret, made = _make(conn, serial="S-1", site="Hall 4")
        used = claim.use(conn, secret, key_hash="a", now_us=NOW_US)

        assert made.device_id.startswith("freezer-")
        assert len(made.device_id) == len("freezer-") + 6
        assert used == claim.Use(made, again=False)
        assert claim.use(conn, secret, key_hash="a", now_us=NOW_US + AGAIN_US - 1).again
        with pytest.raises(ClaimUsed):
            claim.use(conn, secret, key_hash="b", now_us=NOW_US)
        with pytest.raises(ClaimUsed):
            claim.use(conn, secret, key_hash="a", now_us=NOW_US + AGAIN_US)

    _in(database_url, work)


def test_an_expired_claim_and_an_unknown_one_are_told_apart(database_url: str):
    def work(conn: Connection) -> None:
        secret, made = _make(conn)
        with pytest.raises(ClaimExpired):
            claim.use(conn, secret, key_hash="a", now_us=made.expires_us)
        with pytest.raises(ClaimUnknown):
            claim.use(conn, bytes(16), key_hash="a", now_us=NOW_US)

    _in(database_url, work)


def test_an_enrolled_id_is_claimed_again_only_after_it_was_revoked(database_url: str):
    def work(conn: Connection) -> None:
        secret, _ = _make(conn, device_id="f-1")
        late, _ = _make(conn, device_id="f-1")
        _enrol(conn, secret, "a")
        with pytest.raises(DeviceExists):
            _make(conn, device_id="f-1")
        with pytest.raises(DeviceExists):
            claim.use(conn, late, key_hash="z", now_us=NOW_US)
        device.revoke(conn, "f-1", "lost", now_us=NOW_US, by=FLEET)
        anew, _ = _make(conn, device_id="f-1")

        assert _enrol(conn, anew, "b") == "f-1"
        assert certificate.check(conn, "b" * 64, now_us=NOW_US).device_id == "f-1"
        with pytest.raises(CertificateRevoked):
            certificate.check(conn, "a" * 64, now_us=NOW_US)

    _in(database_url, work)


def test_a_device_whose_certificates_have_all_ended_can_be_claimed_without_being_revoked(database_url: str):
    ended_us = NOW_US + 91 * 86_400 * S

    def work(conn: Connection) -> None:
        secret, _ = _make(conn, device_id="f-1")
        _enrol(conn, secret, "a")
        anew, _ = claim.create(
            conn, "freezer", device_id="f-1", serial="", site="", expires_s=3600, now_us=ended_us, by=FLEET
        )

        assert _enrol(conn, anew, "b", ended_us) == "f-1"
        with pytest.raises(CertificateRevoked):
            certificate.check(conn, "a" * 64, now_us=ended_us)

    _in(database_url, work)


def test_a_certificate_after_its_end_is_good_for_renewal_within_the_grace_alone(database_url: str):
    day_us = 86_400 * S
    late_us = NOW_US + 120 * day_us  # 30 days after the end

    def work(conn: Connection) -> None:
        secret, _ = _make(conn, device_id="f-1")
        _enrol(conn, secret, "a")
        with pytest.raises(CertificateExpired):
            certificate.check(conn, "a" * 64, now_us=late_us)
        issued = Certificate("b" * 64, "f-1", "2f", late_us, late_us + 90 * day_us)
        with pytest.raises(CertificateExpired) as caught:
            certificate.renew(conn, "a" * 64, issued, now_us=late_us, grace_us=29 * day_us)
        assert "fleet claim create --product freezer --device f-1" in caught.value.hint
        certificate.renew(conn, "a" * 64, issued, now_us=late_us, grace_us=31 * day_us)

        (told,) = event.page(conn, after=0, kinds=["device.renewed_late"], limit=10)
        assert told.text == "f-1 renewed its certificate 30 days after its end."

    _in(database_url, work)


def test_a_certificate_is_good_until_it_or_its_device_is_revoked(database_url: str):
    def work(conn: Connection) -> None:
        secret, _ = _make(conn, device_id="f-1")
        _enrol(conn, secret, "a")
        certificate.renew(
            conn, "a" * 64, Certificate("b" * 64, "f-1", "2f", NOW_US, NOW_US + 90 * 86_400 * S), now_us=NOW_US
        )

        assert {row.fingerprint for row in certificate.rows(conn, "f-1")} == {"a" * 64, "b" * 64}
        assert {certificate.device_of(conn, mark * 64, now_us=NOW_US) for mark in "ab"} == {"f-1"}
        device.revoke(conn, "f-1", "", now_us=NOW_US, by=FLEET)
        for mark in "ab":
            with pytest.raises(CertificateRevoked):
                certificate.check(conn, mark * 64, now_us=NOW_US)
        with pytest.raises(CertificateUnknown):
            certificate.check(conn, "c" * 64, now_us=NOW_US)

    _in(database_url, work)


def test_a_claimed_device_is_known_and_can_be_given_a_config_before_it_enrols(database_url: str):
    def work(conn: Connection) -> None:
        secret, made = _make(conn, serial="S-1", site="Hall 4")
        (prepared,) = device.page(conn, q="S-1")
        own, _ = config.set_document(conn, Target.DEVICE, made.device_id, "", now_us=NOW_US, by=FLEET)

        assert (prepared.id, prepared.enrolled_us) == (made.device_id, None)
        _enrol(conn, secret, "a", NOW_US + S)
        assert device.get(conn, made.device_id).enrolled_us == NOW_US + S
        assert config.desired_revision(conn, made.device_id) == own.revision

    _in(database_url, work)


def test_the_newest_claim_says_what_a_device_is_until_it_is_in(database_url: str):
    def work(conn: Connection) -> None:
        _make(conn, device_id="f-1", serial="S-1")
        secret, _ = _make(conn, "pump", device_id="f-1", serial="S-2")

        prepared = device.get(conn, "f-1")
        assert (prepared.product_id, prepared.serial) == ("pump", "S-2")
        _enrol(conn, secret, "a")
        device.revoke(conn, "f-1", "", now_us=NOW_US, by=FLEET)
        _make(conn, device_id="f-1", serial="S-3")
        assert device.get(conn, "f-1").serial == "S-2"

    _in(database_url, work)


def test_a_revoked_claim_lets_nobody_in_and_takes_a_device_that_was_only_prepared_with_it(database_url: str):
    def work(conn: Connection) -> None:
        secret, first = _make(conn, device_id="f-1")
        _, second = _make(conn, device_id="f-1")
        config.set_document(conn, Target.DEVICE, "f-1", "", now_us=NOW_US, by=FLEET)

        done = claim.revoke(conn, first.id, now_us=NOW_US, by=FLEET)
        assert done.state(NOW_US) is State.REVOKED
        assert claim.revoke(conn, first.id, now_us=NOW_US + S, by=FLEET) == done
        with pytest.raises(ClaimRevoked):
            claim.use(conn, secret, key_hash="a", now_us=NOW_US)
        assert device.get(conn, "f-1").id == "f-1"
        claim.revoke(conn, second.id, now_us=NOW_US, by=FLEET)
        with pytest.raises(NotFound):
            device.get(conn, "f-1")
        told = event.page(conn, device_id="f-1")[::-1]
        assert [one.kind for one in told][3:] == ["claim.revoked", "claim.revoked", "config.unset"]
        _make(conn, device_id="f-1")
        assert config.desired_revision(conn, "f-1") == 0

    _in(database_url, work)


def test_a_used_claim_cannot_be_revoked_and_its_device_stays(database_url: str):
    def work(conn: Connection) -> None:
        secret, made = _make(conn)
        _enrol(conn, secret, "a")

        with pytest.raises(ClaimUsed, match="used already"):
            claim.revoke(conn, made.id, now_us=NOW_US, by=FLEET)
        with pytest.raises(NotFound):
            claim.revoke(conn, made.id + 1, now_us=NOW_US, by=FLEET)
        assert device.get(conn, made.device_id).enrolled_us == NOW_US

    _in(database_url, work)


def test_who_revokes_a_device_revokes_its_open_claims(database_url: str):
    def work(conn: Connection) -> None:
        secret, _ = _make(conn, device_id="f-1")
        before, _ = _make(conn, device_id="f-1")
        prepared, _ = _make(conn, device_id="f-2")
        _enrol(conn, secret, "a")
        device.revoke(conn, "f-1", "", now_us=NOW_US, by=FLEET)
        device.revoke(conn, "f-2", "", now_us=NOW_US, by=FLEET)

        for shown in (before, prepared):
            with pytest.raises(ClaimRevoked):
                claim.use(conn, shown, key_hash="z", now_us=NOW_US)
        anew, _ = _make(conn, device_id="f-2")
        assert _enrol(conn, anew, "b") == "f-2"

    _in(database_url, work)


def test_the_contract_says_the_times_that_a_claim_may_have():
    said = NewClaim.model_json_schema()["properties"]["expires_s"]["anyOf"][0]

    assert (said["minimum"], said["maximum"]) == (claim.MIN_EXPIRES_S, claim.MAX_EXPIRES_S)


def test_claims_are_listed_by_what_they_are_good_for(database_url: str):
    def work(conn: Connection) -> None:
        _, still_open = _make(conn, expires_s=7200)
        secret, used = _make(conn, expires_s=7200)
        _, expired = _make(conn)
        _, revoked = _make(conn)
        _enrol(conn, secret, "a")
        claim.revoke(conn, revoked.id, now_us=NOW_US, by=FLEET)
        later_us = NOW_US + 3600 * S

        listed = {state: [one.id for one in claim.page(conn, state=state, now_us=later_us)] for state in State}
        assert listed == {
            State.OPEN: [still_open.id],
            State.USED: [used.id],
            State.EXPIRED: [expired.id],
            State.REVOKED: [revoked.id],
        }
        everything = claim.page(conn, now_us=later_us, before=revoked.id, limit=2)
        assert [one.state(later_us) for one in everything] == [State.EXPIRED, State.USED]

    _in(database_url, work)


@pytest.mark.parametrize(
    "fields",
    [
        {"product": ""},
        {"product": "Freezer"},
        {"product": "a b"},
        {"product": "x" * 58},
        {"device_id": "UPPER"},
        {"device_id": "../x"},
        {"device_id": "d.1"},
        {"device_id": "*"},
        {"device_id": "x" * 65},
        {"serial": "s" * 129},
        {"site": "a\nb"},
        {"expires_s": 59},
        {"expires_s": 10**9},
    ],
    ids=str,
)
def test_what_a_claim_cannot_say_is_refused(sqlite_url: str, fields: dict[str, object]):
    def work(conn: Connection) -> None:
        with pytest.raises(Invalid):
            _make(conn, **fields)  # type: ignore[arg-type] # by name

    _in(sqlite_url, work)
