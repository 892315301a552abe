"""Devices that do not behave: two kinds that measure all the same and have a ledger, and one that only attacks.

    Repeater     says everything twice, and what it said before again
    SlowReader   asks for ever more acks, and reads them much too slowly
    Rogue        has a good certificate and sends what no agent would: noise, bombs, what is too large or lies in the
                 future, in others' names, in no TLS at all, by the byte

What they do must cost nobody else anything: the verdict is about the others, and about the first two as well.
"""

import os
import random
import socket
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from firmware_sim.swarm import http, mqtt, wire
from firmware_sim.swarm.channel import Channel
from firmware_sim.swarm.course import Course
from firmware_sim.swarm.member import Flight, Identity, Member
from firmware_sim.swarm.roads import KEEPALIVE_S

if TYPE_CHECKING:
    from firmware_sim.swarm.crew import Crew

NAG_S = 0.2  # between two repeats of a slow reader
READS_S, RESTS_S = 0.3, 4.0  # how long it reads, and how long it does not
MOST_WAITING_BYTES = 256 * 1024  # that it leaves unsent
ATTACK_S = 2.0  # that one attack lasts
PART_S = 0.4  # between the parts of one
BOMB_BYTES = 64 * 1024 * 1024
DAY_US = 86_400_000_000
NOISE_BYTES = 2000


class Repeater(Member):
    """Says everything twice, and what it said before once more."""

    __slots__ = ("_before",)

    def __init__(self, crew: "Crew", identity: Identity, start_us: int) -> None:
        super().__init__(crew, identity, start_us)
        self._before = b""

    def _send(self, payload: bytes, flight: Flight, *, is_link: bool) -> None:
        super()._send(payload, flight, is_link=is_link)
        if is_link and self.link is not None:
            for again in (payload, self._before):
                if again:
                    self._crew.meter.counts["repeats"] += 1
                    self.link.publish_batch(again)
        self._before = payload


