"""Ready-made projects: data files in `templates/`, with the label sets of InstructGPT and Open-Assistant."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from ziggurat.errors import did_you_mean
from ziggurat.product.errors import Invalid
from ziggurat.workbench.labelling.objects import Strict, TaskType, Texts

FOLDER = Path(__file__).parent / "templates"


class Template(Strict):
    key: str
    title: Texts
    about: Texts
    task: TaskType
    questions: dict[str, Any]
    settings: dict[str, Any] = {}
    guidelines: Texts = {}
    source: str = ""


@cache
def all_templates() -> tuple[Template, ...]:
    """Every template, in the order of the files' names. Guidelines stand beside: `NAME.en.md`, `NAME.zh.md`."""
    found = []
    for file in sorted(FOLDER.glob("*.json")):
        data = json.loads(file.read_text())
        texts: Any = {
            lang: beside.read_text()
            for lang in ("en", "zh")
            if (beside := file.with_name(f"{data.get('guide', file.stem)}.{lang}.md")).is_file()
        }
        data.pop("guide", None)
        found.append(Template(**data, guidelines=texts))
    return tuple(found)


def template(key: str) -> Template:
    """The template of a key.

    Raises:
        Invalid: there is none.
    """
    known = {one.key: one for one in all_templates()}
    if key not in known:
        raise Invalid(f'there is no template "{key}".{did_you_mean(key, known)}', param="template")
    return known[key]
