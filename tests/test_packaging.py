"""What is shipped: a wheel that holds the built page and needs no Node; well-formed files for containers."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import uvicorn
import yaml
from tests.needs import needs

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "src" / "ziggurat" / "service" / "page" / "index.html"


@pytest.mark.slow
def test_the_wheel_holds_the_built_page_and_needs_no_node(tmp_path: Path) -> None:
    needs("hatchling")
    if not PAGE.is_file():
        if os.environ.get("CI"):
            pytest.fail("the page is not built: make page")
        pytest.skip("the page is not built: make page")
    (tmp_path / "bin").mkdir()
    bare = {**os.environ, "PATH": str(tmp_path / "bin")}
    assert shutil.which("node", path=bare["PATH"]) is None
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        str(tmp_path),
    ]
    subprocess.run([*command, str(ROOT)], check=True, capture_output=True, env=bare)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        page = archive.read("ziggurat/service/page/index.html").decode()
        for asset in re.findall(r"(?:src|href)=\"/(assets/[^\"]+)\"", page):
            assert f"ziggurat/service/page/{asset}" in names
        assert "ziggurat/safety/data/rules.yaml" in names
        assert any(name.startswith("ziggurat/store/migrations/versions/") for name in names)
        assert not any("node_modules" in name for name in names)
        archive.extractall(tmp_path / "unpacked")
    code = (
        "from ziggurat.service.product.page import built_page; print((built_page() / 'index.html').is_file())"
    )
    there = {**bare, "PYTHONPATH": str(tmp_path / "unpacked")}
    found = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=there, cwd=tmp_path
    )
    assert found.stdout.strip() == "True"


def test_the_compose_file_keeps_its_promises() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    ours = services["ziggurat"]
    assert ours["read_only"] is True
    assert ours["cap_drop"] == ["ALL"]
    assert all(port.startswith("127.0.0.1:") for port in ours["ports"])
    assert "postgres" in ours["depends_on"]
    assert ":?" in services["postgres"]["environment"]["POSTGRES_PASSWORD"], "no default password"


@pytest.mark.parametrize(("peer", "scheme"), [("172.18.0.1", "https"), ("203.0.113.9", "http")])
def test_behind_a_proxy_the_container_knows_that_the_browser_speaks_https(peer: str, scheme: str) -> None:
    """Docker's gateway, from which a proxy of the same machine is seen, is believed, and no address of the internet."""
    given = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["ziggurat"]["environment"]
    default = re.fullmatch(r"\$\{FORWARDED_ALLOW_IPS:-(.*)\}", given["FORWARDED_ALLOW_IPS"])
    assert default is not None, "the setting can be changed without changing the file"
    seen: list[tuple[str, str]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append((scope["scheme"], scope["client"][0]))

    config = uvicorn.Config(app, forwarded_allow_ips=default[1])
    config.load()
    headers = [(b"x-forwarded-proto", b"https"), (b"x-forwarded-for", b"198.51.100.7, 203.0.113.80")]
    scope = {"type": "http", "scheme": "http", "client": (peer, 1234), "headers": headers}
    asyncio.run(config.loaded_app(scope, None, None))  # type: ignore[arg-type]
    # of the addresses, the last one is what the proxy saw; a browser can write the others itself
    assert seen == [(scheme, "203.0.113.80" if scheme == "https" else peer)]


def test_the_image_runs_as_nobody_special_and_says_whether_it_is_healthy() -> None:
    text = (ROOT / "Dockerfile").read_text()
    last = text.rpartition("FROM ")[2]
    assert re.search(r"^USER ziggurat$", last, re.MULTILINE)
    assert "HEALTHCHECK" in last
    assert "nodejs" not in last


def builder() -> bool:
    """Whether a docker daemon answers."""
    docker = shutil.which("docker")
    return docker is not None and subprocess.run([docker, "info"], capture_output=True).returncode == 0


@pytest.mark.skipif(not builder(), reason="no docker daemon answers here")
@pytest.mark.slow
def test_the_image_is_built_and_starts() -> None:
    subprocess.run(["docker", "build", "-q", "-t", "ziggurat-test", "."], cwd=ROOT, check=True)
    said = subprocess.run(
        ["docker", "run", "--rm", "--read-only", "ziggurat-test", "--help"], capture_output=True, check=True
    )
    assert b"Usage" in said.stdout
