"""The page: one HTML file, its hashed assets, and the policy that lets it load nothing else.

`make page` builds it from `web/`; the wheel ships it built. Its own addresses (`/c/...`, `/shared/...`) get
the same file: the page reads the address itself.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI
from starlette.responses import FileResponse, HTMLResponse, Response

from ziggurat.service.http.problems import ApiError

POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self'; frame-src 'self'; worker-src 'self'; object-src 'none'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
"""KaTeX writes inline styles. There is no inline script."""
FIRST = frozenset(
    {
        *("c", "temporary", "shared", "climb", "login", "register", "setup", "manage"),
        *("label", "review", "flywheel", "arena", "exam"),
    }
)
"""First parts of the page's own addresses; the page reads the rest itself."""
FOREVER = "public, max-age=31536000, immutable"
"""For assets, whose names change with their content."""
UNBUILT = (
    "<!doctype html><title>Ziggurat</title><p>The page is not built. Run <code>make page</code> in the "
    "project's folder and load this page again; the API works without it."
)


def built_page() -> Path:
    """The folder of the built page."""
    return Path(str(files("ziggurat.service") / "page"))


def is_page(path: str) -> bool:
    """Whether a path belongs to the page and its assets. They hold nothing private."""
    first = path.strip("/").partition("/")[0]
    return path == "/" or first in FIRST or path.startswith("/assets/")


def add_page(app: FastAPI, folder: Path | None = None) -> None:
    """Serve the page at its addresses and its assets below `/assets/`."""
    root = (folder or built_page()).resolve()
    headers = {
        "content-security-policy": POLICY,
        "cache-control": "no-cache",
        "permissions-policy": "camera=(), microphone=(), geolocation=(), payment=()",
        "cross-origin-opener-policy": "same-origin",
    }

    async def page() -> Response:
        index = root / "index.html"
        if not index.is_file():
            return HTMLResponse(UNBUILT, 503, headers)
        return FileResponse(index, media_type="text/html", headers=headers)

    app.add_api_route("/", page, methods=["GET"], include_in_schema=False)
    for first in sorted(FIRST):
        for path in (f"/{first}", f"/{first}/{{rest:path}}"):
            app.add_api_route(path, page, methods=["GET"], include_in_schema=False)

    @app.get("/assets/{name:path}", include_in_schema=False)
    async def asset(name: str) -> Response:
        file = (root / "assets" / name).resolve()
        if not file.is_relative_to(root) or not file.is_file():
            raise ApiError(404, "There is no such file.", code="not_found")
        return FileResponse(file, headers={"cache-control": FOREVER, "content-security-policy": POLICY})
