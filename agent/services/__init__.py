"""The agent's tasks: each runs one core against the world."""
