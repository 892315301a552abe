"""Many simulated devices in one process, which speak the published wire to a real server."""
