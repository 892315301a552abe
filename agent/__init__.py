"""The agent: reads sensors over serial, keeps what they say on disk, and brings it to the fleet."""

__version__ = "0.1.0"
