"""The fleet command, one module a noun; it speaks only the public API."""
