"""The first schema: calls, and the entries of their logs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "call",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("call", sa.Text, nullable=False, unique=True),
        sa.Column("ended", sa.Boolean, nullable=False),
        sa.Column("reviewed", sa.Boolean, nullable=False),
        sa.Column("severity", sa.Integer, nullable=False),
        sa.Column("summary", sa.LargeBinary, nullable=False),
    )
    op.create_index("call_unfinished", "call", ["id"], sqlite_where=sa.text("NOT ended"))
    op.create_index("call_flagged", "call", ["reviewed", "severity", "id"], sqlite_where=sa.text("severity > 0"))
    op.create_table(
        "entry",
        sa.Column("call", sa.Text, sa.ForeignKey("call.call"), primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("at_ms", sa.Integer, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("raw", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("entry")
    op.drop_table("call")
