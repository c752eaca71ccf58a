"""One rule, one function: a second copy of a rule is found, and the sentence says which function to call."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = "airflow_provider_proxyorders"


@dataclass(frozen=True)
class Rule:
    """A pattern of a copied rule.

    :param pattern: a regular expression over code as ``ast.unparse`` writes it: single quotes, one space, no comments.
    :param instead: the one function.
    :param home: the files that may hold it.
    :param most: how often it may stand there.
    """

    name: str
    pattern: str
    instead: str
    home: tuple[str, ...] = ()
    most: int = 1


_PASSING = r"\b(?:Throttled|VendorUnavailable|UnreadableAnswer)\b"

_CONDITION = r"(?:\w+\.)*(?:paid_through|only_within|due_until)"

RULES = [
    Rule(
        "errors that pass",
        rf"(isinstance\(\w+(\.\w+)*, |except |= )\(?[^()'\n]*{_PASSING}[^()'\n]*{_PASSING}"
        rf"|isinstance\([^()]*{_PASSING}\) or isinstance\([^()]*{_PASSING}|case {_PASSING}\([^)]*\) \| {_PASSING}",
        "error.passing",
        # Both leave UnreadableAnswer out on purpose: it shows that the vendor is there, and other calls or orders go on.
        ("triggers/gate.py", "wallet/reconcile.py"),
    ),
    Rule("nothing in a template", r"(['\"])None\1", "domain.inputs.is_given", ("domain/inputs.py",)),
    Rule(
        "nothing in another spelling",
        r"[!=]= 'null'|'null' [!=]=| in [(\[{][^()\[\]{}\n]*'null'"
        r"|[(\[{](?=[^()\[\]{}\n]*'')(?=[^()\[\]{}\n]*'(none|null)')",
        "domain.inputs.is_given",
        ("domain/inputs.py",),
    ),
    Rule("empty text as nothing", r" in [(\[{](None, ''|'', None)", "domain.inputs.is_given"),
    Rule(
        "currencies compared",
        r"\.currency (!=|==) |(!=|==) [\w.]+\.currency\b|currency\)? ?\.upper\(",
        "Money.comparable or Money.same_currency",
        ("domain/model.py",),
    ),
    Rule(
        "a moment as text",
        r"%Y-%m-%d %H:%M[^}]*\} UTC|%Y-%m-%d %H:%M.*'[^\n]*UTC|strftime\('[^'\n]*UTC",
        "domain.text.utc",
        ("domain/text.py",),
    ),
    Rule("a moment for the database", r"timespec='microseconds'", "ledger.dialect", ("ledger/dialect.py",)),
    Rule("insert or ignore", r"on_conflict_do_nothing", "ledger.dialect", ("ledger/dialect.py",)),
    Rule("settle time", r"settings\.get\('settle'|settings\['settle'\]", "Vendor.settle_time", ("vendors/base.py",)),
    Rule(
        "a vendor's own settle time",
        r"capabilities\.settle\b",
        "Vendor.settle_time",
        # The texts of the guarantees describe a vendor without an account.
        ("purchase/guarantees.py",),
    ),
    Rule(
        "the result object",
        r"'order_key': [^\n]*'ledger_url': |'ledger_url': [^\n]*'order_key': |\bdict\([^\n]*order_key=[^\n]*ledger_url=",
        "purchase.outcome",
        ("purchase/outcome.py",),
    ),
    Rule(
        "still due",
        rf"[<>]=? {_CONDITION}\b|\b{_CONDITION} [<>]|[<>]=? [\w.]+\('{_CONDITION}'|[+-] {_CONDITION}\b",
        "renewal.due.DueRule or reaches",
        ("renewal/due.py",),
        2,
    ),
    Rule(
        "webhook secret",
        r"settings\.get\('webhook_secret'\)|settings\['webhook_secret'\]",
        "Account.takes_webhooks or Account.webhook_secret",
        ("domain/account.py",),
    ),
    Rule("an error on one line", r"' '\.join\(str\(\w+\)\.split\(\)\)", "domain.text.one_line", ("domain/text.py",)),
    Rule(
        "a duration read",
        r"pendulum\.(parse|duration)\(",
        "domain.inputs.duration_of or moment_of",
        ("domain/dates.py", "wire/reading.py"),
        2,
    ),
    Rule(
        "a duration or moment read past the inputs",
        r"from airflow_provider_proxyorders\.domain\.dates import [^\n]*\b(moment|duration)\b",
        "domain.inputs.duration_of or moment_of",
        ("domain/inputs.py",),
    ),
]


def code_of(source: str) -> str:
    """A module's code in one form, without comments and docstrings."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and ast.get_docstring(node):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def copies(rule: Rule, modules: Mapping[str, str]) -> Iterator[str]:
    """Where a rule stands beside its home, and where it stands there too often."""
    for name, code in modules.items():
        count = len(re.findall(rule.pattern, code))
        if count > (rule.most if name in rule.home else 0):
            yield f"{name}: {rule.name} ({count} times); call {rule.instead}"


