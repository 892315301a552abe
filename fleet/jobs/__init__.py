"""Periodic work, each under a lease."""
