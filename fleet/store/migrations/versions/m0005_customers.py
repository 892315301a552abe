"""Customers, whose a device is, and an index of the events that say whose it was."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add table, column and index; a device from before is nobody's."""
    op.create_table(
        "customer",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.String(length=256), nullable=False),
        sa.Column("external_id", sa.String(length=128), nullable=True),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_customer")),
        sa.UniqueConstraint("external_id", name=op.f("uq_customer_external_id")),
    )
    # Both databases take a constraint with a new column; Alembic knows it for SQLite only as a copy of the table.
    op.execute(
        "ALTER TABLE device ADD COLUMN customer_id VARCHAR(64)"
        " CONSTRAINT fk_device_customer_id REFERENCES customer (id)"
    )
    op.create_index("ix_device_customer_id", "device", ["customer_id"])
    transferred = sa.text("kind = 'device.transferred'")
    op.create_index(
        "ix_event_transferred", "event", ["device_id", "id"], sqlite_where=transferred, postgresql_where=transferred
    )
