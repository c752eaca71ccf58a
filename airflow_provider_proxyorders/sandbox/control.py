"""How tests, the demo and people steer the sandbox: a few verbs, the same from Python and over HTTP.

One rule: a command is an object with one verb. Beside the verb stand ``vendor`` (all vendors without it, where that makes sense)
and ``wallet`` (the name of one, else ``main``)::

    {"wallet": {"balance": "1.00"}}                     {"permission": "none" | "read" | "write"}
    {"order": {"id": 7001, "status": "confirmed"}}      an order bought before, in the vendor's own fields
    {"processing": 2.0}                                 seconds until an order is usable
    {"next_outcome": "failed", "details": {...}}        how the next order ends; several are used in turn
    {"set_status": {"order_id": "...", "status": "..."}}
    {"deliver_less": {"order_id": "...", "units": 1}}   proxies or codes of a delivered order that are left
    {"token": {"name": "second", "token": "...", "balance": "10"}}   one more wallet, or another token for one
    {"advance": 86400}   {"reset": true}

A vendor adds verbs of its own as :attr:`SandboxVendor.own_commands`::

    {"subaccount": {"AccountID": "...", "proxies": 5}}  ProxyScrape
    {"overview": true}                                  ProxyScrape; sub-accounts tell their ends
    {"card": {"id": 31}}                                IPRoyal
    {"product": {"id": 10, "name": "DC", "listed": true}}     IPRoyal; one more product, or a change of one
    {"partial_extensions": "history"}                   IPRoyal; how they show: history, date, silent, or refused
    {"product_required": true}                          IPRoyal; it lists orders by product only
    {"extend_processing": 2.0}                          IPRoyal and PROXY6; seconds until a paid extension shows
    {"per_second": 3}                                   PROXY6; more requests in one second get 429; null ends it
    {"revoke_jwt": true}                                Voodoo: issued tokens end, keys stay good
    {"webhook": {"url": "...", "secret": "...", "gap": 60, "tries": 3, "modes": ["doubled", "normal"]}}     Voodoo; null ends it
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from airflow_provider_proxyorders.domain.exact_json import exact
from airflow_provider_proxyorders.domain.model import decimal
from airflow_provider_proxyorders.sandbox.faults import Rule
from airflow_provider_proxyorders.sandbox.state import VENDORS, SandboxState
from airflow_provider_proxyorders.sandbox.vendor_base import Answer, Ask, Outcome, SandboxVendor

Command = Mapping[str, Any]


def control(state: SandboxState, commands: Command | Sequence[Command]) -> list[Any]:
    """Do the commands in turn.

    :returns: for each command the id of what it created, else None.
    :raises ValueError: for an impossible command, naming it; the commands before it are done.
    """
    done = []
    with state.lock:
        for command in [commands] if isinstance(commands, Mapping) else commands:
            try:
                done.append(_do(state, exact(command)))
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                raise ValueError(f"command {command!r} cannot be done: {error.__class__.__name__}: {error}") from error
    return done


def _do(state: SandboxState, command: Command) -> Any:
    vendor, wallet = command.get("vendor"), command.get("wallet")
    verbs = [name for name in command if name in VERBS and not (name == "wallet" and isinstance(wallet, str))]
    unknown = set(command) - set(VERBS) - {"vendor", "details"}
    if len(verbs) != 1 or unknown:
        raise ValueError(f"expected one verb of {', '.join(VERBS)}")
    if vendor is not None and vendor not in state.vendors:
        raise ValueError(f"vendor must be one of {', '.join(state.vendors)}")
    (verb,) = verbs
    if verb == "advance":
        state.clock.advance(float(command[verb]))
        return None
    if verb == "reset":
        state.reset(vendor)
        return None
    state.clock.run_due()
    chosen = [each for each in state.vendors.values() if vendor in (None, each.name) and _takes(each, verb)]
    if not chosen or (verb in FOR_ONE_VENDOR and len(chosen) != 1):
        raise ValueError(f"{verb!r} is for one vendor of {', '.join(state.vendors)}")
    name = wallet if isinstance(wallet, str) else None
    return [_act(pretended, verb, name, command) for pretended in chosen][0]


def _takes(vendor: SandboxVendor, verb: str) -> bool:
    return verb in COMMON_COMMANDS or verb in vendor.own_commands


def _act(vendor: SandboxVendor, verb: str, wallet: str | None, command: Command) -> Any:
    if verb in COMMON_COMMANDS:
        return COMMON_COMMANDS[verb](vendor, wallet, command[verb], command)
    return vendor.own_commands[verb](vendor, vendor.wallet(wallet), command[verb])


def _wallet(vendor: SandboxVendor, name: str | None, value: Any, _: Command) -> None:
    wallet = vendor.wallet(value.get("name", name))
    wallet.balance = decimal(value["balance"])


def _permission(vendor: SandboxVendor, name: str | None, value: Any, _: Command) -> None:
    vendor.wallet(name).permit(value)


def _order(vendor: SandboxVendor, name: str | None, value: Any, _: Command) -> str:
    return vendor.seed_order(vendor.wallet(name), value)


def _processing(vendor: SandboxVendor, _: str | None, value: Any, __: Command) -> None:
    vendor.processing = float(value)


def _next_outcome(vendor: SandboxVendor, _: str | None, value: Any, command: Command) -> None:
    vendor.outcomes.append(Outcome(str(value), command.get("details") or {}))


def _set_status(vendor: SandboxVendor, _: str | None, value: Any, command: Command) -> None:
    details = {**value, **(command.get("details") or {})}
    vendor.set_status(str(details.pop("order_id")), Outcome(str(details.pop("status")), details))


def _deliver_less(vendor: SandboxVendor, _: str | None, value: Any, __: Command) -> None:
    vendor.deliver_less(str(value["order_id"]), int(value["units"]))


def _token(vendor: SandboxVendor, _: str | None, value: Any, __: Command) -> None:
    vendor.open_wallet(str(value["name"]), value.get("token"), value.get("balance"))


#: verbs of every vendor
COMMON_COMMANDS: Mapping[str, Callable[[SandboxVendor, str | None, Any, Command], Any]] = {
    "wallet": _wallet,
    "permission": _permission,
    "order": _order,
    "processing": _processing,
    "next_outcome": _next_outcome,
    "set_status": _set_status,
    "deliver_less": _deliver_less,
    "token": _token,
}
VERBS = (*COMMON_COMMANDS, *(verb for vendor in VENDORS for verb in vendor.own_commands), "advance", "reset")
#: verbs that make no sense for all vendors at once
FOR_ONE_VENDOR = ("order", "set_status", "deliver_less", "token")


# ---------------------------------------------------------------------------------------------- over HTTP


def answer(state: SandboxState, ask: Ask, data: Any) -> Answer:
    """Answer a request below ``/_sandbox``.

    :param data: the body read as JSON, None without one.
    """
    try:
        match (ask.method, *ask.parts):
            case ("GET", "book"):
                return Answer(state.book.as_dict(ask.param("vendor")))
            case ("POST", "control"):
                return Answer({"done": control(state, data if isinstance(data, (Mapping, list)) else [])})
            case (_, "faults", *rest):
                return _faults(state, ask.method, rest, data)
            case ("GET",):
                return Answer(overview(state))
    except ValueError as error:
        return Answer({"error": str(error)}, 400)
    return UNKNOWN_PATH


def _faults(state: SandboxState, method: str, rest: Sequence[str], data: Any) -> Answer:
    match (method, *rest):
        case ("GET",):
            return Answer([rule.as_dict() for rule in state.faults.all()])
        case ("POST",):
            rules = [Rule.parse(item) for item in (data if isinstance(data, list) else [data])]
            return Answer([state.faults.add(rule).as_dict() for rule in rules])
        case ("DELETE",):
            state.faults.clear()
            return Answer([])
        case ("POST", number, "release"):
            for rule in state.faults.all():
                if str(rule.number) == number:
                    rule.release()
                    return Answer(rule.as_dict())
    return UNKNOWN_PATH


UNKNOWN_PATH = Answer({"error": "there is book, control, faults and whoami below /_sandbox"}, 404)


def overview(state: SandboxState) -> dict[str, Any]:
    """The vendors' addresses, wallets and tokens, and the sandbox's time."""
    with state.lock:
        vendors = {
            name: {
                "url": state.url(name),
                "wallets": {w.name: {"token": w.token, "balance": f"{w.balance:f}"} for w in vendor.wallets.values()},
            }
            for name, vendor in state.vendors.items()
        }
        return {"now": state.clock.now().isoformat(), "vendors": vendors}
