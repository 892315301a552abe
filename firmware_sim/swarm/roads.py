"""The two roads of one device, the link (MQTT over mTLS) and the gateway (HTTPS with mTLS), as callbacks."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from firmware_sim.swarm import http, mqtt, wire
from firmware_sim.swarm.channel import Channel, Trust
from firmware_sim.swarm.loop import Loop

KEEPALIVE_S = 60
GATEWAY_CONNECT_S = 10.0  # that an agent waits for a connection to the gateway
ACCEPTED = b"\x00\x00"  # CONNACK: no session, return code 0


@dataclass(frozen=True, slots=True)
class Server:
    """Where the roads begin: addresses of numbers, what to believe, and the name for the Host line."""

    host: str
    link: tuple[str, int]
    gateway: tuple[str, int]
    trust: Trust


class Link:
    """One connection to the broker; `on_up`, `on_heard(leaf, payload)`, `on_down(why)`."""

    __slots__ = ("_batch_head", "_birth", "_device_id", "_reader", "_will", "channel", "is_up", "on_down", "on_heard",
                 "on_up", "was_up")  # fmt: skip

    def __init__(  # noqa: PLR0913 - who, what it says first and last, and whom to tell
        self,
        loop: Loop,
        device_id: str,
        *,
        birth: bytes,
        will: bytes,
        on_up: Callable[[], None],
        on_heard: Callable[[str, bytes], None],
        on_down: Callable[[str], None],
    ) -> None:
        self._device_id, self._birth, self._will = device_id, birth, will
        self.on_up, self.on_heard, self.on_down = on_up, on_heard, on_down
        self._reader = mqtt.Reader()
        self._batch_head = mqtt.publish_head(f"fleet/{device_id}/up/batch")
        self.is_up = self.was_up = False  # was_up stays: a link that is lost was counted
        self.channel = Channel(loop, self._opened, self._came, self._lost)

    def open(self, server: Server, identity: Path) -> None:
        """Connect, subscribe, say who is there."""
        self.channel.open(server.link, server.trust, identity)

    def publish_batch(self, payload: bytes) -> None:
        """Send a batch."""
        self.channel.send(mqtt.publish(self._batch_head, payload))

    def ping(self) -> None:
        """Keep a quiet connection alive."""
        self.channel.send(mqtt.PINGREQ)

    def close(self, *, abruptly: bool = False) -> None:
        """End it; without `abruptly` with a DISCONNECT, so that the will is not published."""
        if self.is_up and not abruptly:
            self.channel.send(mqtt.DISCONNECT)
        self.is_up = False
        self.channel.close(abruptly=abruptly)

    def _opened(self) -> None:
        will_topic = f"fleet/{self._device_id}/up/will"
        self.channel.send(mqtt.connect(self._device_id, will_topic, self._will, KEEPALIVE_S))

    def _came(self, data: bytes) -> None:
        try:
            for kind, body in self._reader.feed(data):
                self._take(kind, body)
        except mqtt.Malformed as error:
            self.channel.close()
            self._lost(f"mqtt: {error}")

    def _take(self, kind: int, body: bytes) -> None:
        if kind == mqtt.PUBLISH:
            topic, payload = mqtt.published(body)
            self.on_heard(topic.rpartition("/")[2], payload)
        elif kind == mqtt.CONNACK:
            if body != ACCEPTED:
                self.channel.close()
                self._lost(f"refused by the broker ({body[1:].hex()})")
                return
            self.channel.send(mqtt.subscribe(f"fleet/{self._device_id}/down/#"))
        elif kind == mqtt.SUBACK:
            self.is_up = self.was_up = True
            head = mqtt.publish_head(f"fleet/{self._device_id}/up/birth")
            self.channel.send(mqtt.publish(head, self._birth))
            self.on_up()

    def _lost(self, why: str) -> None:
        self.is_up = False
        self.on_down(why)


class Gateway:
    """Calls to the gateway, one at a time, on a connection that is kept as long as the server keeps it."""

    __slots__ = ("_channel", "_fresh", "_identity", "_loop", "_reader", "_request", "_server", "on_answer", "on_failed")

    def __init__(
        self,
        loop: Loop,
        server: Server,
        identity: Path,
        on_answer: Callable[[http.Answer], None],
        on_failed: Callable[[str], None],
    ) -> None:
        self._loop, self._server, self._identity = loop, server, identity
        self.on_answer, self.on_failed = on_answer, on_failed
        self._channel: Channel | None = None
        self._reader = http.Reader()
        self._request = b""
        self._fresh = True

    def post(self, payload: bytes) -> None:
        """Send one batch; `on_answer` or `on_failed` follows."""
        self._request = http.post(self._server.host, wire.SYNC_PATH, wire.CONTENT_TYPE, payload)
        if self._channel is None:
            self._connect()
        else:
            self._fresh = False
            self._channel.send(self._request)

    def close(self, *, abruptly: bool = False) -> None:
        """End the connection; a call under way is forgotten."""
        self._request = b""
        if self._channel is not None:
            self._channel.close(abruptly=abruptly)
            self._channel = None

    def expire(self, now: float) -> None:
        """Give up a connection that does not come up."""
        if self._channel is not None:
            self._channel.expire(now)

    def _connect(self) -> None:
        self._fresh = True
        self._reader = http.Reader()
        self._channel = Channel(self._loop, lambda: None, self._came, self._lost)
        self._channel.open(self._server.gateway, self._server.trust, self._identity, GATEWAY_CONNECT_S)
        self._channel.send(self._request)

    def _came(self, data: bytes) -> None:
        try:
            answers = self._reader.feed(data)
        except http.Malformed as error:
            self._lost(f"http: {error}")
            return
        for answer in answers:
            self._request = b""
            if answer.closes:
                self.close()
            self.on_answer(answer)

    def _lost(self, why: str) -> None:
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if not self._request:
            return  # it was idle: the server let it go
        if not self._fresh:
            self._connect()  # it was let go as we called: once more, on a new one
            return
        self._request = b""
        self.on_failed(why)
