"""Claims: the right to join the fleet once, as one device.

Only the SHA-256 of a claim's 16 random bytes is kept. That it is used once is what the UPDATE's row count says, not
what was read before: of two devices that show the same claim at the same moment one gets nothing.

From its claim on a machine is known: its device row is made with it, not enrolled, so that it is found by its serial,
shows as never seen, and can be given a config before it first calls. The row goes with the last claim that could have
enrolled it, if that is revoked.

An answer may be lost on its way, so for `AGAIN_US` after its use a claim is good for the same public key once more.
An id that is enrolled already can be claimed again only after it was revoked or its last certificate has ended: a claim
never takes the place of a machine that works by a slip of the keyboard.
"""

import hashlib
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update

from agent.wire.claim import SECRET_BYTES
from agent.wire.limits import MAX_DEVICE_CHARS
from agent.wire.topics import DEVICE_ID
from fleet.core.actor import Actor
from fleet.core.event import Event
from fleet.errors import Invalid, NotFound, Refused
from fleet.store import config, event, ownership
from fleet.store.device import prepare
from fleet.store.schema import certificate, claim, device

AGAIN_US = 10 * 60 * 1_000_000  # how long the key that used a claim may ask for a lost answer
MIN_EXPIRES_S = 60
MAX_EXPIRES_S = 366 * 86_400
SUFFIX_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"  # base32: no 0, 1, 8, 9 to be mistaken for letters
SUFFIX_CHARS = 6
MAX_SERIAL_CHARS = 128
MAX_SITE_CHARS = 256

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

# Built once: a factory's line enrols by the thousand, and building a statement costs more than running it.
_NEW = insert(claim).returning(claim.c.id)
_BY_SECRET = select(claim).where(claim.c.secret_hash == bindparam("shown"))
_TAKE = (
    update(claim)
    .where(claim.c.id == bindparam("claim"), claim.c.used_us.is_(None), claim.c.revoked_us.is_(None))
    .values(used_us=bindparam("now_us"), key_hash=bindparam("key"))
)
_STATE = select(device.c.enrolled_us, device.c.revoked_us).where(device.c.id == bindparam("device"))
_GOOD = (
    select(certificate.c.fingerprint)
    .where(
        certificate.c.device_id == bindparam("device"),
        certificate.c.revoked_us.is_(None),
        certificate.c.not_after_us > bindparam("now_us"),
    )
    .limit(1)
)
_IS_DEVICE = select(device.c.id).where(device.c.id == bindparam("name"))
_IS_CLAIMED = select(claim.c.id).where(claim.c.device_id == bindparam("name")).limit(1)


class ClaimUnknown(Refused):
    """No claim has this secret."""


class ClaimUsed(Refused):
    """The claim was used already, by another key or too long ago."""


class ClaimExpired(Refused):
    """The claim's time is over."""


class ClaimRevoked(Refused):
    """The claim was revoked before it was used."""


class DeviceExists(Refused):
    """The id belongs to a device that is enrolled."""


class State(StrEnum):
    """What a claim is still good for."""

    OPEN = "open"  # a device may enrol with it
    USED = "used"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Claim:
    """One claim, without its secret."""

    id: int
    product: str
    device_id: str  # the id that the device will have
    serial: str
    site: str
    created_us: int
    expires_us: int
    used_us: int | None = None
    revoked_us: int | None = None

    def state(self, now_us: int) -> State:
        """Return what it is good for at `now_us`."""
        if self.used_us is not None:
            return State.USED
        if self.revoked_us is not None:
            return State.REVOKED
        return State.OPEN if now_us < self.expires_us else State.EXPIRED


@dataclass(frozen=True, slots=True)
class Use:
    """A claim as it was used; `again` if its device asked for a lost answer."""

    claim: Claim
    again: bool


