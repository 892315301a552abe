"""Become another program that dies with the one that started it: `python tether.py PARENT PROGRAM ARGUMENTS…`.

PR_SET_PDEATHSIG (prctl(2)) survives exec, so the wait for the parent costs nothing afterwards. Run as a script of
its own and not between fork and exec of the server, where threads make Python unsafe. Standard library only.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process to its parent and become the program."""
    parent, program = int(sys.argv[1]), sys.argv[2:]
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call above
        sys.exit(1)
    os.execv(program[0], program)  # noqa: S606 - no shell is the point; the caller names the program


if __name__ == "__main__":
    main()