class SlowReader(Member):
    """Asks for ever more acks, and reads them much too slowly, until it has measured all."""

    __slots__ = ("_before", "_reads")

    def __init__(self, crew: "Crew", identity: Identity, start_us: int) -> None:
        super().__init__(crew, identity, start_us)
        self._before = b""
        self._reads = False

    def _link_up(self) -> None:
        super()._link_up()
        self._turn()
        self._nag()

    def _send(self, payload: bytes, flight: Flight, *, is_link: bool) -> None:
        super()._send(payload, flight, is_link=is_link)
        self._before = payload

    def _turn(self) -> None:
        """Read for a moment, or stop."""
        link = self.link
        if link is None:
            return
        self._reads = not self._reads or self.last_row is not None
        link.channel.read(wanted=self._reads)
        loop = self._crew.loop
        loop.at(loop.now + (READS_S if self._reads else RESTS_S), lambda: self._turn() if self.link is link else None)

    def _nag(self) -> None:
        link = self.link
        if link is None or self.last_row is not None:
            return
        if self._before and link.channel.waiting_bytes < MOST_WAITING_BYTES:
            self._crew.meter.counts["repeats"] += 1
            link.publish_batch(self._before)
        loop = self._crew.loop
        loop.at(loop.now + NAG_S, lambda: self._nag() if self.link is link else None)


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack: which port, over TLS or bare, as whom, and what is sent, part by part."""

    name: str
    port: str  # "link" or "gateway"
    parts: Callable[["Rogue"], Sequence[bytes]]
    is_tls: bool = True
    shows: bool = True  # its certificate
    connects: bool = False  # speaks MQTT's CONNECT before


class Rogue:
    """A device with a good certificate that only attacks. `victim` is in whose name it tries to speak."""

    def __init__(self, crew: "Crew", identity: Identity, victim: str) -> None:
        self._crew = crew
        self.identity = identity
        self.victim = victim
        self._rng = random.Random(identity.number)  # noqa: S311 - the same attacks in every run
        self._is_on = False
        self._end: Callable[[], None] = lambda: None  # of the attack under way

    def begin(self) -> None:
        """Attack, one way after the other, until told to stop."""
        self._is_on = True
        self._next(self._rng.randrange(len(ATTACKS)))

    def stop(self) -> None:
        """Begin no more attacks."""
        self._is_on = False

    def close(self) -> None:
        """End the attack under way, if any."""
        self.stop()
        self._end()

    def noise(self, size: int = NOISE_BYTES) -> bytes:
        """Return random bytes."""
        return self._rng.randbytes(size)

    def published(self, leaf: str, payload: bytes, device_id: str = "") -> bytes:
        """Return a PUBLISH below a device's own topics, or another's."""
        return mqtt.publish(mqtt.publish_head(f"fleet/{device_id or self.identity.device_id}/up/{leaf}"), payload)

    def forged(self, ahead_us: int) -> bytes:
        """Return a batch of one row that the fleet would take from a good device, so far in the future."""
        row = Course(2, 1_000_000).row(self.identity.number, self._crew.wall_us() + ahead_us, 1, "forged")
        return wire.batch(
            store_id="forged",
            boot_id="forged",
            lane="telemetry",
            prev_seq=0,
            sent_us=self._crew.wall_us(),
            reported=wire.Reported(),
            rows=[row],
        )

    def _next(self, number: int) -> None:
        if not self._is_on:
            return
        attack = ATTACKS[number % len(ATTACKS)]
        self._crew.meter.counts[f"attack: {attack.name}"] += 1
        if attack.is_tls:
            self._attack(attack)
        else:
            self._attack_bare(attack)
        self._crew.loop.at(self._crew.loop.now + ATTACK_S, lambda: self._next(number + 1))

    def _attack(self, attack: Attack) -> None:
        loop, server = self._crew.loop, self._crew.server
        reader = mqtt.Reader()

        def opened() -> None:
            if attack.connects:
                client = self.victim if attack.name == "another's name" else self.identity.device_id
                topic = f"fleet/{client}/up/will"
                channel.send(mqtt.connect(client, topic, b"x", KEEPALIVE_S))
            else:
                fire()

        def came(data: bytes) -> None:
            with suppress(mqtt.Malformed):
                if attack.connects and any(kind == mqtt.CONNACK for kind, _ in reader.feed(data)):
                    fire()

        def fire() -> None:
            for i, part in enumerate(attack.parts(self)):
                loop.at(loop.now + PART_S * i, lambda part=part: channel.send(part))  # type: ignore[misc] # a default

        channel = Channel(loop, opened, came, lambda _: None)
        address = server.link if attack.port == "link" else server.gateway
        channel.open(address, server.trust, self.identity.path if attack.shows else None)
        self._end = channel.close
        loop.at(loop.now + ATTACK_S, channel.close)

    def _attack_bare(self, attack: Attack) -> None:
        """Connect without TLS."""
        loop, server = self._crew.loop, self._crew.server
        address = server.link if attack.port == "link" else server.gateway
        bare = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET, socket.SOCK_STREAM)
        bare.setblocking(False)  # noqa: FBT003 - the socket's own signature
        bare.connect_ex(address)

        def send(part: bytes) -> None:
            with suppress(OSError):
                bare.send(part)

        for i, part in enumerate(attack.parts(self), 1):
            loop.at(loop.now + PART_S * i, lambda part=part: send(part))  # type: ignore[misc] # a default
        self._end = bare.close
        loop.at(loop.now + ATTACK_S, bare.close)


_PARTIAL = f"POST {wire.SYNC_PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 4000\r\n\r\n".encode()
_HUGE = f"POST {wire.SYNC_PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999\r\n\r\nx".encode()


@cache
def _bomb() -> bytes:
    """Return a small batch that unpacks to far more than any may."""
    return zlib.compress(bytes(BOMB_BYTES), 9, wire.GZIP)


def _sync(body: bytes) -> bytes:
    return http.post("x", wire.SYNC_PATH, wire.CONTENT_TYPE, body)


ATTACKS: tuple[Attack, ...] = (
    Attack("noise as a batch", "link", lambda me: [me.published("batch", me.noise())], connects=True),
    Attack("no batch", "link", lambda me: [me.published("batch", zlib.compress(b'{"a":1}', 1, 31))], connects=True),
    Attack("bomb", "link", lambda me: [me.published("batch", _bomb())] * 3, connects=True),
    Attack("too large", "link", lambda me: [me.published("batch", os.urandom(1_500_000))], connects=True),
    Attack("the future", "link", lambda me: [me.published("batch", me.forged(2 * DAY_US))], connects=True),
    Attack("others' topics", "link", lambda me: [me.published("batch", me.forged(0), me.victim)], connects=True),
    Attack("listening to all", "link", lambda _: list(map(mqtt.subscribe, ("#", "fleet/+/down/#"))), connects=True),
    Attack("another's name", "link", lambda me: [me.published("batch", me.forged(0), me.victim)], connects=True),
    Attack(
        "noise as birth",
        "link",
        lambda me: [me.published("birth", me.noise()), me.published("will", b"{}")],
        connects=True,
    ),
    Attack("noise as live", "link", lambda me: [me.published("live", me.noise())] * 3, connects=True),
    Attack("noise in MQTT", "link", lambda me: [me.noise()] * 3, connects=True),
    Attack("silence in TLS", "link", lambda _: []),
    Attack("noise to the gateway", "gateway", lambda me: [_sync(me.noise())]),
    Attack("bomb to the gateway", "gateway", lambda _: [_sync(_bomb())]),
    Attack("a body without end", "gateway", lambda _: [_HUGE] + [bytes(1000)] * 3),
    Attack("by the byte", "gateway", lambda _: [_PARTIAL, b"x", b"x", b"x"]),
    Attack("no certificate", "gateway", lambda me: [_sync(me.forged(0))], shows=False),
    Attack("noise in HTTP", "gateway", lambda me: [me.noise()]),
    Attack("noise for TLS", "link", lambda me: [me.noise()] * 2, is_tls=False),
    Attack("noise for the gateway's TLS", "gateway", lambda me: [me.noise()] * 2, is_tls=False),
    Attack("silence", "link", lambda _: [], is_tls=False),
)
