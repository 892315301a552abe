"""The fleet command, one module a noun; it speaks only the public API.

What costs time to import (httpx, rich, a command's own module, the server behind `serve`) is imported when used.
"""

from fleet.cli.root import main

__all__ = ["main"]
