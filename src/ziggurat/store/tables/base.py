"""What all tables share: the metadata with names for constraints, and short forms of columns."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, Column, ForeignKey, Integer, MetaData, String, Text
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
ID = String(64)


def key() -> Column[str]:
    return Column("id", ID, primary_key=True)


def workspace() -> Column[str]:
    return Column(
        "workspace_id", ID, ForeignKey("workspace.id", ondelete="CASCADE"), nullable=False, index=True
    )


def person(*, nullable: bool = False, index: bool = True, ondelete: str = "CASCADE") -> Column[Any]:
    return Column("person_id", ID, ForeignKey("person.id", ondelete=ondelete), nullable=nullable, index=index)


def at(name: str = "created_at", *, nullable: bool = False, index: bool = False) -> Column[Any]:
    return Column(name, BigInteger, nullable=nullable, index=index)


def text(name: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, Text, nullable=nullable)


def flag(name: str) -> Column[bool]:
    return Column(name, Boolean, nullable=False)


def number(name: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, BigInteger, nullable=nullable)


def small(name: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, Integer, nullable=nullable)


def json(name: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, Json, nullable=nullable)
