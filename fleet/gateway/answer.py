"""The bytes of an ack, cheaply: nearly all acks say nothing but how far the store is committed."""

from agent.wire.codec import encode
from agent.wire.messages import Ack


def encode_ack(ack: Ack) -> bytes:
    """Encode an ack as `agent.wire.codec.encode` does."""
    if ack.acked_seq is None or ack.config is not None or ack.refused is not None or ack.jobs:
        return encode(ack)
    return (
        f'{{"version":{ack.version},"batch":"{ack.batch}","acked_seq":{ack.acked_seq},"server_us":{ack.server_us},'
        f'"config_revision":{ack.config_revision},"next_s":{ack.next_s!r},"link_port":{ack.link_port}}}'
    ).encode()
