"""What all tables share."""

from sqlalchemy import Column, DateTime, MetaData, Text

metadata = MetaData()


def time_column(name: str, *, nullable: bool = False) -> Column[object]:
    """A moment, kept with its zone."""
    return Column(name, DateTime(timezone=True), nullable=nullable)


def digest_column() -> Column[object]:
    """What a registry row has of its private values."""
    return Column("digest", Text, comment="SHA-256 of the salted private values of this version")
