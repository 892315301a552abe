"""Whole stories, played with the real programs: a server, devices, boards, and a verdict from the ledgers."""
