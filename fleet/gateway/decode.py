"""Payload bytes → Batch: gunzip within limits, msgspec straight into wire's classes, then wire's own checks.

Hostile bytes are the normal case: whatever is wrong comes out as WireError with the place, and nothing else does.
What this accepts and refuses is what `agent.wire.codec.decode_batch` accepts and refuses; a property test holds the
two together.
"""

import re
import zlib

import msgspec

from agent.wire.codec import check_batch, unpack
from agent.wire.errors import WireError
from agent.wire.limits import MAX_TEXT_CHARS
from agent.wire.messages import Batch

_EVENTS = b'{"events"'
_decoder = msgspec.json.Decoder(Batch)
_PLACE = re.compile(r"^(?P<problem>.*) - at `(?P<place>\$.*)`$", re.DOTALL)


def decode_batch(payload: bytes) -> Batch:
    """Unpack, decode and check one batch; raises WireError that names the place, never anything else."""
    return decode_raw(unpack(payload))


def decode_raw(raw: bytes) -> Batch:
    """Decode and check one batch that is unpacked; raises as `decode_batch` does."""
    try:
        if not raw.isascii():
            raw.decode()  # msgspec skips what it does not know without looking at its encoding
        batch = _decoder.decode(raw)
    except msgspec.ValidationError as error:
        raise _located(str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise WireError("$", f"not JSON: {_printable(str(error))}") from error
    check_batch(batch)
    return batch


def is_events(payload: bytes) -> bool:
    """Tell at a glance, undecoded, whether a payload is most likely a batch of events, as agents write it."""
    try:
        return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS).decompress(payload[:256], len(_EVENTS)) == _EVENTS
    except zlib.error:
        return False


def _located(text: str) -> WireError:
    """Turn msgspec's "Expected `int`, got `str` - at `$.segments[...]`" into place and problem."""
    found = _PLACE.match(text)
    if found is None:
        return WireError("$", _printable(text))
    return WireError(found["place"], _printable(found["problem"]).replace("`", "'"))


def _printable(text: str) -> str:
    """Spell out what is no printable character: the text is kept, shown and logged."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text[:MAX_TEXT_CHARS])
