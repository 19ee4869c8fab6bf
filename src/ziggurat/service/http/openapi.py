"""`/openapi.json`: bodies and answers.

Endpoints read their bodies themselves (`body.py`), so FastAPI does not know them: they are described here, from the
same classes that check them. Every endpoint may answer with the one error shape.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel

ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}
STATUSES = {
    400: "A field or its value is wrong, or the prompt is longer than the context.",
    401: "The key is missing or unknown.",
    403: "The Host or the Origin is not this server's, or the key is not an admin key.",
    404: "The model, object or route does not exist.",
    405: "The route does not take this method.",
    408: "The body did not arrive in time.",
    409: "The object's state does not allow it now.",
    413: "The body is too large.",
    415: "The body is not application/json.",
    429: "The key has used up its requests or tokens of this minute, or has too many requests running or waiting.",
    500: "The server failed.",
    503: "Busy, shutting down, or a model has failed.",
}


def errors() -> dict[int | str, dict[str, Any]]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {status: {"description": text, "content": content} for status, text in STATUSES.items()}


_BODIES: dict[str, type[BaseModel]] = {}


def takes(body: type[BaseModel], *, streams: bool = False, status: int = 200) -> dict[str, Any]:
    """Keyword arguments for a route that reads `body` itself; `streams`: it may answer with Server-Sent Events;
    `status`: of a good answer."""
    _BODIES[body.__name__] = body
    schema = {"$ref": f"#/components/schemas/{body.__name__}"}
    answer: dict[str, Any] = {"application/json": {"schema": {"type": "object"}}}
    if streams:
        answer["text/event-stream"] = {}
    return {
        "response_model": None,
        "openapi_extra": {
            "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
            "responses": {str(status): {"description": "The answer.", "content": answer}},
        },
    }


def describe_by_hand(app: FastAPI) -> None:
    """Build `/openapi.json` from FastAPI's routes and from the bodies that `takes` has collected."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            described = get_openapi(title=app.title, version=app.version, routes=app.routes)
            schemas = described.setdefault("components", {}).setdefault("schemas", {})
            schemas["Error"] = ERROR
            for name, body in _BODIES.items():
                schema = body.model_json_schema(ref_template="#/components/schemas/{model}")
                schemas.update(schema.pop("$defs", {}))
                schemas[name] = schema
            for path in described["paths"].values():
                for operation in path.values():
                    operation["responses"].pop("422", None)  # this server answers 400: see problems.py
            app.openapi_schema = described
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # the way that FastAPI documents
