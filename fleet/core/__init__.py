"""The fleet's rules, pure, one module a noun."""
