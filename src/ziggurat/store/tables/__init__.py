"""All tables, by topic; `metadata` knows them all.

Times are whole microseconds since 1970 in UTC (`clock.py`). Every table that belongs to somebody has `workspace_id`.
"""

from ziggurat.store.tables import chats, guard, judgements, people, search, workspace  # noqa: F401
from ziggurat.store.tables.base import metadata

__all__ = ["metadata"]
