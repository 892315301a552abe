"""The fleet server, its console and its command line."""
