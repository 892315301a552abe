"""The migrations: one file, one transaction; forward only; expand, deploy, contract."""
