"""The status of an agent that does not run, from what it left behind."""

from agent import __version__
from agent.adapters.clock import SystemClock
from agent.adapters.peek import peek
from agent.adapters.standing import load_local, load_standing, local_status
from agent.core.local import without_password
from agent.core.status import VERSION, BufferStatus, ClockStatus, LatestStatus, Status, SyncStatus, certificate, iso
from agent.settings import StateDir, load_identity
from agent.wire.units import US_PER_S


def read_offline(state: StateDir, clock: SystemClock) -> Status:
    """Read identity, buffer and config standing; raises Misconfigured or Damaged. Changes no file."""
    identity = load_identity(state)
    peeked = peek(state.buffer)
    now = clock.now_us()
    standing = load_standing(state.config)
    local, problem = load_local(state.local)
    age_s = max(0.0, (now - peeked.oldest_us) / US_PER_S) if peeked.oldest_us else 0.0
    return Status(
        version=VERSION,
        running=False,
        device=identity.device_id,
        agent_version=__version__,
        pid=0,
        t_us=now,
        t=iso(now),
        uptime_s=0,
        rss_bytes=0,
        clock=ClockStatus(clock.state(), None),
        sources=(),
        latest=tuple(LatestStatus(it.name, it.unit, it.t_us, iso(it.t_us), it.v) for it in peeked.newest),
        buffer=BufferStatus(
            peeked.rows, peeked.bytes, peeked.readings, peeked.oldest_us, iso(peeked.oldest_us), round(age_s, 3), ""
        ),
        sync=SyncStatus(f"{identity.host}:{identity.gateway_port}", "none", 0, None, "", without_password(local.proxy)),
        config=standing.reported(),
        certificate=certificate(identity.cert_expires_us, now, identity.key),
        local=local_status(local, problem, standing.next_start().toml),
    )
