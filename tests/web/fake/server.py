"""A small server that follows docs/product.md with everything in memory: for the page's tests, and to develop it.

`python -m tests.web.fake.server --port 8765` serves the built page with a few chats. Answers are streamed word by word;
what a question contains chooses the answer: `slow`, `gated`, `long`, `code`, `math`, `table`, `fail`, `held`, `cut`,
`think`, `tool`, `remote image`, `xss:<payload>`; anything else is echoed in a sentence.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from tests.web.fake.basics import Refused, missing
from tests.web.fake.furniture import furnish
from tests.web.fake.house import Door, House
from tests.web.fake.routes_admin import admin_routes
from tests.web.fake.routes_chat import judging_routes, turn_routes
from tests.web.fake.routes_me import chat_routes, me_routes
from tests.web.fake.routes_things import other_routes, run_routes

BUILT = Path(__file__).resolve().parents[3] / "src" / "ziggurat" / "service" / "page"
POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


def create_fake(house: House | Door) -> FastAPI:
    app = FastAPI(openapi_url=None)
    app.state.house = house

    @app.exception_handler(Refused)
    async def refused(_: Request, why: Refused) -> JSONResponse:
        body = {
            "error": {
                "message": why.message,
                "type": "invalid_request_error",
                "param": None,
                "code": why.code,
            }
        }
        return JSONResponse(body, why.status)

    @app.middleware("http")
    async def checked(request: Request, call: Any) -> Response:
        house.requests.append(f"{request.method} {request.url.path}")
        if request.url.path.startswith("/api/"):
            house.languages.append(request.headers.get("accept-language", ""))
        changing = request.method in ("POST", "PUT", "PATCH", "DELETE") and request.url.path.startswith(
            "/api/"
        )
        if changing and not request.headers.get("content-type", "").startswith(
            ("application/json", "application/zip")
        ):
            return JSONResponse({"error": {"message": "JSON is expected.", "code": "media_type"}}, 415)
        doors = ("/api/login", "/api/register", "/api/setup", "/api/me", "/api/shared/")
        if (
            request.url.path.startswith("/api/")
            and not house.logged_in
            and not request.url.path.startswith(doors)
        ):
            return JSONResponse({"error": {"message": "Log in first.", "code": "unauthorized"}}, 401)
        if (
            changing
            and house.mode == "accounts"
            and house.logged_in
            and request.headers.get("x-csrf-token") != "token-1"
        ):
            return JSONResponse({"error": {"message": "The token is wrong.", "code": "csrf"}}, 403)
        response: Response = await call(request)
        response.headers["content-security-policy"] = POLICY
        response.headers["x-content-type-options"] = "nosniff"
        return response

    for add in (
        me_routes,
        chat_routes,
        turn_routes,
        judging_routes,
        other_routes,
        run_routes,
        admin_routes,
        page_routes,
    ):
        add(app, house)
    return app


def page_routes(app: FastAPI, house: Any) -> None:
    @app.get("/assets/{name:path}")
    async def asset(name: str) -> Response:
        path = (BUILT / "assets" / name).resolve()
        if not path.is_file() or not path.is_relative_to(BUILT):
            return Response(status_code=404)
        return FileResponse(path, headers={"cache-control": "public, max-age=31536000, immutable"})

    @app.get("/{rest:path}")
    async def page(rest: str) -> Response:
        if rest.startswith("api/"):
            raise missing()
        return FileResponse(BUILT / "index.html", headers={"cache-control": "no-cache"})


def main() -> None:
    import uvicorn

    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8765)
    parser.add_argument("--mode", default="local", choices=["local", "accounts", "setup"])
    given = parser.parse_args()
    house = House(mode=given.mode, delay_s=0.03)
    furnish(house)
    uvicorn.run(create_fake(house), port=given.port, log_level="warning")


if __name__ == "__main__":
    main()
