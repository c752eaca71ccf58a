"""The one gate for what a vendor wrote: bounded in depth and length, without control characters, templates and secrets.

One rule: a vendor's text is data. It must not steer a terminal, break a line of a log, or carry a key of the account onwards.
Airflow renders some texts as templates, for example those that a mapped task takes over from XCom. So no text may begin one.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import accumulate
from typing import Any

#: Characters of one text. A longer one is cut: nothing that decides is as long.
LONGEST_TEXT = 10_000
#: Levels of lists and objects. What lies deeper is dropped.
DEEPEST = 40

#: Stands for a character that was taken out, and divides the beginning of a template. An id with it is another id, so it is
#: refused.
ALTERED = "\ufffd"
#: How templates begin: an expression, a statement, a comment.
_TEMPLATES = (b"{{", b"{%", b"{#")
#: Control characters, marks that turn or hide text, halves of characters, and the middle of the beginning of a template.
_UNSAFE = re.compile("[\0-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]|(?<=\\{)(?=[{%#])")
#: The same in a JSON document: escaped, or as they are in UTF-8. It may take an innocent text for an unsafe one.
_PERHAPS_UNSAFE = re.compile(
    rb"\\[bfnrt]|\\u(?:00[0-9]|061[cC]|20[026]|[fF][eE][fF][fF]|[dD][89a-fA-F])"
    rb"|\xc2[\x80-\x9f]|\xd8\x9c|\xe2\x80[\x8b-\x8f\xa8-\xae]|\xe2\x81[\xa0-\xa9]|\xef\xbb\xbf|\xed[\xa0-\xbf]|\x7f"
)
#: What each bracket adds to the depth, by its byte.
_STEPS = [1 if sign in b"[{" else -1 for sign in range(256)]
_OTHER_THAN_BRACKETS = bytes(sign for sign in range(256) if sign not in b"[]{}")


def admit(data: Any, body: bytes, redact: Callable[[str], str], *, delivers: bool = False) -> Any:
    """The JSON of an answer as the package may use it.

    :param body: the answer itself. It tells quickly that nothing needs a change.
    :param redact: replaces the account's secrets in a text.
    :param delivers: whether it is read for its proxies and codes. A password with another character is another password, so
        only secrets of the account are taken out of the texts.
    """
    unescaped = body.replace(b"\\/", b"/")  # PHP escapes every slash
    simple = unescaped.isascii() and b"\\" not in unescaped and b"\x7f" not in unescaped
    safe = not any(sign in unescaped for sign in _TEMPLATES) and (simple or not _PERHAPS_UNSAFE.search(unescaped))
    if safe and is_shallow(body) and _texts_are_short(body):
        text = unescaped.decode("utf-8", "replace")
        if redact(text) == text:
            return data
    return _cleaned(data, redact if delivers else lambda text: redact(plain(text, ALTERED)), DEEPEST)


def is_shallow(body: bytes) -> bool:
    """Whether a JSON document has at most :data:`DEEPEST` levels."""
    brackets = body.translate(None, _OTHER_THAN_BRACKETS)
    return len(brackets) <= DEEPEST or max(accumulate(map(_STEPS.__getitem__, brackets))) <= DEEPEST


def _texts_are_short(body: bytes) -> bool:
    """Whether no text can be too long: a text of two strides fills one of them without a quotation mark."""
    stride = LONGEST_TEXT // 2
    return all(body.find(b'"', start, start + stride) >= 0 for start in range(0, len(body) - stride + 1, stride))


def plain(text: str, instead: str = " ") -> str:
    """A text of one line, without characters that steer a terminal and without templates; at most :data:`LONGEST_TEXT` long.

    :param instead: stands in the place of each such character, and within the beginning of a template.
    """
    return _UNSAFE.sub(instead, text[:LONGEST_TEXT])


def _cleaned(value: Any, clean: Callable[[str], str], levels: int) -> Any:
    if isinstance(value, str):
        return clean(value)
    if not isinstance(value, (dict, list)):
        return value
    if not levels:
        return None
    if isinstance(value, dict):
        return {clean(name): _cleaned(item, clean, levels - 1) for name, item in value.items()}
    return [_cleaned(item, clean, levels - 1) for item in value]
