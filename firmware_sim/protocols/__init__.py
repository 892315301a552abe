"""Encoders, written without the agent's decoders in sight, so that a mistake in one does not hide in the other."""
