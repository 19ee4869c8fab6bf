"""From an answer to a mark: one small file for each kind, all with one signature.

A metric is `mark(answers: Sequence[str], item: Item, settings: Mapping[str, Any]) -> Mark`, found by its name in
`METRICS`. It sees nothing but the answers and the item, so that it can be tried without a model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ziggurat.exam.item import Item, Mark

Metric = Callable[[Sequence[str], Item, Mapping[str, Any]], Mark]
METRICS: dict[str, str] = {}
"""Name -> module:function."""
