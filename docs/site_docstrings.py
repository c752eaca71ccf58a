"""Docstrings for the site: a line for several parameters or errors becomes one line for each."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension

_SEVERAL = re.compile(r"^( *):(param|raises) (\w+(?:, \w+)+): (.*(?:\n\1 +\S.*)*)", re.MULTILINE)


def _one_each(match: re.Match[str]) -> str:
    indent, kind, names, text = match.groups()
    return "\n".join(f"{indent}:{kind} {name}: {text}" for name in names.split(", "))


class OneEach(Extension):
    """Called for each object that the site shows."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = _SEVERAL.sub(_one_each, obj.docstring.value)