def create(  # noqa: PLR0913 - one keyword a fact
    conn: Connection,
    product_id: str,
    *,
    device_id: str | None,
    serial: str,
    site: str,
    customer_id: str | None = None,
    expires_s: int,
    now_us: int,
    by: Actor,
) -> tuple[bytes, Claim]:
    """Make a claim and its device; returns its secret, kept nowhere, and the claim. Appends `claim.created`.

    Without `device_id` the device is named `<product>-<6 characters>`. With `customer_id` it is that customer's from
    now on (`device.transferred`); without, it stays whose it is. Raises Invalid, DeviceExists, and NotFound (customer).
    """
    _check(product_id, device_id, serial, site, expires_s)
    name = device_id or _free_name(conn, product_id)
    _refuse_enrolled(conn, name, now_us)
    prepare(conn, name, product_id, serial=serial, site=site, now_us=now_us)
    if customer_id is not None:
        ownership.transfer(conn, name, customer_id, at_us=now_us, now_us=now_us, by=by)
    secret = secrets.token_bytes(SECRET_BYTES)
    expires_us = now_us + expires_s * 1_000_000
    values = {"secret_hash": _hash(secret), "product_id": product_id, "device_id": name, "serial": serial, "site": site}
    claim_id = conn.execute(_NEW, {**values, "created_us": now_us, "expires_us": expires_us}).scalar_one()
    made = Claim(claim_id, product_id, name, serial, site, now_us, expires_us)
    text = f"A claim was made for {name}, a {product_id}."
    data = {"device": name, "product": product_id, "expires_us": expires_us}
    event.append(
        conn,
        Event(now_us, now_us, "claim.created", "claim", str(claim_id), by.id, by.origin, text, name, data),
    )
    return secret, made


