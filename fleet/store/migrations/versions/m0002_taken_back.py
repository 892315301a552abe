"""What can be taken back: a claim, a device's own config; and when a link ended."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; a row from before has never been taken back."""
    op.add_column("claim", sa.Column("revoked_us", sa.BigInteger(), nullable=True))
    op.add_column("config", sa.Column("unset_us", sa.BigInteger(), nullable=True))
    op.add_column("presence", sa.Column("link_ended_us", sa.BigInteger(), nullable=True))
