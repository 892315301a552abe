"""The agent's decisions, pure: bytes and events with the time in, actions out."""
