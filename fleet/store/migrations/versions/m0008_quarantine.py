"""A device's batches in quarantine in their order: a bad batch looks at what it displaces, not at all before it."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the index."""
    op.create_index("ix_quarantine_device_id", "quarantine", ["device_id", "id"])
