"""The fleet's root, one for all that use a database: found, made, or taken over when a server starts.

The database names the root that its devices trust, so a server that came with another one says so at its start and not
at each device's door. A server alone keeps the root's key in its data directory; nodes keep it in the database, sealed
with the cluster key, and each has it in memory only. Who starts first makes it, and the others wait for that. A server
that becomes the first node brings the root that it has.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection

from fleet.clock import now_us
from fleet.errors import Misconfigured
from fleet.gateway import ca
from fleet.gateway.ca import Authority
from fleet.gateway.cluster import ClusterKey
from fleet.store import authority
from fleet.store.database import Database


async def open_authority(db: Database, folder: Path, key: ClusterKey | None) -> Authority:
    """Return the fleet's root; raises Misconfigured where it is another one, or its key is not to be had."""
    if key is None:
        return await db.write(_alone(ca.load_authority(folder, datetime.now(UTC))))
    own = ca.load_authority(folder, datetime.now(UTC)) if (folder / ca.CA_KEY_FILE).exists() else None
    shared = await db.write(_sharing(folder, own, key))
    shared.publish()
    return shared


def _alone(own: Authority) -> Callable[[Connection], Authority]:
    def work(conn: Connection) -> Authority:
        kept = authority.find(conn)
        if kept is None:
            authority.keep(conn, own.fingerprint.hex(), own.pem, None, now_us=now_us())
        elif kept.sealed_key is not None:
            raise Misconfigured(
                "this database is shared by several nodes, which have one root", hint="Give --cluster-key as they do."
            )
        else:
            _check(kept.fingerprint, own)
        return own

    return work


def _sharing(folder: Path, own: Authority | None, key: ClusterKey) -> Callable[[Connection], Authority]:
    def work(conn: Connection) -> Authority:
        kept = authority.find(conn)
        if kept is not None and kept.sealed_key is not None:
            if own is not None:
                _check(kept.fingerprint, own)
            private = key.open(kept.sealed_key, bytes.fromhex(kept.fingerprint))
            return ca.unseal(folder, kept.certificate, private)
        if kept is not None and own is None:
            raise Misconfigured(
                "the root of this database lies with the server that used it alone so far",
                hint=f"Start that one first with --cluster-key, or copy {ca.CA_FILE} and {ca.CA_KEY_FILE} to {folder}.",
            )
        root = own or ca.make_authority(folder, datetime.now(UTC))
        if kept is not None:
            _check(kept.fingerprint, root)
        sealed = key.seal(root.key_der, root.fingerprint)
        authority.keep(conn, root.fingerprint.hex(), root.pem, sealed, now_us=now_us())
        return root

    return work


def _check(fingerprint: str, own: Authority) -> None:
    if own.fingerprint.hex() != fingerprint:
        raise Misconfigured(
            f"the devices of this database trust another root than the one in {own.folder}",
            hint=f"Restore {ca.CA_FILE} and {ca.CA_KEY_FILE} that belong to the database, or use its own database.",
        )
