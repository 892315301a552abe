"""Configs: documents as they were set. The id is the revision; the newest of a target is the one that is desired.

A device's own document wins over its product's; the two are never merged, so what a device runs can be read in one
place. A device's own can be unset: it stays in the list, and the device follows its product again. A document is
checked for what the fleet can judge, TOML and rules; the device judges the rest and reports.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, FromClause, Row, Select, and_, bindparam, func, insert, select, update

from agent.rules.rule import Place, Rule, read_rules
from agent.wire.codec import config_hash
from agent.wire.document import DocumentError, parse_document
from agent.wire.messages import ConfigDocument, ConfigOutcome
from fleet.core.actor import Actor
from fleet.core.event import Event
from fleet.errors import Invalid, NotFound
from fleet.store import event
from fleet.store.schema import config, device, product, reported

FIRST_OF_PRODUCT = "A product is known from its first claim on: `fleet claim create --product …`."
MAX_CACHED_RULES = 4096  # documents whose rules are kept parsed


class Target(StrEnum):
    """What a document is for."""

    PRODUCT = "product"
    DEVICE = "device"


class Agreement(StrEnum):
    """How a device stands to what is desired of it."""

    UNSET = "unset"  # the fleet has set nothing; the device runs its seed, or goes on with what it was last given
    PENDING = "pending"  # not handled yet
    TRYING = "trying"  # it runs, and the device watches whether it stays well with it
    IN_SYNC = "in_sync"  # applied
    REFUSED = "refused"  # the device would not take it; the one before keeps running
    ROLLED_BACK = "rolled_back"  # the device was not well with it; the one before runs again


@dataclass(frozen=True, slots=True)
class Config:
    """One document as it was set."""

    revision: int
    scope: Target
    target: str  # product or device id
    hash: str  # SHA-256 of the text, hex
    toml: str
    author: str
    created_us: int
    unset_us: int | None = None  # when its device was told to follow its product again


@dataclass(frozen=True, slots=True)
class Standing:
    """Desired against reported, of one device."""

    device_id: str
    product_id: str
    desired: int  # revision; 0: none
    applied: int  # revision that runs; 0: the seed
    handled: int
    outcome: str  # of ConfigOutcome; "" if the device never said
    reason: str
    state: Agreement
    reported_us: int | None


def desired(conn: Connection, device_id: str) -> ConfigDocument | None:
    """Return the document that the device shall run; None if none was set for it or its product."""
    row = conn.execute(_DESIRED, {"device_id": device_id}).one_or_none()
    return None if row is None else ConfigDocument(row.id, row.hash, row.toml)


def desired_revision(conn: Connection, device_id: str) -> int:
    """Return the revision that the device shall run; 0 if none was set."""
    return conn.execute(_DESIRED_REVISION, {"device_id": device_id}).scalar_one() or 0


def fleet_rules(conn: Connection, device_id: str) -> tuple[Rule, ...]:
    """Return the rules of the desired document that the fleet judges on ingest."""
    row = conn.execute(_DESIRED_NAME, {"device_id": device_id}).one_or_none()
    return () if row is None else rules_of(conn, row.id, row.hash)


def rules_of(conn: Connection, revision: int, text_hash: str) -> tuple[Rule, ...]:
    """Return the rules of one document that the fleet judges on ingest; revision 0 has none."""
    cached = _cached.get((revision, text_hash)) if revision else ()
    if cached is None:
        toml = conn.execute(select(config.c.toml).where(config.c.id == revision)).scalar_one()
        if len(_cached) >= MAX_CACHED_RULES:
            _cached.clear()
        cached = _cached[revision, text_hash] = _fleet_rules(toml)
    return cached


_cached: dict[tuple[int, str], tuple[Rule, ...]] = {}
"""Rules by (revision, hash): a revision never changes; the hash tells databases apart."""


def set_document(  # noqa: PLR0913 - one keyword a fact
    conn: Connection, scope: Target, target: str, toml: str, *, now_us: int, by: Actor
) -> tuple[Config, bool]:
    """Set a document for a product or a device; returns it and whether it is new.

    The text that is set already is not set again: the same revision is returned, unless a device has not kept it;
    then it gets a new one, and with it another try. Raises Invalid where the document cannot be followed, NotFound
    where the target does not exist. Appends `config.set`.
    """
    _check_target(conn, scope, target)
    check(toml)
    text_hash = config_hash(toml)
    newest = select(config).where(config.c.scope == scope.value, config.c.target == target)
    row = conn.execute(newest.order_by(config.c.id.desc()).limit(1)).one_or_none()
    if row is not None and row.unset_us is None and row.hash == text_hash and not _is_rejected(conn, row.id):
        return _config(row), False
    values = {"scope": scope.value, "target": target, "hash": text_hash, "toml": toml}
    made = _config(
        conn.execute(insert(config).values(author=by.id, created_us=now_us, **values).returning(config)).one()
    )
    text = f"Config {made.revision} was set for {scope} {target}."
    data = {"revision": made.revision, "scope": scope.value, "target": target, "hash": text_hash}
    about = target if scope is Target.DEVICE else None
    event.append(
        conn,
        Event(now_us, now_us, "config.set", "config", str(made.revision), by.id, by.origin, text, about, data),
    )
    return made, True


def unset(conn: Connection, device_id: str, *, now_us: int, by: Actor) -> bool:
    """Let a device follow its product again; tells whether it had a document of its own. Appends `config.unset`.

    Where its product has none either, the device goes on with what it runs. Raises NotFound.
    """
    _check_target(conn, Target.DEVICE, device_id)
    revision = conn.execute(select(func.max(config.c.id)).where(_own(device_id))).scalar_one()
    if revision is None:
        return False
    conn.execute(update(config).where(_own(device_id)).values(unset_us=now_us))
    follows = desired_revision(conn, device_id)
    then = f"it follows its product's config {follows}" if follows else "its product has none: it keeps what it runs"
    text = f"Config {revision}, {device_id}'s own, was unset; {then}."
    data = {"revision": revision, "device": device_id, "desired": follows}
    about = ("config", str(revision), by.id, by.origin, text, device_id, data)
    event.append(conn, Event(now_us, now_us, "config.unset", *about))
    return True


def check(toml: str) -> None:
    """Check what the fleet can judge of a document, its TOML and its rules; raises Invalid with the key."""
    try:
        read_rules(parse_document(toml))
    except DocumentError as error:
        hint = "Nothing was set. Correct the document and set it again."
        raise Invalid(f"the config cannot be followed: {error}", hint=hint) from error


def find(conn: Connection, revision: int) -> Config:
    """Return one document; raises NotFound."""
    row = conn.execute(select(config).where(config.c.id == revision)).one_or_none()
    if row is None:
        raise NotFound(f"there is no config {revision}", hint="List them with `fleet config list`.")
    return _config(row)


def rows(
    conn: Connection, *, scope: Target | None = None, target: str | None = None, before: int | None = None, limit: int
) -> Sequence[Config]:
    """Return documents, newest first, those below revision `before`."""
    query = select(config).order_by(config.c.id.desc()).limit(limit)
    if scope is not None:
        query = query.where(config.c.scope == scope.value)
    if target is not None:
        query = query.where(config.c.target == target)
    if before is not None:
        query = query.where(config.c.id < before)
    return [_config(row) for row in conn.execute(query)]


def standing(conn: Connection, device_id: str) -> Standing:
    """Return how one device stands to its desired config; raises NotFound."""
    row = conn.execute(_standings().where(device.c.id == device_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no device {device_id}", hint="List them with `fleet device list`.")
    return _standing(row)


def standings(
    conn: Connection,
    *,
    product_id: str | None = None,
    device_ids: Sequence[str] | None = None,
    after: str = "",
    limit: int = 100,
) -> Sequence[Standing]:
    """Return how devices stand to their desired configs, in order of device id, those after `after`."""
    query = _standings().where(device.c.id > after).order_by(device.c.id).limit(limit)
    if product_id is not None:
        query = query.where(device.c.product_id == product_id)
    if device_ids is not None:
        query = query.where(device.c.id.in_(device_ids))
    return [_standing(row) for row in conn.execute(query)]


def concerned(conn: Connection, scope: Target, target: str) -> Sequence[str]:
    """Return the enrolled devices that a newly set document is for; those with one of their own follow no product's."""
    if scope is Target.DEVICE:
        return [target]
    own = select(config.c.id).where(_own(device.c.id))
    query = select(device.c.id).where(
        device.c.product_id == target, device.c.revoked_us.is_(None), device.c.enrolled_us.is_not(None), ~own.exists()
    )
    return list(conn.execute(query).scalars())


