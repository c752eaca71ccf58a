"""The documentation builds as a site without a warning, its links lead somewhere, and a reader's browser fetches nothing else."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest


@pytest.fixture(scope="module")
def site(project: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_every_link_leads_to_a_place(site: Path) -> None:
    pages = {path.resolve(): path.read_text(encoding="utf-8") for path in site.rglob("*.html")}
    places = {path: set(re.findall(r'\bid="([^"]+)"', text)) for path, text in pages.items()}
    broken, links = [], 0
    for path, text in pages.items():
        if path.name == "404.html":
            continue
        for link in re.findall(r'<(?:a|img|script|link)\b[^>]*?\b(?:href|src)="([^"]+)"', text):
            if re.match(r"[a-z]+:", link):
                continue
            links += 1
            address, place = urldefrag(link)
            target = (path.parent / unquote(address)).resolve() if address else path
            if not target.exists() or (place and target in places and unquote(place) not in places[target] and place != "__skip"):
                broken.append(f"{path.name}: {link}")
    assert broken == [] and links > 1000


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    fetched = [
        f"{path.name}: {link}"
        for path in site.rglob("*.html")
        for link in re.findall(
            r'<(?:img|script|link|iframe)\b[^>]*?\b(?:href|src)="(https?:[^"]+)"', path.read_text(encoding="utf-8")
        )
    ]
    assert fetched == []


def test_the_public_names_are_described(site: Path) -> None:
    page = (site / "api.html").read_text(encoding="utf-8")
    names = (
        "CreateProxyOrderOperator",
        "ExtendProxyOrderOperator",
        "read_delivery",
        "ProxyOrderSensor",
        "ProxyOrdersHook",
        "get_delivery",
    )
    assert [name for name in names if f'.{name}"' not in page] == []
    assert ":meth:" not in page and ":class:" not in page and ":param" not in page
