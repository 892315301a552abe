"""One fleet of several nodes on loopback: PostgreSQL, haproxy as its configuration is shipped, and `fleet serve`.

It plays for people (`make cluster`), or unattended under a swarm: nodes, brokers, and the database are killed in turn,
and after each it is measured how long it takes until every device was heard again. In the end the swarm holds what the
fleet has against what it was acked.
"""

import base64
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firmware_sim.scenarios.postgres import Postgres
from firmware_sim.scenarios.public import Fleet
from firmware_sim.scenarios.stage import BIN, Stage, StageError, free_ports

Say = Callable[[str], None]

HAPROXY_CFG = Path(__file__).parents[2] / "docs" / "operate" / "cluster" / "haproxy.cfg"
PORTS = {"8883": "link", "8443": "gateway", "8080": "api"}  # as the shipped configuration names them
START_S = 60.0
RESUMED_S = 60.0  # that is waited for devices to be back, however long they should take
LIMIT_S = 10.0  # that they should take at most
JOBS_S = 40.0  # in which the jobs of a node that died are done elsewhere
SYNC_EVERY_S = 1.0
MODES = ("node", "broker", "database")
US = 1_000_000
LOOK_S = 0.1
MAX_CONNECTIONS = 4000  # of the balancer: this many twice in files


@dataclass(frozen=True, slots=True)
class Node:
    """One server: where it listens, which its balancer knows."""

    name: str
    api: int
    gateway: int
    link: int
    cluster: int


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that was killed, and how long it took until all devices were heard again; None: they were not."""

    what: str
    resumed_s: float | None


class Cluster:
    """All of it on a stage."""

    def __init__(self, stage: Stage, nodes: int) -> None:
        self.stage = stage
        ports = list(free_ports(4 * nodes + 3))
        self.api, self.gateway, self.link = (ports.pop() for _ in range(3))
        self.nodes = [Node(f"node{n + 1}", *(ports.pop() for _ in range(4))) for n in range(nodes)]
        self.url = f"http://127.0.0.1:{self.api}"
        self.postgres = Postgres(stage.folder / "postgres")
        key = stage.folder / "cluster.key"
        key.touch(mode=0o600)
        key.write_text(base64.b64encode(secrets.token_bytes(32)).decode() + "\n")
        self._key = key

    def start(self) -> None:
        """Start everything; returns when the balancer passes calls on to all nodes."""
        self.postgres.start()
        self.stage.wait_for("PostgreSQL is ready", self.postgres.is_ready, most_s=START_S)
        for node in self.nodes:
            self.start_node(node)
        for node in self.nodes:
            self.wait_until_up(node)
        self._start_balancer()
        self.stage.environment |= {"FLEET_URL": self.url, "FLEET_TOKEN": self.token}
        with Fleet(self.url, self.token) as fleet:
            self.stage.wait_for("all nodes are there", lambda: self._all_up(fleet), most_s=START_S)

    def close(self) -> None:
        """End everything, the database last."""
        for name in ("haproxy", *(node.name for node in self.nodes)):
            self.stage.stop(name)
        self.postgres.stop()

    @property
    def token(self) -> str:
        """The admin's token, which the node has that was first."""
        found = [self._data(node) / "admin.token" for node in self.nodes]
        return next(path for path in found if path.exists()).read_text().strip()

    def start_node(self, node: Node) -> None:
        """Start one node, for the first time or again."""
        self.stage.start(
            node.name,
            *("fleet", "serve", "--data", str(self._data(node)), "--database", self.postgres.url),
            *("--name", "127.0.0.1", "--sync-every", f"{SYNC_EVERY_S:g}"),
            *("--cluster-key", str(self._key), "--cluster-host", "127.0.0.1", "--cluster-port", str(node.cluster)),
            *("--api-port", str(node.api), "--gateway-port", str(node.gateway), "--link-port", str(node.link)),
            *("--public-gateway-port", str(self.gateway), "--public-link-port", str(self.link)),
        )

    def wait_until_up(self, node: Node) -> None:
        """Wait until one node answers."""
        with Fleet(f"http://127.0.0.1:{node.api}", "") as fleet:
            self.stage.wait_for(f"{node.name} answers", fleet.healthy, most_s=START_S)

    def broker(self, node: Node) -> int:
        """Return the process id of a node's nats-server."""
        for pid in self.stage.family(node.name):
            if Path(f"/proc/{pid}/comm").read_text().strip() == "nats-server":
                return pid
        raise StageError(f"{node.name} has no nats-server")

    def _data(self, node: Node) -> Path:
        return self.stage.folder / node.name

    def _all_up(self, fleet: Fleet) -> bool:
        return sum(1 for one in fleet.items("/api/v1/nodes") if one["up"]) == len(self.nodes)

    def _start_balancer(self) -> None:
        path = self.stage.folder / "haproxy.cfg"
        path.write_text(self._configuration())
        self.stage.start("haproxy", _haproxy(), "-db", "-f", str(path))

    def _configuration(self) -> str:
        """Return the shipped configuration with the addresses and ports of this stage."""
        if not HAPROXY_CFG.exists():
            raise StageError(f"{HAPROXY_CFG} is not here; play it from a checkout of Fieldline")
        fronts = {"8883": self.link, "8443": self.gateway, "443": self.api}
        by_name = {node.name: node for node in self.nodes}
        lines = []
        for line in HAPROXY_CFG.read_text().splitlines():
            if found := re.fullmatch(r"    server (node\d) [0-9.]+:(\d+) check( port 8080)?", line):
                node = by_name.get(found[1])
                if node is not None:
                    lines.append(
                        f"    server {node.name} 127.0.0.1:{getattr(node, PORTS[found[2]])} check port {node.api}"
                    )
            elif found := re.match(r"    bind :(\d+)", line):
                lines.append(f"    bind 127.0.0.1:{fronts[found[1]]}")
            elif line.startswith("    maxconn"):
                lines.append(f"    maxconn {MAX_CONNECTIONS}")
            elif not line.startswith("    log /dev/log"):
                lines.append(line)
        return "\n".join(lines) + "\n"


