"""What is remembered of a device's rules: never more than the bound, and always what matters most."""

from hypothesis import given
from hypothesis import strategies as st

from agent.rules.phase import RAISED, Phase, RuleState
from agent.rules.rule import Rule, read_rules
from agent.wire.document import parse_document
from fleet.core.cases import remembered

TEXT = """
[[rule]]
name = "any"
series = "*.t"
above = 5

[[rule]]
name = "named"
series = "a.t"
above = 5
"""
RULES: tuple[Rule, ...] = tuple(read_rules(parse_document(TEXT)))
KEYS = st.tuples(st.just("any"), st.from_regex(r"[a-z]{1,2}\.t", fullmatch=True)) | st.just(("named", "a.t"))
STATES = st.dictionaries(KEYS, st.builds(RuleState, phase=st.sampled_from(Phase), last_us=st.integers(-1, 9)))


@given(STATES, st.integers(1, 8))
def test_what_is_kept_is_bounded_and_no_less_important_than_what_is_forgotten(
    states: dict[tuple[str, str], RuleState], most: int
):
    def rank(key: tuple[str, str]) -> tuple[bool, bool, int]:
        return key == ("named", "a.t"), states[key].phase in RAISED, states[key].last_us

    kept = remembered(RULES, states, most)

    assert len(kept) == min(len(states), most)
    assert kept.items() <= states.items()
    assert all(rank(one) >= rank(other) for one in kept for other in states.keys() - kept.keys())