@pytest.fixture(scope="module")
def modules(project: Path) -> dict[str, str]:
    package = project / PACKAGE
    files = [file for file in package.rglob("*.py") if not {"migrations", "sandbox"} & set(file.relative_to(package).parts)]
    return {str(file.relative_to(package)): code_of(file.read_text(encoding="utf-8")) for file in files}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_package_holds_each_rule_once(rule: Rule, modules: dict[str, str]) -> None:
    assert not list(copies(rule, modules))


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.home], ids=lambda rule: rule.name)
def test_each_rule_has_its_home(rule: Rule, modules: dict[str, str]) -> None:
    """The pattern still matches the one function, so a change of style cannot blind the test."""
    assert all(re.search(rule.pattern, modules[home]) for home in rule.home) or rule.name == "a moment as text"


@pytest.mark.parametrize(
    ("name", "copy"),
    [
        ("errors that pass", "passing = isinstance(error, (Throttled, VendorUnavailable, UnreadableAnswer))"),
        ("errors that pass", "PASSING = (UnreadableAnswer, VendorUnavailable, Throttled)"),
        ("errors that pass", "try:\n    pass\nexcept (Throttled, VendorUnavailable, UnreadableAnswer):\n    pass"),
        ("errors that pass", "try:\n    pass\nexcept (Throttled, VendorUnavailable):\n    pass"),
        ("errors that pass", "passing = isinstance(error, Throttled | VendorUnavailable)"),
        ("errors that pass", "passing = isinstance(error, errors.UnreadableAnswer | errors.Throttled)"),
        ("errors that pass", "passing = isinstance(error, Throttled) or isinstance(error, UnreadableAnswer)"),
        ("errors that pass", "match error:\n    case Throttled() | VendorUnavailable():\n        pass"),
        ("nothing in another spelling", 'given = value.strip().lower() not in ("none", "null", "")'),
        ("nothing in another spelling", 'if value.lower() in ("none", "null", ""):\n    pass'),
        ("nothing in another spelling", 'empty = value in ("null", "")'),
        ("nothing in another spelling", 'empty = value == "null"'),
        ("nothing in another spelling", 'empty = "null" != value'),
        ("nothing in another spelling", 'EMPTY = frozenset({"", "null"})'),
        ("nothing in a template", 'given = value not in ("", "None", "null")'),
        ("nothing in a template", 'if request != "None":\n    pass'),
        ("empty text as nothing", 'given = value in (None, "")'),
        ("empty text as nothing", 'given = value not in ["", None]'),
        ("currencies compared", "if balance.currency != account.currency:\n    pass"),
        ("currencies compared", "same = account.currency == price.currency"),
        ("currencies compared", "same = ours == money.currency.upper()"),
        ("a moment as text", 'text = f"until {moment:%Y-%m-%d %H:%M} UTC"'),
        ("a moment as text", 'text = f"{moment:%Y-%m-%d %H:%M:%S} UTC"'),
        ("a moment as text", 'text = moment.strftime("%d %b %Y %H:%M UTC")'),
        ("a moment as text", 'text = moment.strftime("%Y-%m-%d %H:%M UTC")'),
        ("a moment for the database", 'stamp = moment.isoformat(timespec="microseconds")'),
        ("insert or ignore", "connection.execute(insert(table).on_conflict_do_nothing())"),
        ("settle time", 'own = self.account.settings.get("settle")'),
        ("settle time", 'own = settings.get("settle", 60)'),
        ("settle time", 'own = account.settings["settle"]'),
        ("a vendor's own settle time", "wait = vendor.capabilities.settle"),
        ("a vendor's own settle time", "wait = 2 * self.buyer.vendor.capabilities.settle + 5"),
        ("the result object", 'result = {"order_key": key, "order_id": 1, "price": f"{price:f}", "ledger_url": None}'),
        ("the result object", 'result = {"ledger_url": url, "order_key": key}'),
        ("the result object", "result = dict(order_key=key, order_id=1, ledger_url=None)"),
        ("still due", "due = ends < paid_through"),
        ("still due", "if self.paid_through <= ends:\n    pass"),
        ("still due", "due = ends - now <= self.only_within"),
        ("still due", "due = ends <= now + only_within"),
        ("still due", 'due = ends >= self._moment("paid_through")'),
        ("webhook secret", 'if self.account.settings.get("webhook_secret"):\n    pass'),
        ("an error on one line", 'line = " ".join(str(error).split())[:300]'),
        ("a duration read", "length = pendulum.parse(value)"),
        (
            "a duration or moment read past the inputs",
            "from airflow_provider_proxyorders.domain.dates import duration, later",
        ),
    ],
)
def test_a_copy_is_found(name: str, copy: str) -> None:
    rule = next(rule for rule in RULES if rule.name == name)
    assert list(copies(rule, {"operators/copied.py": code_of(copy)}))


def test_every_rule_is_shown_to_bite() -> None:
    marks = test_a_copy_is_found.pytestmark  # type: ignore[attr-defined]
    assert {name for name, _ in marks[0].args[1]} == {rule.name for rule in RULES}


@pytest.mark.parametrize("code", ['"""Text with "None" and {moment:%Y-%m-%d %H:%M} UTC."""', "# settings.get('settle')"])
def test_prose_is_no_copy(code: str) -> None:
    assert not [copy for rule in RULES for copy in copies(rule, {"operators/copied.py": code_of(code)})]
