"""The protocols that a device may speak, one file each, and where they are found.

Built-ins are named here and imported when a config asks for one, so that nobody pays for what they do not use. A
package of somebody else's adds one by an entry point of the group `fieldline.protocols`; built-ins go first. Each is
handed out contained (`agent.core.contain`): what it raises ends there.
"""

import difflib
import importlib
from typing import cast

from agent.core.contain import ContainedKind
from agent.errors import Misconfigured
from agent.ports import ProtocolKind

GROUP = "fieldline.protocols"
BUILT_IN = {
    "cobs": "agent.protocols.cobs",
    "iec62056": "agent.protocols.iec62056",
    "lines": "agent.protocols.lines",
    "modbus": "agent.protocols.modbus",
    "nmea": "agent.protocols.nmea",
    "sdi12": "agent.protocols.sdi12",
}
EXTRAS = {"modbus": "modbus"}  # protocol -> the extra of the distribution that it needs


def find(name: str) -> ProtocolKind:
    """Return a protocol by name; raises Misconfigured if there is none, or it cannot be loaded."""
    try:
        if name in BUILT_IN:
            kind = cast("ProtocolKind", importlib.import_module(BUILT_IN[name]))
            return ContainedKind(name, kind, strange=False)
        from importlib.metadata import entry_points  # noqa: PLC0415 - 2 MB that a device without such never pays

        others = {point.name: point for point in entry_points(group=GROUP)}
        if name in others:
            return ContainedKind(name, others[name].load(), strange=True)
    except ImportError as error:
        hint = f"Install it: pip install 'fieldline[{EXTRAS[name]}]'." if name in EXTRAS else ""
        raise Misconfigured(f"the protocol {name!r} cannot be loaded: {error}.", hint=hint) from error
    known = sorted({*BUILT_IN, *others})
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    raise Misconfigured(f"there is no protocol {name!r};", hint=hint)
