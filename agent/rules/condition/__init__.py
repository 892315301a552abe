"""When a series is bad: one class a condition, by family, and how they are read from a config document.

    limit    above, below, outside, equals            judge one reading by itself
    pace     rate of change, step of a counter        remember a window of readings
    still    stuck, changed                           remember the value before
    silence  absent                                   remembers when data came last; time alone makes it bad
    several  all, any, not                            join conditions over several series

A condition answers True (bad), False (good) or None: a value that is missing or no number, and a window that is not
full yet, make the state unknown, never good. What a condition remembers is a tuple that JSON can hold; the condition
itself never changes. To add one: write its class in its family, list it in `one` and name its keys in `read`.
"""

from agent.rules.condition.kind import Memory
from agent.rules.condition.one import Condition, Plain, Remembering
from agent.rules.condition.read import read_condition
from agent.rules.condition.several import Several
from agent.rules.condition.silence import Absent

__all__ = ["Absent", "Condition", "Memory", "Plain", "Remembering", "Several", "read_condition"]
