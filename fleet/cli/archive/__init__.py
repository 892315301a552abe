"""Telemetry in files: what `fleet export` writes and `fleet import` reads (docs/reference/export.md)."""
