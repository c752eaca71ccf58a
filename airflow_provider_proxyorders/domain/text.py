"""Moments, amounts and errors as text for people: one form each, in logs, messages and reports."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from decimal import Decimal
from typing import Literal

#: The most characters of an error in a report or in a step of the history.
LONGEST_LINE = 500
#: How a formula begins, in half and full width: at the start of a cell, or behind a sign at which some spreadsheets divide cells.
_FORMULA = re.compile("(^|[;,\t\r\n])([ \t\r\n\"'\ufffd]*)(?=[=+@|%\uff1d\uff0b\uff0d\uff20-])")


def utc(moment: datetime, precision: Literal["minutes", "seconds", "microseconds"] = "minutes") -> str:
    """``2026-12-31 12:00 UTC``."""
    return f"{moment.astimezone(timezone.utc).replace(tzinfo=None).isoformat(' ', precision)} UTC"


def one_line(error: BaseException, longest: int = LONGEST_LINE) -> str:
    """The text of an error on one line, cut at ``longest`` characters."""
    return " ".join(str(error).split())[:longest]


def amount(value: Decimal, digits: int = 2) -> str:
    """``12.50``: at least the digits of the currency, all further digits of the amount, without an exponent."""
    if value.adjusted() < 20 and value == value.quantize(Decimal(1).scaleb(-digits)):
        return f"{abs(value) if value == 0 else value:.{digits}f}"
    return f"{value:f}"


def no_formula(text: str) -> str:
    """A text for a cell of a spreadsheet: an apostrophe goes before each formula, so the spreadsheet shows it instead."""
    return _FORMULA.sub(r"\1'\2", text)


def is_formula(text: str) -> bool:
    """Whether a spreadsheet would run a cell with this text."""
    return _FORMULA.match(text) is not None
