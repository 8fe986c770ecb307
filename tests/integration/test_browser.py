"""A page with what belongs to it, from nginx through the gateway into a browser."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.integration.configuration import config_for
from tests.support.servers import GatewayProcess, Nginx, Process, free_port, require_program

if TYPE_CHECKING:
    from pathlib import Path

SITE = {
    "index.html": """<!doctype html>
        <link rel="stylesheet" href="style.css">
        <script src="plain.js"></script>
        <script type="module" src="module.js"></script>
        <img src="picture.svg">
        <p id="facts"></p>
        """,
    "style.css": "#facts { color: rgb(1, 2, 3) }",
    "plain.js": "document.documentElement.dataset.plain = 'ran'",
    "module.js": """
        import { word } from "./imported.js";
        const { number } = await (await fetch("data.json")).json();
        const { byteLength } = await (await fetch("big.bin")).arrayBuffer();
        const facts = document.querySelector("#facts"), picture = document.querySelector("img");
        await picture.decode();
        const { color } = getComputedStyle(facts);
        facts.textContent = [word, number, byteLength, color, picture.naturalWidth].join(" | ");
        """,
    "imported.js": "export const word = 'imported'",
    "data.json": '{"number": 42}',
    "big.bin": "x" * 3_000_000,
    "picture.svg": '<svg xmlns="http://www.w3.org/2000/svg" width="7" height="7"/>',
}
FACTS = "imported | 42 | 3000000 | rgb(1, 2, 3) | 7"

NGINX = """
types {{
    text/html html; text/css css; text/javascript js; image/svg+xml svg; application/json json;
}}
log_format seen '$uri $status $http_via';
server {{
    listen 127.0.0.1:{port};
    root {folder}/site;
    access_log {folder}/seen.log seen;
}}
"""
# Loopback traffic only: nothing that a browser does on its own.
CHROMIUM = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-proxy-server",
]  # fmt: skip
LOAD_MILLISECONDS = 20_000  # of the page's own clock, which runs only while nothing is loading


def load_page(url: str, folder: Path) -> str:
    """Return the document as it is once scripts have run, amid what else Chromium prints."""
    chromium = require_program("chromium", package="chromium")
    options = [
        *CHROMIUM,
        f"--user-data-dir={folder}/profile",
        f"--virtual-time-budget={LOAD_MILLISECONDS}",
    ]
    command = [str(chromium), *options, "--dump-dom", url]
    home = {**os.environ, "HOME": str(folder)}  # the profile is not all that it writes
    with Process(command, folder / "chromium.log", environment=home) as browser:
        assert browser.wait(60) == 0, browser.log
    return browser.log


def test_a_page_and_its_assets_load(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    for name, content in SITE.items():
        (site / name).write_text(content)
    port = free_port()
    with (
        Nginx(tmp_path, port, NGINX.format(port=port, folder=tmp_path)),
        GatewayProcess(config_for(port), tmp_path) as gateway,
    ):
        document = load_page(gateway.url, tmp_path)
    assert 'data-plain="ran"' in document
    assert f'<p id="facts">{FACTS}</p>' in document
    seen = (tmp_path / "seen.log").read_text().splitlines()
    through_the_gateway = {f"/{name} 200 1.1 gatewayd" for name in SITE}
    # Chromium asks for an icon as well, which the site does not have.
    assert set(seen) - {"/favicon.ico 404 1.1 gatewayd"} == through_the_gateway