def find(conn: Connection, claim_id: int) -> Claim:
    """Return one claim; raises NotFound."""
    row = conn.execute(select(claim).where(claim.c.id == claim_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no claim {claim_id}", hint="`fleet claim list` shows all claims.")
    return _claim(row)


def page(  # noqa: PLR0913 - one keyword a filter
    conn: Connection,
    *,
    device_id: str | None = None,
    state: State | None = None,
    now_us: int,
    before: int | None = None,
    limit: int = 100,
) -> Sequence[Claim]:
    """Return claims, newest first, those below the id `before`."""
    query = select(claim).order_by(claim.c.id.desc()).limit(limit)
    if device_id is not None:
        query = query.where(claim.c.device_id == device_id)
    if before is not None:
        query = query.where(claim.c.id < before)
    if state is not None:
        query = query.where(_is_in(state, now_us))
    return [_claim(row) for row in conn.execute(query)]


def revoke(conn: Connection, claim_id: int, *, now_us: int, by: Actor) -> Claim:
    """Take an unused claim back; again is no error. Appends `claim.revoked`. Raises NotFound, ClaimUsed.

    If no other claim could enrol its device, and none ever has, the device goes with it.
    """
    found = find(conn, claim_id)
    if found.used_us is not None:
        hint = f"{found.device_id} is in. To shut it out: fleet device revoke {found.device_id}"
        raise ClaimUsed(f"claim {claim_id} was used already", hint=hint)
    if found.revoked_us is not None:
        return found
    mine = (claim.c.id == claim_id) & claim.c.used_us.is_(None)
    if conn.execute(update(claim).where(mine).values(revoked_us=now_us)).rowcount != 1:
        raise ClaimUsed(f"claim {claim_id} was used at this very moment")
    text = f"The claim for {found.device_id} was revoked."
    data = {"device": found.device_id, "product": found.product}
    about = ("claim", str(claim_id), by.id, by.origin, text, found.device_id, data)
    event.append(conn, Event(now_us, now_us, "claim.revoked", *about))
    _forget_unclaimed(conn, found.device_id, now_us=now_us, by=by)
    return find(conn, claim_id)


def _forget_unclaimed(conn: Connection, device_id: str, *, now_us: int, by: Actor) -> None:
    """Let a device go that never was more than a claim, with the config that it was given."""
    if page(conn, device_id=device_id, state=State.OPEN, now_us=now_us, limit=1):
        return
    never = (device.c.id == device_id) & device.c.enrolled_us.is_(None)
    if conn.execute(select(device.c.id).where(never)).first() is not None:
        config.unset(conn, device_id, now_us=now_us, by=by)
        ownership.transfer(conn, device_id, None, at_us=now_us, now_us=now_us, by=by)
        conn.execute(delete(device).where(never))


def _is_in(state: State, now_us: int) -> Any:  # noqa: ANN401 - SQLAlchemy's expression
    """Make the expression that `Claim.state` is this one."""
    unused = claim.c.used_us.is_(None)
    match state:
        case State.USED:
            return claim.c.used_us.is_not(None)
        case State.REVOKED:
            return unused & claim.c.revoked_us.is_not(None)
        case State.OPEN:
            return unused & claim.c.revoked_us.is_(None) & (claim.c.expires_us > now_us)
        case State.EXPIRED:
            return unused & claim.c.revoked_us.is_(None) & (claim.c.expires_us <= now_us)


def use(conn: Connection, secret: bytes, *, key_hash: str, now_us: int) -> Use:
    """Use a claim for the public key with this SHA-256 (hex). Raises as `check` does."""
    found = check(conn, secret, key_hash=key_hash, now_us=now_us)
    if not found.again:
        taken = conn.execute(_TAKE, {"claim": found.claim.id, "now_us": now_us, "key": key_hash})
        if taken.rowcount != 1:
            raise _used(found.claim)
    return found


def check(conn: Connection, secret: bytes, *, key_hash: str, now_us: int) -> Use:
    """Return what `use` would, and write nothing.

    Raises ClaimUnknown, ClaimUsed, ClaimRevoked, ClaimExpired, DeviceExists.
    """
    row = conn.execute(_BY_SECRET, {"shown": _hash(secret)}).one_or_none()
    if row is None:
        raise ClaimUnknown(
            "this fleet has given out no such claim",
            hint="Check that the claim was copied whole and is for this server, or create a new one.",
        )
    found = _claim(row)
    if row.used_us is not None:
        return _again(found, row.used_us, row.key_hash, key_hash, now_us)
    if row.revoked_us is not None:
        raise ClaimRevoked(f"the claim for {found.device_id} was revoked", hint=_renew_hint(found))
    if now_us >= row.expires_us:
        raise ClaimExpired(f"the claim for {found.device_id} has expired", hint=_renew_hint(found))
    _refuse_enrolled(conn, found.device_id, now_us)
    return Use(found, again=False)


def _again(found: Claim, used_us: int, used_by: str | None, key_hash: str, now_us: int) -> Use:
    if used_by != key_hash or now_us >= used_us + AGAIN_US:
        raise _used(found)
    return Use(found, again=True)


def _used(found: Claim) -> ClaimUsed:
    return ClaimUsed(f"the claim for {found.device_id} was used already", hint=_renew_hint(found))


def _renew_hint(found: Claim) -> str:
    return f"Create a new one: fleet claim create --product {found.product}"


def _refuse_enrolled(conn: Connection, device_id: str, now_us: int) -> None:
    """Raise DeviceExists for a device that can still call; one whose certificates have all ended cannot."""
    row = conn.execute(_STATE, {"device": device_id}).one_or_none()
    can_call = row is not None and row.enrolled_us is not None and row.revoked_us is None
    if can_call and conn.execute(_GOOD, {"device": device_id, "now_us": now_us}).first() is not None:
        raise DeviceExists(
            f"{device_id} is enrolled already",
            hint=f"To enrol that machine anew, first run: fleet device revoke {device_id}",
        )


def _free_name(conn: Connection, product_id: str) -> str:
    while True:
        suffix = "".join(secrets.choice(SUFFIX_ALPHABET) for _ in range(SUFFIX_CHARS))
        name = f"{product_id}-{suffix}"
        enrolled = conn.execute(_IS_DEVICE, {"name": name}).first()
        claimed = conn.execute(_IS_CLAIMED, {"name": name}).first()
        if enrolled is None and claimed is None:
            return name


def _check(product_id: str, device_id: str | None, serial: str, site: str, expires_s: int) -> None:
    longest = MAX_DEVICE_CHARS - SUFFIX_CHARS - 1
    if not DEVICE_ID.fullmatch(product_id) or len(product_id) > longest:
        raise Invalid(
            f"{product_id!r} is not a product's name",
            hint=f"Use lower-case letters, digits and '-', at most {longest}: freezer, cold-room-2.",
        )
    if device_id is not None and not DEVICE_ID.fullmatch(device_id):
        raise Invalid(
            f"{device_id!r} is not a device's id",
            hint=f"Use lower-case letters, digits and '-', at most {MAX_DEVICE_CHARS}: freezer-7k3m2q.",
        )
    for what, text, most in (("serial", serial, MAX_SERIAL_CHARS), ("site", site, MAX_SITE_CHARS)):
        if len(text) > most or _CONTROL.search(text):
            raise Invalid(f"the {what} is longer than {most} characters or holds a control character")
    if not MIN_EXPIRES_S <= expires_s <= MAX_EXPIRES_S:
        raise Invalid(
            f"a claim cannot expire in {expires_s} s", hint=f"Give {MIN_EXPIRES_S} to {MAX_EXPIRES_S} seconds."
        )


def _claim(row: Row[Any]) -> Claim:
    facts = (row.product_id, row.device_id, row.serial, row.site)
    return Claim(row.id, *facts, row.created_us, row.expires_us, row.used_us, row.revoked_us)


def _hash(secret: bytes) -> str:
    return hashlib.sha256(secret).hexdigest()
