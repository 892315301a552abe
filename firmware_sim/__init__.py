"""Simulated sensor boards on pseudo terminals: signals, protocols, faults, and a ledger of the truth."""
