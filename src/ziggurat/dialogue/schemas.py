"""JSON schemas as data: where their subschemas are, default bounds for numbers, and whether any value can satisfy one.

Every change walks a schema through `mapped`, which knows in which keywords a subschema may be. So the name of a
property is never read as a keyword, and constants (`enum`, `const`, `default`, `examples`) are never changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

ONE = frozenset(
    (
        "additionalItems",
        "additionalProperties",
        "contains",
        "else",
        "if",
        "items",
        "not",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
    )
)
"""Keywords whose value is a schema (in old drafts, `items` also a list of schemas)."""
LISTS = frozenset(("allOf", "anyOf", "oneOf", "prefixItems"))
NAMED = frozenset(("$defs", "definitions", "dependentSchemas", "patternProperties", "properties"))
"""Keywords whose value maps names to schemas."""
IN_PLACE = frozenset(("allOf", "anyOf", "oneOf"))
"""Keywords whose schemas judge the same value as the schema that holds them."""
ANNOTATIONS = frozenset(
    (
        "$comment",
        "$defs",
        "$id",
        "$schema",
        "default",
        "definitions",
        "deprecated",
        "description",
        "examples",
        "readOnly",
        "title",
        "writeOnly",
    )
)
"""Keywords that allow every value."""
ELSEWHERE = frozenset(("$ref", "const", "enum", "if", "not")) | IN_PLACE
"""Keywords that can say which types a value has, where `type` does not."""
TYPES = frozenset(("array", "boolean", "integer", "null", "number", "object", "string"))

LARGEST_NUMBER = 10**15
"""Default bound of a number on both sides. It is below 2**53, so every JSON reader has the same number."""
FRACTION_DIGITS = 9
"""Default bound of the digits after the decimal point."""
MOST_FRACTION_DIGITS = 15
"""A bound that the schema itself gives with more digits than this leaves the fraction unbounded."""
TIME = "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,6})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
TIMES = {
    "time": f"^{TIME}$",
    "date-time": f"^[12][0-9]{{3}}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T{TIME}$",
}
"""Patterns for two formats: no leap seconds (valid at one moment only), no last days of months."""
ANY = "__any_value__"
"""Name of the definition that `bounded` adds for values that the schema leaves free."""

Change = Callable[[Any, str], Any]
"""(subschema, the keyword that holds it) -> what takes its place."""


def mapped(schema: dict[str, Any], change: Change) -> dict[str, Any]:
    """A copy of `schema` in which `change` has replaced each direct subschema."""
    return {key: _mapped_value(key, value, change) for key, value in schema.items()}


def _mapped_value(key: str, value: Any, change: Change) -> Any:
    if isinstance(value, list) and (key in LISTS or key == "items"):
        return [change(each, key) for each in value]
    if isinstance(value, dict) and key in NAMED:
        return {name: change(each, key) for name, each in value.items()}
    return change(value, key) if key in ONE else value


def moved(schema: Any, place: str) -> Any:
    """A schema as it must read at `place` (a JSON pointer) of a larger one: its references to itself move along."""
    if not isinstance(schema, dict):
        return schema
    copy = mapped(schema, lambda each, _: moved(each, place))
    reference = schema.get("$ref")
    if isinstance(reference, str) and (reference == "#" or reference.startswith("#/")):
        copy["$ref"] = place + reference[1:]
    return copy


# --- default bounds -----------------------------------------------------------------------------------------------


def bounded(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with default bounds for every number that it leaves open, so that no number goes on for ever.

    An integer lies within +-10**15; so does any other number, with at most 9 digits after the point and no exponent. A
    `minimum`, `maximum` or `multipleOf` of the schema takes the place of the default. Numbers within values that the
    schema does not describe at all (an untyped property, free properties of an object) are bounded as well.
    """
    free = {**_number_bounds({}, frozenset()), "items": _any(), "additionalProperties": _any()}
    copy = _bounded(schema, frozenset(), "")
    definitions = copy.get("$defs")
    return {**copy, "$defs": {**(definitions if isinstance(definitions, dict) else {}), ANY: free}}


def _any() -> dict[str, str]:
    return {"$ref": f"#/$defs/{ANY}"}


def _bounded(schema: Any, given: frozenset[str], key: str) -> Any:
    """`given`: keywords of other schemas for the same value. `key`: the keyword that holds this schema."""
    in_place = key in IN_PLACE
    if schema is True:
        return True if in_place else _any()
    if not isinstance(schema, dict):
        return schema
    given |= set(schema)
    given |= {each for part in _dicts(schema.get("allOf")) for each in part}
    copy = mapped(schema, lambda each, key: _bounded(each, given if key in IN_PLACE else frozenset(), key))
    if key:
        copy.pop("$id", None)  # references to the definition that `bounded` adds start at the root
    if not set(schema) - ANNOTATIONS:
        return copy if in_place else {**copy, **_any()}
    pattern = TIMES.get(schema["format"]) if isinstance(schema.get("format"), str) else None
    if pattern and "pattern" not in schema:
        del copy["format"]
        copy["pattern"] = pattern
    if {"const", "enum"} & given:
        return copy
    types = _types(schema)
    if types is None:  # a branch without a type, or one whose type is said elsewhere, is bounded there
        types = frozenset() if in_place or ELSEWHERE & set(schema) else TYPES
    if "number" in types or "integer" in types:
        copy |= _number_bounds(schema, given, whole="number" not in types)
    if key != "allOf" and "$ref" not in schema:
        if "array" in types and not {"items", "additionalItems"} & given:
            copy["items"] = _any()
        if "object" in types and "additionalProperties" not in given and not IN_PLACE & set(schema):
            copy["additionalProperties"] = _any()
    return copy


