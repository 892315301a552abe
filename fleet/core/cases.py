"""How many cases (a rule on a series) are remembered of a device: a rule of `*.temp` meets each name a device makes up.

What is over the bound is forgotten, and met anew when its series is heard again: its hold starts over, its silence is
not noticed. Alarms that were raised stay.
"""

from collections.abc import Iterable, Mapping

from agent.rules.engine import Key
from agent.rules.phase import RAISED, RuleState
from agent.rules.rule import Rule

MAX_CASES = 2048  # of one device


def remembered(
    rules: Iterable[Rule], states: Mapping[Key, RuleState], most: int = MAX_CASES
) -> Mapping[Key, RuleState]:
    """Return the states that are kept: first those of series that a rule names, of alarms, and last heard of."""
    if len(states) <= most:
        return states
    named = {(rule.name, rule.series) for rule in rules}

    def rank(key: Key) -> tuple[bool, bool, int]:
        state = states[key]
        return key in named, state.phase in RAISED, state.last_us

    kept = set(sorted(states, key=rank, reverse=True)[:most])
    return {key: state for key, state in states.items() if key in kept}