def diff(conn: Connection, device_id: str) -> tuple[Standing, str]:
    """Return the device's standing and the unified diff from what it runs to what is desired; "" if they agree.

    The text of a device's local seed is not known here: it reads as empty.
    """
    now = standing(conn, device_id)
    applied = find(conn, now.applied).toml if now.applied else ""
    wanted = find(conn, now.desired).toml if now.desired else ""
    if not now.desired:
        return now, ""
    lines = difflib.unified_diff(
        applied.splitlines(keepends=True),
        wanted.splitlines(keepends=True),
        f"applied {now.applied}" if now.applied else "applied (the device's own seed, not known here)",
        f"desired {now.desired}",
    )
    return now, "".join(line if line.endswith("\n") else line + "\n" for line in lines)


def _own(device_id: object, table: FromClause = config) -> Any:  # noqa: ANN401 - SQLAlchemy's expression
    """Make the expression for the documents of a device's own that hold."""
    return and_(table.c.scope == Target.DEVICE.value, table.c.target == device_id, table.c.unset_us.is_(None))


def desired_id(device_id: object, product_id: object) -> Any:  # noqa: ANN401 - for one device, or each row of a query
    """Make the expression for the desired revision of a device of this product; NULL if none."""
    any_config = config.alias()
    own = select(func.max(any_config.c.id)).where(_own(device_id, any_config))
    of_product = select(func.max(any_config.c.id)).where(
        any_config.c.scope == Target.PRODUCT.value, any_config.c.target == product_id
    )
    return func.coalesce(*(one.correlate(device).scalar_subquery() for one in (own, of_product)))


