"""The conditions on one series, of two kinds.

    Plain        is_bad(value, was_bad) → verdict
                 judges a reading by itself; `was_bad` is the verdict before, for hysteresis
                 calm() → the bounds in which a number is good that comes after a good one
    Remembering  look(memory, t_us, value, was_bad) → verdict, memory
                 judges a reading by what came before it; readings come in order of time
                 since_us(memory, t_us) → since when it is bad, where it was found bad at `t_us`

Both say in words what they are (`str`); the words also tell whose memory a memory is.
"""

from agent.rules.condition.limit import Above, Below, Equals, Outside
from agent.rules.condition.pace import Rate, Step
from agent.rules.condition.silence import Absent
from agent.rules.condition.still import Changed, Stuck

Plain = Above | Below | Outside | Equals
Remembering = Rate | Step | Stuck | Changed | Absent
Condition = Plain | Remembering
