"""Schemas walked by what they mean: names of properties, constants, default bounds, and values that cannot be."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest

from ziggurat.dialogue.schemas import LARGEST_NUMBER, bounded, has_finite_value, moved

WORDS = (
    "format",
    "default",
    "enum",
    "const",
    "examples",
    "type",
    "minimum",
    "properties",
    "items",
    "$ref",
    "anyOf",
)


def obj(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


@pytest.mark.parametrize("word", WORDS)
def test_a_property_may_have_the_name_of_any_keyword(word: str) -> None:
    schema = bounded(obj(**{word: {"type": "number"}}))
    inner = schema["properties"][word]
    assert (inner["minimum"], inner["maximum"]) == (-LARGEST_NUMBER, LARGEST_NUMBER)
    reference = moved(obj(**{word: {"$ref": "#/$defs/a"}}), "#/x")["properties"][word]
    assert reference == {"$ref": "#/x/$defs/a"}


@pytest.mark.parametrize("word", ["enum", "const", "default", "examples"])
def test_constants_are_never_rewritten(word: str) -> None:
    constant: Any = {"$ref": "#/a", "format": "time", "type": "number", "properties": {"a": True}}
    value = [constant] if word in ("enum", "examples") else constant
    schema = {"type": "object", word: value}
    assert bounded(schema)[word] == value
    assert moved(schema, "#/x")[word] == value


def test_formats_that_are_no_strings_do_not_fail() -> None:
    bounded({"type": "string", "format": {"a": 1}})
    bounded({"type": {"a": 1}, "properties": 7, "anyOf": "x", "items": None, "allOf": [7, True]})


@pytest.mark.parametrize(
    ("schema", "least", "most"),
    [
        ({"type": "integer"}, -(10**15), 10**15),
        ({"type": ["integer", "null"]}, -(10**15), 10**15),
        ({"type": "integer", "minimum": 5}, 5, 10**15),
        ({"type": "integer", "minimum": 10**16}, 10**16, 10**17),
        ({"type": "integer", "maximum": -(10**16)}, -(10**17), -(10**16)),
        ({"type": "integer", "minimum": 0, "maximum": 10**18}, 0, 10**18),
    ],
)
def test_integers_have_default_bounds_that_their_own_replace(schema: Any, least: int, most: int) -> None:
    found = bounded(schema)
    assert (found["minimum"], found["maximum"]) == (least, most)
    assert "multipleOf" not in found


def test_fractions_have_nine_digits_unless_the_schema_says_otherwise() -> None:
    assert bounded({"type": "number"})["multipleOf"] == 1e-9
    assert bounded({"type": "number", "multipleOf": 0.5})["multipleOf"] == 0.5
    assert bounded({"type": "number", "maximum": 1e-12})["multipleOf"] == 1e-12
    assert "multipleOf" not in bounded({"type": "number", "maximum": 1e-30})


def test_bounds_beside_branches_and_constants_are_kept() -> None:
    outer = bounded({"minimum": 10**16, "anyOf": [{"type": "integer"}, {"type": "null"}]})
    assert "minimum" not in outer["anyOf"][0]
    both = bounded({"allOf": [{"type": "integer"}, {"minimum": 10**16, "maximum": 10**17}]})
    assert both["allOf"][0] == {"type": "integer"}
    assert bounded({"type": "number", "enum": [1e300]})["enum"] == [1e300]
    assert "maximum" not in bounded({"type": "number", "enum": [1e300]})


@pytest.mark.parametrize(
    "free",
    [
        {},
        {"type": "object"},
        {"type": "array"},
        obj(a={}),
        obj(a=True),
        obj(a={"title": "A"}),
        {"anyOf": [{"type": "object"}, {"type": "null"}]},
        {"type": "object", "additionalProperties": True},
        {"type": "object", "properties": {"a": {"type": "array", "items": {}}}},
        {"minLength": 1},
    ],
)
def test_values_that_a_schema_leaves_free_are_bounded_too(free: dict[str, Any]) -> None:
    """Judged by an independent implementation: a large number is refused wherever it can be, all else is kept."""
    schema = bounded(free)

    def numbers(value: Any) -> list[Any]:
        return [value, [value], {"a": value}, {"a": [value]}, {"a": {"b": value}}]

    for good in numbers(1.5):
        assert jsonschema_rs.is_valid(schema, good) == jsonschema_rs.is_valid(free, good)
    assert not any(jsonschema_rs.is_valid(schema, bad) for bad in numbers(10**16))


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#"},
        {"anyOf": [{"$ref": "#"}]},
        obj(a={"$ref": "#"}),
        {"type": "array", "items": {"$ref": "#"}, "minItems": 1},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
        {
            "$ref": "#/$defs/a",
            "$defs": {"a": obj(b={"type": "array", "prefixItems": [{"$ref": "#"}], "minItems": 1})},
        },
        {"allOf": [{"type": "object"}, {"$ref": "#"}]},
    ],
)
def test_schemas_whose_values_contain_themselves_for_ever(schema: dict[str, Any]) -> None:
    assert not has_finite_value(schema)


@pytest.mark.parametrize(
    "schema",
    [
        {},
        {"type": "object", "properties": {"a": {"$ref": "#"}}},
        {"type": ["object", "null"], "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
        {"anyOf": [{"type": "null"}, obj(a={"$ref": "#"})]},
        {"type": "array", "items": {"$ref": "#"}},
        {"$ref": "https://example.org/elsewhere"},
        {"$ref": "#/$defs/a~1b", "$defs": {"a/b": {"type": "null"}}},
        obj(a={"$ref": "#/properties/b"}, b={"$ref": "#/properties/c"}, c={"type": "null"}),
    ],
)
def test_schemas_with_a_finite_value(schema: dict[str, Any]) -> None:
    assert has_finite_value(schema)
