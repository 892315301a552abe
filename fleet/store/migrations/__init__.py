"""Alembic's environment and the migrations, run by fleet/store/migrate.py at every start."""
