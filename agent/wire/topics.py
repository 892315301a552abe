"""Topics of the link, in both spellings: MQTT (`fleet/d1/up/batch`) and NATS (`fleet.d1.up.batch`).

A device publishes below `fleet/<device>/up/` and hears `fleet/<device>/down/`; nothing else is open to it.
Nothing is retained and no session is kept: delivery is proven by the ack alone.
"""

import re
from enum import StrEnum

from agent.wire.limits import MAX_DEVICE_CHARS

ROOT = "fleet"
DEVICE_ID = re.compile(rf"[a-z0-9][a-z0-9-]{{0,{MAX_DEVICE_CHARS - 1}}}")

_OF_A_DEVICE = re.compile(rf"{ROOT}[./]({DEVICE_ID.pattern})[./][^./]*[./][^./]*", re.DOTALL)


class Up(StrEnum):
    """What a device says."""

    BATCH = "batch"
    BIRTH = "birth"
    WILL = "will"
    LIVE = "live"


class Down(StrEnum):
    """What the fleet says to one device."""

    ACK = "ack"
    CONFIG = "config"
    JOB = "job"
    WATCH = "watch"
    WAKE = "wake"  # empty payload: call now


def up(device: str, leaf: Up) -> str:
    """MQTT topic on which `device` publishes `leaf`."""
    return f"{ROOT}/{device}/up/{leaf}"


def down(device: str, leaf: Down) -> str:
    """MQTT topic on which `device` hears `leaf`."""
    return f"{ROOT}/{device}/down/{leaf}"


def down_all(device: str) -> str:
    """MQTT filter for everything the fleet says to `device`."""
    return f"{ROOT}/{device}/down/#"


def subject(topic: str) -> str:
    """NATS subject of an MQTT topic of ours; `#` becomes `>`, `+` becomes `*`."""
    return topic.replace("/", ".").replace("#", ">").replace("+", "*")


def device_of(topic_or_subject: str) -> str:
    """Device that a topic or subject of ours belongs to; "" if it is not one of ours."""
    found = _OF_A_DEVICE.fullmatch(topic_or_subject)
    return found[1] if found is not None else ""
