"""All tables, by topic; `metadata` knows them all.

Times are whole microseconds since 1970 in UTC (`clock.py`). Every table that belongs to somebody has `workspace_id`.
"""

from ziggurat.store.tables import (  # noqa: F401
    chats,
    datasets,
    guard,
    judgements,
    labelling,
    people,
    programs,
    releases,
    reviews,
    search,
    workspace,
)
from ziggurat.store.tables.base import metadata

__all__ = ["metadata"]
