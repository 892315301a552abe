"""A swarm at the fleet's pace, and what it costs: shared by the benchmarks of many devices."""

from dataclasses import dataclass
from typing import Any

from _swarm import Running, beside, serving

SYNC_EVERY = ("--sync-every", "10")
SPARE_S = 20  # of a run, until all have settled
BROKER = "nats-server"  # all else below the server counts as server and database
CORES, ACK_MS, FLEET_MB, NATS_KB = 0.6, 300.0, 250.0, 100.0  # the limits for 10,000 devices


@dataclass(frozen=True, slots=True)
class Cost:
    """What so many devices cost in the steady state."""

    devices: int
    readings_a_s: float
    cores: dict[str, float]
    rss_mib: dict[str, tuple[float, float]]  # at the begin and at the end of what is counted
    ack_p50_s: float
    ack_p99_s: float
    nats_bytes: float  # a connection
    verdict: dict[str, Any]
    errors: dict[str, int]


def steady(fleet: Running, devices: int, seconds: float, *, show: bool = False) -> Cost:
    """Run ten series each ten seconds of so many devices, a call each ten seconds."""
    report = fleet.swarm(
        *("--mode", "steady", "--devices", str(devices), "--series", "10", "--every", "10s", "--for", f"{seconds}s"),
        *("--road", "link"),
        show=show,
    )
    samples = report["samples"]
    settled_s = report["marks"].get("settled_s", samples[len(samples) // 2]["t_s"])
    counted = [one for one in samples if settled_s <= one["t_s"] <= settled_s + seconds - SPARE_S] or samples[-2:]
    first, last = counted[0], counted[-1]
    took_s = max(last["t_s"] - first["t_s"], 1e-3)
    names = [name for name in last["usage"] if name in first["usage"]]
    after = last["usage"].get("nats-server", {"rss_bytes": 0})["rss_bytes"]
    return Cost(
        devices=devices,
        readings_a_s=(last["readings"] - first["readings"]) / took_s,
        cores={name: (last["usage"][name]["cpu_s"] - first["usage"][name]["cpu_s"]) / took_s for name in names},
        rss_mib={
            name: (first["usage"][name]["rss_bytes"] / 2**20, last["usage"][name]["rss_bytes"] / 2**20)
            for name in names
        },
        ack_p50_s=report["ack_s"]["p50"],
        ack_p99_s=report["ack_s"]["p99"],
        nats_bytes=(after - fleet.idle_broker_bytes) / devices,
        verdict=report["verdict"],
        errors=report["errors"],
    )


def tell(cost: Cost) -> None:
    """Print a cost in lines, beside the limits for 10,000 devices."""
    used = ", ".join(f"{name} {cores:.2f}" for name, cores in cost.cores.items())
    both = sum(cores for name, cores in cost.cores.items() if name != BROKER)
    first_mb, last_mb = (mib * 2**20 / 1e6 for mib in cost.rss_mib.get("fleet", (0.0, 0.0)))
    print(f"  {cost.readings_a_s:,.0f} readings/s acked; cores: {used}")
    print(f"  server and database {beside(both, CORES, 'cores', digits=2)}")
    print(f"  ack p50 {cost.ack_p50_s * 1000:.0f} ms, p99 {beside(cost.ack_p99_s * 1000, ACK_MS, 'ms', digits=0)}")
    print(f"  fleet {first_mb:.0f} -> {beside(last_mb, FLEET_MB, 'MB', digits=0)}")
    print(f"  nats-server {beside(cost.nats_bytes / 1000, NATS_KB, 'KB', digits=0)} a connection")
    print(f"  errors {cost.errors or 'none'}")
    said = "nothing lost, doubled or changed" if cost.verdict["clean"] else f"NOT CLEAN {cost.verdict}"
    print(f"  {cost.verdict['acked']:,} readings held against the ledger: {said}")


__all__ = ["SYNC_EVERY", "Cost", "serving", "steady", "tell"]
