"""One file a serial protocol, each a sans-IO dialogue."""
