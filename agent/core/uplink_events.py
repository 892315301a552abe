"""What the sync machine hears (inputs) and what it asks for (actions)."""

from dataclasses import dataclass
from enum import StrEnum

from agent.wire.messages import Ack, ConfigDocument, Lane


class Road(StrEnum):
    """How a batch reaches the fleet."""

    LINK = "link"  # MQTT
    GATEWAY = "gateway"  # HTTPS


@dataclass(frozen=True, slots=True)
class Committed:
    """Rows up to `top_seq` lie in the buffer; `urgent` ones do not wait for the server's pace."""

    lane: Lane
    top_seq: int
    urgent: bool = False


@dataclass(frozen=True, slots=True)
class Built:
    """The batch that `Send` asked for is made and leaves now; `last_seq` is None if it carries no row."""

    lane: Lane
    flight: int  # as in `Send`
    batch: str  # batch_id() of its bytes
    last_seq: int | None
    more: bool  # rows were left over that did not fit


@dataclass(frozen=True, slots=True)
class Acked:
    """An ack came, over whichever road, whenever."""

    ack: Ack


@dataclass(frozen=True, slots=True)
class Failed:
    """This flight could not be built, or got no answer and will get none."""

    lane: Lane
    flight: int
    wait_s: float | None = None  # the server asked for this much time
    refused: bool = False  # the fleet does not accept this device (certificate revoked or unknown)


@dataclass(frozen=True, slots=True)
class LinkUp:
    """The link is connected and subscribed."""


@dataclass(frozen=True, slots=True)
class LinkDown:
    """The link could not be connected, or is no more."""


@dataclass(frozen=True, slots=True)
class Wake:
    """Call now: the fleet asks for it, or the device has something to report."""


@dataclass(frozen=True, slots=True)
class Readmitted:
    """The device has a new certificate: what the fleet said to the old one counts no more."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """A config came over the link, before any ack told of it."""

    config: ConfigDocument


@dataclass(frozen=True, slots=True)
class Renewed:
    """What `Renew` asked for is done, and on the disk; or could not be done now."""

    is_done: bool


@dataclass(frozen=True, slots=True)
class Gate:
    """What a metered link lets pass from here on. Closed: urgent events, and a call without rows each `call_s`."""

    is_open: bool = True
    call_s: int = 0  # the fleet is told not to wait for the device before this; 0: it keeps to the server's pace
    is_metered: bool = False  # bytes are counted: batches stay small, and one leaves after the other


Input = Committed | Built | Acked | Failed | LinkUp | LinkDown | Wake | Readmitted | Pushed | Renewed | Gate


@dataclass(frozen=True, slots=True)
class Send:
    """Build a batch of the rows after `after_seq` and send it; answer with `Built` before it leaves, or `Failed`."""

    lane: Lane
    flight: int  # names this attempt
    road: Road
    prev_seq: int
    after_seq: int
    max_bytes: int  # of rows, before gzip; at least one row goes; 0: none, it only asks where the fleet stands
    snapshot: bool  # with the newest value of each series
    call_s: int = 0  # as in `Gate`


@dataclass(frozen=True, slots=True)
class Connect:
    """Connect the link to this port; answer with `LinkUp` or `LinkDown`."""

    port: int


@dataclass(frozen=True, slots=True)
class Disconnect:
    """Cut the link, which does not answer; no `LinkDown` is needed."""


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The fleet has rows up to `through_seq` on its disk: the device need not keep them."""

    lane: Lane
    through_seq: int


@dataclass(frozen=True, slots=True)
class Rewind:
    """The fleet's mark went back to `to_seq`; what is still kept after it will be sent again."""

    lane: Lane
    to_seq: int


@dataclass(frozen=True, slots=True)
class SetAside:
    """The fleet could not read these rows and keeps their bytes in quarantine: never send them again."""

    lane: Lane
    first_seq: int
    through_seq: int
    problem: str


@dataclass(frozen=True, slots=True)
class Deliver:
    """Hand this config to whoever applies it; each is delivered once."""

    config: ConfigDocument


@dataclass(frozen=True, slots=True)
class Renew:
    """The buffer went back in time: give it a new store_id, under which the rows after `bases` are sent anew.

    Up to there the fleet has them under the old one. Answer with `Renewed`.
    """

    bases: tuple[tuple[Lane, int], ...]


Action = Renew | Send | Connect | Disconnect | GiveUp | Rewind | SetAside | Deliver
