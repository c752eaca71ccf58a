"""README for the package index: the build turns links into this checkout, which lead nowhere there, into plain text."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_IMAGE = re.compile(r"^!\[[^\]]*\]\((?!https://)[^)]*\)\n\n?", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]*)\]\((?!https://|#)[^)]*\)")


def for_the_index(readme: str) -> str:
    """The text without pictures and links that lead to a file."""
    return _LINK.sub(r"\1", _IMAGE.sub("", readme))


class IndexReadme(MetadataHookInterface):
    """Called by hatchling for the metadata of each archive."""

    def update(self, metadata: dict[str, Any]) -> None:
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": for_the_index(text)}
