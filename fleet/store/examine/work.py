"""Periodic work and what waits for a person: leases, sealing, quarantine."""

from sqlalchemy import Connection, func, select

from agent.wire.units import US_PER_S
from fleet.core.finding import Finding, fail, warn
from fleet.core.partition import SPLITS
from fleet.store import partition
from fleet.store.examine.check import Ask, Check, Part
from fleet.store.schema import batch, lease, quarantine

SLACK_US = 60 * US_PER_S  # clocks of nodes that differ, a turn that takes its time
LONGEST_US = 3600 * US_PER_S  # no lease is taken for longer
BEHIND_US = 6 * 3600 * US_PER_S  # batches that came before that should be sealed
MAX_TOLD = 5  # devices that are named

CLOCKS = "Compare the clocks of all nodes (timedatectl). It ends by itself when that time has come."
RESTART = "Read the server's log for `job failed`; restart it if it says nothing."


def leases(conn: Connection, ask: Ask, _after: str) -> Part:
    """Look whether every job is done by somebody, and by nobody for ever."""
    held = {row.name: row for row in conn.execute(select(lease))}
    found: list[Finding] = []
    for name, row in held.items():
        if row.until_us > ask.now_us + LONGEST_US:
            ahead_s = (row.until_us - ask.now_us) // US_PER_S
            said = f"The job {name} is held by {row.holder} for {ahead_s} s more, which no job takes: nobody does it."
            found.append(fail("jobs", said, CLOCKS))
        elif row.until_us < ask.now_us - SLACK_US:
            late_s = (ask.now_us - row.until_us) // US_PER_S
            said = f"The job {name} was held by {row.holder} until {late_s} s ago, and nobody has taken it since."
            found.append(fail("jobs", said, RESTART))
    again = f"Ask again in a minute. {RESTART}"
    found += [warn("jobs", f"Nobody does the job {name} yet.", again) for name in ask.jobs if name not in held]
    return Part(len(held), found)


def sealing(conn: Connection, ask: Ask, _after: str) -> Part:
    """Look whether batches wait to be sealed for longer than they should."""
    late = (batch.c.received_us < ask.now_us - BEHIND_US) & (batch.c.to_us < ask.now_us - BEHIND_US)
    rows = conn.execute(select(batch.c.device_id, func.count()).where(late).group_by(batch.c.device_id)).all()
    found = []
    if rows:
        names = ", ".join(row[0] for row in rows[:MAX_TOLD])
        hours = BEHIND_US // US_PER_S // 3600
        said = f"Batches of {len(rows)} devices wait to be sealed for more than {hours} h: {names}"
        do = "They can be read. Look in the server's log for a chunk that is damaged; a server that was off catches up."
        found.append(warn("sealing", f"{said}{' and others' * (len(rows) > MAX_TOLD)}.", do))
    waiting = conn.execute(select(func.count()).select_from(batch)).scalar_one()
    return Part(waiting, found)


def set_aside(conn: Connection, _ask: Ask, _after: str) -> Part:
    """Look whether batches lie in quarantine."""
    here = func.length(quarantine.c.body) > 0
    figures = select(func.count(), func.count(quarantine.c.device_id.distinct()), func.min(quarantine.c.device_id))
    count, devices, first = conn.execute(figures.where(here)).one()
    found = []
    if count:
        whose = first if devices == 1 else f"{devices} devices, {first} among them"
        said = f"{count} batches of {whose} could not be read and wait in quarantine."
        do = "`fleet quarantine list` says why; replay what a newer release can read, discard what nobody needs."
        found.append(warn("quarantine", said, do, first if devices == 1 else None))
    return Part(count, found)


def parts(conn: Connection, ask: Ask, _after: str) -> Part:
    """Look whether the parts of tables that the coming days need are there, on PostgreSQL."""
    known = partition.parts(conn)
    found = []
    for kept, some in known.items():
        split = SPLITS[kept]
        if not any(part.from_us <= ask.now_us + split.period_us < part.to_us for part in some):
            said = f"The table {split.table} has no part for the time to come: what comes then goes to {split.rest}."
            do = "Nothing is lost. The job `partition` makes parts every ten minutes; the server's log says why not."
            found.append(warn("parts", said, do))
    return Part(sum(len(some) for some in known.values()), found)


LEASES = Check("jobs", "{} jobs are done, each by one node.", leases)
SEALING = Check("sealing", "{} batches wait to be sealed, none for long.", sealing)
PARTS = Check("parts", "{} parts of tables by time, made ahead; PostgreSQL alone has some.", parts)
QUARANTINE = Check("quarantine", "Nothing waits in quarantine.", set_aside)
