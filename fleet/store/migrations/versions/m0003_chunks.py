"""Chunks and rollups, and how far each device is sealed. Nothing moves: the sealing job turns batches into chunks."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the tables; their bodies are compressed, so PostgreSQL need not try it again."""
    op.create_table(
        "chunk",
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("sensor", sa.String(length=128), nullable=False),
        sa.Column("from_us", sa.BigInteger(), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("to_us", sa.BigInteger(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("readings", sa.Integer(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["device.id"], name=op.f("fk_chunk_device_id")),
        sa.PrimaryKeyConstraint("device_id", "sensor", "from_us", "part", name=op.f("pk_chunk")),
    )
    op.create_table(
        "rollup",
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("series", sa.String(length=128), nullable=False),
        sa.Column("step_s", sa.Integer(), nullable=False),
        sa.Column("from_us", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["device.id"], name=op.f("fk_rollup_device_id")),
        sa.PrimaryKeyConstraint("device_id", "series", "step_s", "from_us", name=op.f("pk_rollup")),
    )
    op.create_table(
        "seal",
        sa.Column("device_id", sa.String(length=64), nullable=False),
        sa.Column("turn", sa.BigInteger(), nullable=False),
        sa.Column("sealed_us", sa.BigInteger(), nullable=False),
        sa.Column("raw_from_us", sa.BigInteger(), nullable=False),
        sa.Column("quarter_from_us", sa.BigInteger(), nullable=False),
        sa.Column("day_from_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["device.id"], name=op.f("fk_seal_device_id")),
        sa.PrimaryKeyConstraint("device_id", name=op.f("pk_seal")),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE chunk ALTER body SET STORAGE EXTERNAL")
        op.execute("ALTER TABLE rollup ALTER body SET STORAGE EXTERNAL")
