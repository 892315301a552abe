"""One file a thing of the world: port, buffer, broker, server, keys, clock, systemd."""
