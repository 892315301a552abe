"""Units of the contract: every time in it is a whole number of microseconds since 1970, UTC."""

US_PER_S = 1_000_000
