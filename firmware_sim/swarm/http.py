"""HTTP/1.1 (RFC 9112) as much as a device's sync needs: a request out, answers in, no socket."""

from dataclasses import dataclass

MAX_HEAD_BYTES = 16 * 1024
MAX_BODY_BYTES = 4 * 1024 * 1024


class Malformed(ValueError):
    """The peer does not speak the HTTP/1.1 that is expected here."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `retry_after_s` is 0 where none was asked for; `closes` tells that the peer hangs up after it."""

    status: int
    body: bytes
    retry_after_s: float
    closes: bool


def post(host: str, path: str, content_type: str, body: bytes, extra: str = "") -> bytes:
    """Return a POST; `extra` is header lines, each with its line end."""
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: {content_type}\r\n{extra}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def get(host: str, path: str) -> bytes:
    """Return a GET."""
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


class Reader:
    """Cuts a stream into answers. Bodies are of a told length, as the gateway's are."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> list[Answer]:
        """Take bytes in; returns the answers that are whole. Raises Malformed."""
        self._buffer += data
        answers: list[Answer] = []
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            status, fields = _head(self._buffer[:end])
            told = fields.get("content-length", "0")
            if not told.isdecimal() or int(told) > MAX_BODY_BYTES or "transfer-encoding" in fields:
                raise Malformed("an answer without a plain length")
            last = end + 4 + int(told)
            if len(self._buffer) < last:
                return answers
            body, self._buffer = self._buffer[end + 4 : last], self._buffer[last:]
            wait = fields.get("retry-after", "")
            closes = fields.get("connection", "").lower() == "close"
            answers.append(Answer(status, body, float(wait) if wait.isdecimal() else 0.0, closes))
        if len(self._buffer) > MAX_HEAD_BYTES:
            raise Malformed("a head that does not end")
        return answers


def _head(data: bytes) -> tuple[int, dict[str, str]]:
    first, *lines = data.decode("latin-1").split("\r\n")
    parts = first.split(" ", 2)
    if len(parts) < 2 or not parts[0].startswith("HTTP/1.") or not parts[1].isdecimal():  # noqa: PLR2004 - version, status
        raise Malformed(f"not an HTTP answer: {first[:40]!r}")
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return int(parts[1]), {name.strip().lower(): value.strip() for name, value in fields.items()}
