"""httpx without its own command line, which it imports, and with it all of rich and pygments, if those are there.

That is two thirds of what importing httpx costs: half a second on a small computer, for each command that a
technician types. A module that is None in `sys.modules` counts as one that is not installed, for which httpx is ready.
"""

import sys

sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type] # None is how Python says: not to be imported

import httpx  # noqa: E402 - after the line above, which is the point

__all__ = ["httpx"]