class Trial:
    """A cluster under a swarm, and what is done to it."""

    def __init__(self, cluster: Cluster, fleet: Fleet, devices: int, say: Say) -> None:
        self._fleet = fleet
        self._cluster = cluster
        self._stage = cluster.stage
        self._devices = devices
        self._say = say
        self.faults: list[Fault] = []
        self.held_twice = 0  # jobs that two nodes were seen to do at once

    def play(self, rounds: int) -> dict[str, Any]:
        """Kill each kind in turn, `rounds` times, under load; returns the verdict."""
        turns = [(kind, n) for n in range(rounds) for kind in MODES]
        with self._swarm() as swarm:
            self._say(f"{self._devices} devices call each second, over the balancer.")
            self._stage.wait_for("all devices call", lambda: self._heard_since(0) == self._devices, most_s=START_S)
            for kind, n in turns:
                self._strike(kind, self._cluster.nodes[n % len(self._cluster.nodes)])
            swarm.send_signal(signal.SIGINT)
            report = json.loads(swarm.communicate(timeout=RESUMED_S)[0])
        return self._verdict(report)

    def _verdict(self, report: dict[str, Any]) -> dict[str, Any]:
        verdict = report["verdict"]
        times = [fault.resumed_s for fault in self.faults]
        has_links = report["counts"].get("links opened", 0) > self._devices
        resumed = all(took is not None and took <= LIMIT_S for took in times)
        return {
            "nodes": len(self._cluster.nodes),
            "devices": self._devices,
            "faults": [{"what": fault.what, "resumed_s": fault.resumed_s} for fault in self.faults],
            "slowest_s": max((took for took in times if took is not None), default=None),
            "links_opened": report["counts"].get("links opened", 0),
            "acked": verdict["acked"],
            "lost": verdict["lost"],
            "doubled": verdict["doubled"],
            "changed": verdict["changed"],
            "jobs_held_twice": self.held_twice,
            "ok": bool(verdict["clean"]) and resumed and not self.held_twice and has_links,
        }

    @contextmanager
    def _swarm(self) -> Iterator["subprocess.Popen[str]"]:
        words = ("--devices", str(self._devices), "--series", "5", "--every", "1s", "--for", "1h", "--json")
        place = ("--url", self._cluster.url, "--state", str(self._stage.folder / "swarm"))
        with self._stage.log("swarm").open("ab") as log:
            swarm = subprocess.Popen(  # noqa: S603 - our own program
                [str(BIN / "firmware-sim"), "swarm", *words, *place],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self._stage.environment,
            )
        try:
            yield swarm
        finally:
            swarm.kill()
            swarm.communicate()

    def _strike(self, kind: str, node: Node) -> None:
        struck_us = time.time_ns() // 1000
        if kind == "node":
            what = f"{node.name} and its broker"
            self._stage.send(node.name, signal.SIGKILL)
        elif kind == "broker":
            what = f"the nats-server of {node.name}"
            os.kill(self._cluster.broker(node), signal.SIGKILL)
        else:
            what = "PostgreSQL"
            self._cluster.postgres.kill()
            struck_us = time.time_ns() // 1000
            self._cluster.postgres.start()
        took_s = self._resumed(struck_us)
        self.faults.append(Fault(what, took_s))
        said = "they did not come back" if took_s is None else f"every device was heard again after {took_s:.1f} s"
        self._say(f"{what} was killed: {said}.")
        if kind == "node":
            self._stage.wait_for("its jobs are done elsewhere", lambda: self._jobs_are_done(but=node), most_s=JOBS_S)
            self._say("Its jobs are done by the others; it is started again.")
            self._cluster.start_node(node)
            self._cluster.wait_until_up(node)

    def _resumed(self, since_us: int) -> float | None:
        """Wait until every device was heard after a moment; returns how long after it the last one was."""
        until = time.monotonic() + RESUMED_S
        while time.monotonic() < until:
            if self._heard_since(since_us) == self._devices:
                return (time.time_ns() // 1000 - since_us) / US
            time.sleep(LOOK_S)
        return None

    def _heard_since(self, since_us: int) -> int:
        """Return how many devices were heard after a moment."""
        self._look_at_jobs()
        devices = self._fleet.items("/api/v1/devices", limit=1000)
        return sum(1 for one in devices if (one.get("last_seen_us") or 0) > since_us)

    def _look_at_jobs(self) -> None:
        held = [job for node in self._fleet.items("/api/v1/nodes") for job in node["jobs"]]
        self.held_twice += len(held) - len(set(held))

    def _jobs_are_done(self, *, but: Node) -> bool:
        nodes = self._fleet.items("/api/v1/nodes")
        gone = f":{but.cluster}"
        held = [job for node in nodes if not node["address"].endswith(gone) for job in node["jobs"]]
        return len(nodes) > 0 and {"presence", "verification", "rules", "sealing"} <= set(held)


def invitation(cluster: Cluster) -> str:
    """Return the addresses, and five commands to try."""
    nodes = "\n".join(
        f"  {one.name}: http://127.0.0.1:{one.api} · pid {cluster.stage.pid(one.name)}" for one in cluster.nodes
    )
    devices = f"firmware-sim swarm --devices 200 --every 1s --for 10m --state {cluster.stage.folder / 'devices'}"
    return f"""
Console: {cluster.url}   token: {cluster.token}
Devices: gateway 127.0.0.1:{cluster.gateway} · link 127.0.0.1:{cluster.link}, both through haproxy
{nodes}

Try, in another terminal:
  export PATH={BIN}:$PATH FLEET_URL={cluster.url} FLEET_TOKEN={cluster.token}
  fleet node list
  {devices}
  fleet watch
  kill -9 {cluster.stage.pid(cluster.nodes[0].name)}
  fleet doctor

Ctrl-C stops everything and leaves nothing behind.
"""


def _haproxy() -> str:
    found = shutil.which("haproxy", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise StageError("haproxy is not installed: sudo apt-get install --no-install-recommends haproxy")
    return found


def run(*, nodes: int, devices: int, rounds: int, check: bool, say: Say) -> int:
    """Start a cluster and keep it until Ctrl-C, or try it; returns the exit status. A trial's last line is JSON."""
    began = time.monotonic()

    def tell(text: str) -> None:
        say(f"[{time.monotonic() - began:5.1f} s] {text}")

    with Stage() as stage, ExitStack() as stack:
        try:
            tell(f"PostgreSQL, haproxy and {nodes} nodes start, each with its nats-server.")
            cluster = Cluster(stage, nodes)
            stack.callback(cluster.close)
            cluster.start()
            if check:
                with Fleet(cluster.url, cluster.token) as fleet:
                    verdict = Trial(cluster, fleet, devices, tell).play(rounds)
                say(json.dumps({**verdict, "seconds": round(time.monotonic() - began, 1)}))
                return 0 if verdict["ok"] else 1
            say(invitation(cluster))
            signal.pause()
        except KeyboardInterrupt:
            say("\nStopping.")
        except StageError as error:
            tell(f"The cluster stopped: {error}")
            if check:
                say(json.dumps({"ok": False, "problem": str(error)}))
            return 1
    return 0
