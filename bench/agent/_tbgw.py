"""The peer: thingsboard-gateway, one serial source, SQLite storage, MQTT to a broker on this machine.

It is installed into a venv of its own outside the repository ($BENCH_CACHE, else ~/.cache/fieldline-bench). Its
platform is mosquitto (Debian's: the gateway speaks MQTT 5, which nats-server does not) and `Platform`, which answers
the one question that the gateway asks before it sends (its rate limits: none) and takes down which numbers came. The
peer has every advantage that its settings give: no rate limits, no statistics, logs at WARNING, and the broker in
plain text while ours goes through TLS.
"""

import contextlib
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from firmware_sim.scenarios.stage import Stage, free_ports

VERSION = "3.8.5"
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
DEVICE = "feed"
UNLIMITED = "0:0,"
BROKER, GATEWAY = "peer-broker", "peer"
MAX_PAYLOAD_BYTES = 65_536

BROKER_CONFIG = """
listener {mqtt} 127.0.0.1
allow_anonymous true
max_inflight_messages 1000
max_queued_messages 0
"""
NOWHERE = "http://127.0.0.1:9"  # it asks for updates at its start; nothing of a benchmark leaves the machine


class Unusable(Exception):
    """The peer could not be had or did not run; the message says why."""


def install() -> Path:
    """Return the Python of the peer's venv, made where it is not there yet; raises Unusable."""
    cache = Path(os.environ.get("BENCH_CACHE") or Path.home() / ".cache" / "fieldline-bench")
    folder = cache / f"thingsboard-gateway-{VERSION}-py{PYTHON}"
    python = folder / "bin" / "python"
    ready = folder / ".ready"
    if not ready.exists():
        sys.stdout.write(f"installing thingsboard-gateway {VERSION} into {folder} …\n")
        sys.stdout.flush()
        _do([sys.executable, "-m", "venv", "--clear", str(folder)])
        _do([str(python), "-m", "pip", "install", "--quiet", f"thingsboard-gateway=={VERSION}", "pyserial"])
        ready.touch()
    return python


def _do(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own words
    if done.returncode:
        raise Unusable(f"`{' '.join(command[1:5])}` failed: {done.stderr.strip()[-500:]}")


class Platform:
    """What the gateway takes for ThingsBoard."""

    def __init__(self, port: int) -> None:
        self.numbers: set[int] = set()
        self.received = 0  # readings, doubled ones included
        self._lock = threading.Lock()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="platform")
        self._client.on_connect = self._subscribe
        self._client.on_message = self._take
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _subscribe(self, client: mqtt.Client, *_: object) -> None:
        client.subscribe([("v1/gateway/telemetry", 1), ("v1/devices/me/rpc/request/+", 1)])

    def _take(self, client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage) -> None:
        if message.topic.startswith("v1/devices/me/rpc/request/"):
            limits = {"rateLimits": {}, "maxPayloadSize": MAX_PAYLOAD_BYTES, "maxInflightMessages": 1000}
            client.publish(message.topic.replace("request", "response"), json.dumps(limits))
            return
        with self._lock:
            for entry in json.loads(message.payload).get(DEVICE, ()):
                self.received += 1
                self.numbers.add(int(entry["values"]["n"]))

    def count(self, first: int, after: int) -> int:
        """Return how many of the numbers `first` … `after - 1` came."""
        with self._lock:
            return sum(1 for n in range(first, after) if n in self.numbers)


class Peer:
    """One gateway on a stage."""

    def __init__(self, stage: Stage, python: Path, port: Path) -> None:
        self._stage, self._python = stage, python
        self.folder = stage.folder / "peer"
        self.folder.mkdir()
        (self.mqtt,) = free_ports(1)
        self._configure(port)

    @property
    def pid(self) -> int:
        """Its process."""
        return self._stage.pid(GATEWAY)

    def start_broker(self) -> None:
        """Start the broker and wait until it listens; raises Unusable."""
        program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if program is None:
            raise Unusable("there is no mosquitto on this machine (apt-get install mosquitto)")
        config = self.folder / "broker.conf"
        config.write_text(BROKER_CONFIG.format(mqtt=self.mqtt), encoding="utf-8")
        self._stage.start(BROKER, program, "-c", str(config))
        self._stage.wait_for("the peer's broker listens", self._is_open, most_s=20)

    def _is_open(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.mqtt)) == 0

    def start(self) -> None:
        """Start the gateway."""
        self._stage.environment |= {"TB_GW_CONFIG_DIR": str(self.folder), "HTTPS_PROXY": NOWHERE, "HTTP_PROXY": NOWHERE}
        program = f"import os; os.chdir({str(self.folder)!r}); from thingsboard_gateway.tb_gateway import main; main()"
        self._stage.start(GATEWAY, str(self._python), "-c", program)

    def has_stored(self) -> bool:
        """Tell whether a reading has reached its database."""
        with contextlib.suppress(sqlite3.Error):
            path = self.folder / "data" / "data.db"
            if path.exists():
                with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
                    return bool(connection.execute("SELECT 1 FROM messages LIMIT 1").fetchone())
        return False

    def _configure(self, port: Path) -> None:
        (self.folder / "logs").mkdir()
        (self.folder / "data").mkdir()
        limits = ("rateLimits", "dpRateLimits", "messagesRateLimits", "deviceMessagesRateLimits", "deviceRateLimits")
        gateway = {
            "thingsboard": {
                "host": "127.0.0.1",
                "port": self.mqtt,
                "remoteShell": False,
                "remoteConfiguration": False,
                "statistics": {"enable": False},
                "deviceFiltering": {"enable": False, "filterFile": "list.json"},
                "maxPayloadSizeBytes": MAX_PAYLOAD_BYTES,
                "minPackSendDelayMS": 50,
                "minPackSizeToSend": 500,
                "checkConnectorsConfigurationInSeconds": 60,
                "handleDeviceRenaming": True,
                "security": {"type": "accessToken", "accessToken": "bench"},
                "qos": 1,
                "reportStrategy": {"type": "ON_RECEIVED"},
                **dict.fromkeys((*limits, "deviceDpRateLimits"), UNLIMITED),
            },
            "storage": {
                "type": "sqlite",
                "data_file_path": f"{self.folder}/data/",
                "messages_ttl_check_in_hours": 1,
                "messages_ttl_in_days": 7,
            },
            "grpc": {"enabled": False},
            "connectors": [
                {"type": "serial", "name": "serial", "configuration": "serial.json", "class": "SerialConnector"}
            ],
        }
        source = {
            "name": "serial",
            "id": "4b8f4a5e-0f5b-4b89-9d3f-0b1a5c1d2e3f",
            "logLevel": "WARNING",
            "uplinkQueueSize": 100_000,
            "devices": [
                {
                    "name": DEVICE,
                    "type": "default",
                    "port": str(port),
                    "baudrate": 115_200,
                    "converter": "SerialUplinkConverter",
                    "downlink_converter": "SerialDownlinkConverter",
                    "telemetry": [{"type": "int", "key": "n"}],
                    "attributes": [],
                }
            ],
        }
        logs = {"version": 1, "disable_existing_loggers": False, "root": {"level": "WARNING", "handlers": []}}
        for name, content in (("tb_gateway", gateway), ("serial", source), ("logs", logs), ("list", {})):
            (self.folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
