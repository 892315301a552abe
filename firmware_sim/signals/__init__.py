"""Physical models of what boards measure: pure, stepped by `step(dt_s, rng)`, the same values for the same seed."""