def _number_bounds(schema: dict[str, Any], given: frozenset[str], *, whole: bool = False) -> dict[str, Any]:
    low = _number(schema, "minimum", "exclusiveMinimum")
    high = _number(schema, "maximum", "exclusiveMaximum")
    bounds: dict[str, Any] = {}
    if not {"minimum", "exclusiveMinimum"} & given:
        bounds["minimum"] = -LARGEST_NUMBER if high is None else min(-LARGEST_NUMBER, int(10 * high))
    if not {"maximum", "exclusiveMaximum"} & given:
        bounds["maximum"] = LARGEST_NUMBER if low is None else max(LARGEST_NUMBER, int(10 * low))
    digits = max([FRACTION_DIGITS, *(_fraction_digits(value) for value in (low, high) if value is not None)])
    if not whole and "multipleOf" not in given and digits <= MOST_FRACTION_DIGITS:
        bounds["multipleOf"] = 10.0**-digits
    return bounds


def _number(schema: dict[str, Any], *keys: str) -> int | float | None:
    found = [schema[key] for key in keys if key in schema]
    return found[0] if found and isinstance(found[0], int | float) else None


def _fraction_digits(value: int | float) -> int:
    exponent = Decimal(repr(value)).as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 0


def _types(schema: dict[str, Any]) -> frozenset[str] | None:
    """The types that `type` names; None where there is no `type`."""
    said = schema.get("type")
    if said is None:
        return None
    return frozenset(each for each in (said if isinstance(said, list) else [said]) if isinstance(each, str))


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


# --- whether a value exists ---------------------------------------------------------------------------------------


def has_finite_value(root: dict[str, Any]) -> bool:
    """False if every value of the schema would have to contain itself, as under `{"$ref": "#"}`.

    A schema is known to have a finite value once those that it needs are known to have one (a least fixed point).
    """
    schemas = list(_all_of(root))
    known: set[int] = set()
    while True:
        before = len(known)
        for schema in reversed(schemas):
            if id(schema) not in known and _is_finite(schema, root, known):
                known.add(id(schema))
        if id(root) in known or len(known) == before:
            return id(root) in known
        schemas = [schema for schema in reversed(schemas) if id(schema) not in known]


def _all_of(schema: Any) -> Iterator[dict[str, Any]]:
    """The schema and every schema within it, outer ones first."""
    if not isinstance(schema, dict):
        return
    yield schema
    within: list[Any] = []
    mapped(schema, lambda each, _: within.append(each))
    for each in within:
        yield from _all_of(each)


def _is_finite(schema: dict[str, Any], root: dict[str, Any], known: set[int]) -> bool:
    def has(part: Any) -> bool:
        return id(part) in known if isinstance(part, dict) else part is not False

    reference = schema.get("$ref")
    if isinstance(reference, str) and not has(_target(root, reference)):
        return False
    if not all(has(part) for part in _dicts(schema.get("allOf"))):
        return False
    for key in ("anyOf", "oneOf"):
        if (parts := schema.get(key)) and isinstance(parts, list) and not any(has(part) for part in parts):
            return False
    types = _types(schema)
    if types is None or types - {"array", "object"} or {"const", "enum"} & set(schema):
        return True  # a value without parts
    return ("object" in types and _has_object(schema, has)) or ("array" in types and _has_array(schema, has))


def _has_object(schema: dict[str, Any], has: Callable[[Any], bool]) -> bool:
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, dict) or not isinstance(required, list):
        return True
    return all(has(properties[name]) for name in required if isinstance(name, str) and name in properties)


def _has_array(schema: dict[str, Any], has: Callable[[Any], bool]) -> bool:
    least, first = schema.get("minItems"), schema.get("prefixItems")
    if not isinstance(least, int) or least < 1:
        return True
    first = first if isinstance(first, list) else []
    return all(has(part) for part in first[:least]) and (
        least <= len(first) or has(schema.get("items", True))
    )


def _target(root: dict[str, Any], reference: str) -> Any:
    """What a local reference points at; True (a schema for anything) if it is not here."""
    if reference == "#":
        return root
    if not reference.startswith("#/"):
        return True
    found: Any = root
    for step in reference[2:].split("/"):
        step = step.replace("~1", "/").replace("~0", "~")
        if isinstance(found, dict) and step in found:
            found = found[step]
        elif isinstance(found, list) and step.isdecimal() and int(step) < len(found):
            found = found[int(step)]
        else:
            return True
    return found
