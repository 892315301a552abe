"""What rules cost a reading: five limits that are all well, and one rule of each kind that remembers.

The limits are also told as a share of the core at 20,000 readings a second, and in bytes allocated: there
are none but what the loop itself takes.
"""

import time
import tracemalloc

from agent.rules.engine import Judge
from agent.rules.rule import read_rules
from agent.wire.document import parse_document

READINGS = 200_000
RATE = 20_000  # readings a second that the agent is to keep up with on one core
LIMITS = ("above = -5", "below = -30", "above = 900", "below = -400", "above = 50\nbelow = -60")
REMEMBERING = ("rate_above = 5", "step_above = 1000", "stuck_s = 600", "absent_s = 60", "any = [{ above = 5 }]")
US_PER_S = 1_000_000


def judge(conditions: tuple[str, ...]) -> Judge:
    """Make a judge of one rule a condition, all on one series."""
    tables = [f'[[rule]]\nname = "r{i}"\nseries = "a.b"\n{condition}\n' for i, condition in enumerate(conditions)]
    return Judge(read_rules(parse_document("".join(tables))))


def main() -> None:
    """Print the figures."""
    times = [1_800_000_000 * US_PER_S + i * US_PER_S // RATE for i in range(READINGS)]
    values = [-18.0 + i % 7 / 10 for i in range(READINGS)]
    for name, conditions in (("limits", LIMITS), ("remembering", REMEMBERING)):
        feed = judge(conditions).feed
        began = time.process_time()
        for t_us, value in zip(times, values, strict=True):
            feed("a.b", t_us, value)
        each_s = (time.process_time() - began) / READINGS
        share = each_s * RATE
        print(f"{name:<12} {len(conditions)} rules  {each_s * US_PER_S:6.2f} µs a reading  {share:6.1%} at {RATE}/s")
    feed = judge(LIMITS).feed
    feed("a.b", times[0], values[0])
    some = list(zip(times[:1000], values[:1000], strict=True))
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for t_us, value in some:
        feed("a.b", t_us, value)
    _, peak = tracemalloc.get_traced_memory()
    print(f"{'limits':<12} {peak - before} bytes allocated at most in {len(some)} readings")


if __name__ == "__main__":
    main()
