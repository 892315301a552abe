"""The public HTTP API, one module a noun."""