def _desired_id() -> Any:  # noqa: ANN401 - an expression
    device_id: Any = bindparam("device_id")
    return desired_id(device_id, select(device.c.product_id).where(device.c.id == device_id).scalar_subquery())


_DESIRED_REVISION = select(_desired_id())
_DESIRED_NAME = select(config.c.id, config.c.hash).where(config.c.id == _desired_id())
_DESIRED = select(config).where(config.c.id == _desired_id())


def _standings() -> Select[Any]:
    wanted = func.coalesce(desired_id(device.c.id, device.c.product_id), 0)
    columns = (reported.c.applied, reported.c.handled, reported.c.outcome, reported.c.reason, reported.c.t_us)
    return select(device.c.id, device.c.product_id, wanted.label("desired"), *columns).outerjoin(
        reported, reported.c.device_id == device.c.id
    )


def _standing(row: Row[Any]) -> Standing:
    applied, handled = row.applied or 0, row.handled or 0
    outcome = row.outcome or ""
    state = _state(row.desired, handled, outcome)
    reason = row.reason or ""
    return Standing(row.id, row.product_id, row.desired, applied, handled, outcome, reason, state, row.t_us)


def _is_rejected(conn: Connection, revision: int) -> bool:
    """Tell whether a device has refused the revision or rolled it back."""
    outcomes = (ConfigOutcome.REFUSED.value, ConfigOutcome.ROLLED_BACK.value)
    query = select(reported.c.device_id).where(reported.c.handled == revision, reported.c.outcome.in_(outcomes))
    return conn.execute(query.limit(1)).first() is not None


def _state(wanted: int, handled: int, outcome: str) -> Agreement:
    if not wanted:
        return Agreement.UNSET
    if handled != wanted:
        return Agreement.PENDING
    return _AGREEMENTS.get(outcome, Agreement.IN_SYNC)


_AGREEMENTS: dict[str, Agreement] = {
    ConfigOutcome.TRYING: Agreement.TRYING,
    ConfigOutcome.REFUSED: Agreement.REFUSED,
    ConfigOutcome.ROLLED_BACK: Agreement.ROLLED_BACK,
}


def _check_target(conn: Connection, scope: Target, target: str) -> None:
    table = product if scope is Target.PRODUCT else device
    known = list(conn.execute(select(table.c.id).where(table.c.id == target)).scalars())
    if not known:
        near = difflib.get_close_matches(target, list(conn.execute(select(table.c.id).limit(1000)).scalars()), n=1)
        own = "`fleet device list` shows all devices." if scope is Target.DEVICE else FIRST_OF_PRODUCT
        hint = f"Did you mean {near[0]!r}?" if near else own
        raise NotFound(f"there is no {scope} {target!r}", hint=hint)


def _fleet_rules(toml: str) -> tuple[Rule, ...]:
    return tuple(rule for rule in read_rules(parse_document(toml)) if rule.at is Place.FLEET)


def _config(row: Row[Any]) -> Config:
    facts = (row.target, row.hash, row.toml, row.author, row.created_us, row.unset_us)
    return Config(row.id, Target(row.scope), *facts)
