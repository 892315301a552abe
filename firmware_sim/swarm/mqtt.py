"""MQTT 3.1.1 (OASIS, 2014-10-29), as much as a device needs: bytes out, packets in, no socket."""

CONNACK, PUBLISH, SUBACK, PINGRESP = 2, 3, 9, 13
PINGREQ = b"\xc0\x00"
DISCONNECT = b"\xe0\x00"
MAX_PACKET_BYTES = 4 * 1024 * 1024
_CLEAN, _WILL = 0x02, 0x04
_LENGTH_BYTES = 4

Packet = tuple[int, bytes]
"""Type (section 2.2.1) and body."""


class Malformed(ValueError):
    """The peer does not speak MQTT 3.1.1."""


def connect(client_id: str, will_topic: str, will: bytes, keepalive_s: int) -> bytes:
    """Return CONNECT with a clean session and a will of QoS 0 (section 3.1)."""
    head = b"\x00\x04MQTT\x04" + bytes((_CLEAN | _WILL,)) + keepalive_s.to_bytes(2, "big")
    return _packet(0x10, head + _string(client_id) + _string(will_topic) + len(will).to_bytes(2, "big") + will)


def subscribe(topic_filter: str) -> bytes:
    """Return SUBSCRIBE to one filter at QoS 0 (section 3.8)."""
    return _packet(0x82, b"\x00\x01" + _string(topic_filter) + b"\x00")


def publish_head(topic: str) -> bytes:
    """Return the variable header of a PUBLISH of QoS 0: what `publish` takes, made once a topic."""
    return _string(topic)


def publish(head: bytes, payload: bytes) -> bytes:
    """Return PUBLISH of QoS 0 (section 3.3)."""
    return b"\x30" + _length(len(head) + len(payload)) + head + payload


class Reader:
    """Cuts a stream into packets."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> list[Packet]:
        """Take bytes in; returns the packets that are whole. Raises Malformed."""
        buffer = self._buffer + data if self._buffer else data
        packets: list[Packet] = []
        start = 0
        while len(buffer) - start >= 2:  # noqa: PLR2004 - the smallest packet
            length = shift = 0
            at = start + 1
            while at < len(buffer):
                byte = buffer[at]
                length |= (byte & 127) << shift
                at += 1
                shift += 7
                if byte < 128:  # noqa: PLR2004 - no continuation bit
                    break
                if shift == 7 * _LENGTH_BYTES:
                    raise Malformed("a remaining length of more than four bytes")
            else:
                break
            if length > MAX_PACKET_BYTES:
                raise Malformed(f"a packet of {length} bytes")
            if at + length > len(buffer):
                break
            packets.append((buffer[start] >> 4, buffer[at : at + length]))
            start = at + length
        self._buffer = buffer[start:]
        return packets


def published(body: bytes) -> tuple[str, bytes]:
    """Return topic and payload of a PUBLISH of QoS 0; raises Malformed."""
    end = 2 + int.from_bytes(body[:2], "big")
    if end > len(body):
        raise Malformed("a topic that is longer than its packet")
    return body[2:end].decode(errors="replace"), body[end:]


def _packet(first: int, body: bytes) -> bytes:
    return bytes((first,)) + _length(len(body)) + body


def _length(size: int) -> bytes:
    """Encode a remaining length (section 2.2.3)."""
    out = bytearray()
    while size > 127:  # noqa: PLR2004 - seven bits a byte
        out.append(size & 127 | 128)
        size >>= 7
    out.append(size)
    return bytes(out)


def _string(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2, "big") + data
