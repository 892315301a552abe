"""The database: tables in schema, one module a noun."""
