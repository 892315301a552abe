"""What the recorder goes on from after a start, as it lies in the buffer."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from agent.core.store import Store
from agent.rules.engine import RuleState
from agent.rules.phase import pack, unpack
from agent.wire.messages import Lane

STATE_PREFIX = "rule/"  # key of a rule's state in the buffer: rule/<rule>\n<series>

States = dict[tuple[str, str], RuleState]


@dataclass(frozen=True, slots=True)
class Restored:
    """What the recorder goes on from: the next seq of each lane and the states of the rules."""

    next_seq: Mapping[Lane, int]
    states: States
    has_undated: bool = False  # rows wait for their dates (`agent.core.dating`)

    def newest_us(self) -> int:
        """Return the latest event time that a rule has judged; -1 if none has."""
        return max((state.last_us for state in self.states.values()), default=-1)


async def restore(store: Store) -> Restored:
    """Read from the buffer what the recorder goes on from."""
    next_seq = {lane: (await store.ends(lane)).next_seq for lane in Lane}
    states: States = {}
    for key, text in (await store.values(STATE_PREFIX)).items():
        rule, _, series = key.removeprefix(STATE_PREFIX).partition("\n")
        fields = json.loads(text)
        if fields:
            states[rule, series] = unpack(list(fields.values()) if isinstance(fields, dict) else fields)
    return Restored(next_seq, states, await store.has_undated())


def dump_states(states: Mapping[tuple[str, str], RuleState]) -> dict[str, str]:
    """Return states as the buffer keeps them."""
    return {state_key(*key): json.dumps(pack(state), separators=(",", ":")) for key, state in states.items()}


def state_key(rule: str, series: str) -> str:
    """Return the key of a rule's state."""
    return f"{STATE_PREFIX}{rule}\n{series}"
