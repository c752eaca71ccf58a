"""How tests, the demo and people steer the sandbox: a few verbs, the same from Python and over HTTP.

One rule: a command is an object with one verb, and beside it ``vendor`` (all vendors where it is left out and that makes
sense) and ``wallet`` (the name of one, else ``main``)::

    {"wallet": {"balance": "1.00"}}                     {"permission": "none" | "read" | "write"}
    {"order": {"id": 7001, "status": "confirmed"}}      an order bought before, in the vendor's own fields
    {"subaccount": {"AccountID": "...", "proxies": 5}}  ProxyScrape
    {"card": {"id": 31}}                                IPRoyal
    {"processing": 2.0}   {"extend_processing": 2.0}    seconds until an order is usable, an extension shows (IPRoyal)
    {"next_outcome": "failed", "details": {...}}        how the next order ends; several are worked off in turn
    {"set_status": {"order_id": "...", "status": "..."}}
    {"token": {"name": "second", "token": "...", "balance": "10"}}   one more wallet, or another token for one
    {"revoke_jwt": true}                                Voodoo: issued tokens end, keys stay good
    {"webhook": {"url": "...", "secret": "...", "gap": 60, "tries": 3, "modes": ["doubled", "normal"]}}     Voodoo; null ends it
    {"advance": 86400}   {"reset": true}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from airflow_provider_proxyorders.domain.exact_json import exact
from airflow_provider_proxyorders.domain.model import decimal
from airflow_provider_proxyorders.sandbox.faults import Rule
from airflow_provider_proxyorders.sandbox.iproyal import IPRoyalShop
from airflow_provider_proxyorders.sandbox.proxyscrape import ProxyScrapeShop
from airflow_provider_proxyorders.sandbox.state import World
from airflow_provider_proxyorders.sandbox.vendor_base import Answer, Ask, Outcome, Shop
from airflow_provider_proxyorders.sandbox.voodoo import VoodooShop

Command = Mapping[str, Any]


def control(world: World, commands: Command | Sequence[Command]) -> list[Any]:
    """Do the commands in turn.

    :returns: for each the id of what it put there, else None.
    :raises ValueError: for a command that cannot be done, naming it; those before it are done.
    """
    done = []
    with world.lock:
        for command in [commands] if isinstance(commands, Mapping) else commands:
            try:
                done.append(_do(world, exact(command)))
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                raise ValueError(f"command {command!r} cannot be done: {error.__class__.__name__}: {error}") from error
    return done


def _do(world: World, command: Command) -> Any:
    vendor, wallet = command.get("vendor"), command.get("wallet")
    verbs = [name for name in command if name in _VERBS and not (name == "wallet" and isinstance(wallet, str))]
    unknown = set(command) - set(_VERBS) - {"vendor", "details"}
    if len(verbs) != 1 or unknown:
        raise ValueError(f"expected one verb of {', '.join(_VERBS)}")
    if vendor is not None and vendor not in world.shops:
        raise ValueError(f"vendor is one of {', '.join(world.shops)}")
    (verb,) = verbs
    if verb == "advance":
        world.clock.advance(float(command[verb]))
        return None
    if verb == "reset":
        world.reset(vendor)
        return None
    world.clock.run_due()
    kind, act = _VERBS[verb]
    shops = [shop for shop in world.shops.values() if vendor in (None, shop.name) and isinstance(shop, kind)]
    if not shops or (verb in _ONE and len(shops) != 1):
        raise ValueError(f"{verb!r} is for one vendor of {', '.join(world.shops)}")
    results = [act(shop, wallet if isinstance(wallet, str) else None, command[verb], command) for shop in shops]
    return results[0]


Act = Callable[[Any, str | None, Any, Command], Any]


def _wallet(shop: Shop, name: str | None, value: Any, _: Command) -> None:
    wallet = shop.wallet(value.get("name", name))
    wallet.balance = decimal(value["balance"])


def _permission(shop: Shop, name: str | None, value: Any, _: Command) -> None:
    shop.wallet(name).permit(value)


def _order(shop: Shop, name: str | None, value: Any, _: Command) -> str:
    return shop.seed_order(shop.wallet(name), value)


def _subaccount(shop: ProxyScrapeShop, name: str | None, value: Any, _: Command) -> str:
    return shop.seed_account(shop.wallet(name), value)


def _card(shop: IPRoyalShop, name: str | None, value: Any, _: Command) -> None:
    shop.add_card(shop.wallet(name), value)


def _processing(shop: Shop, _: str | None, value: Any, __: Command) -> None:
    shop.processing = float(value)


def _extend_processing(shop: IPRoyalShop, _: str | None, value: Any, __: Command) -> None:
    shop.extend_processing = float(value)


def _next_outcome(shop: Shop, _: str | None, value: Any, command: Command) -> None:
    shop.outcomes.append(Outcome(str(value), command.get("details") or {}))


def _set_status(shop: Shop, _: str | None, value: Any, command: Command) -> None:
    details = {**value, **(command.get("details") or {})}
    shop.set_status(str(details.pop("order_id")), Outcome(str(details.pop("status")), details))


def _token(shop: Shop, _: str | None, value: Any, __: Command) -> None:
    shop.open_wallet(str(value["name"]), value.get("token"), value.get("balance"))


def _revoke(shop: VoodooShop, _: str | None, value: Any, __: Command) -> None:
    if value:
        shop.revoke_tokens()


def _webhook(shop: VoodooShop, _: str | None, value: Any, __: Command) -> None:
    shop.courier.use(value)


_VERBS: Mapping[str, tuple[type[Shop], Act]] = {
    "wallet": (Shop, _wallet),
    "permission": (Shop, _permission),
    "order": (Shop, _order),
    "subaccount": (ProxyScrapeShop, _subaccount),
    "card": (IPRoyalShop, _card),
    "processing": (Shop, _processing),
    "extend_processing": (IPRoyalShop, _extend_processing),
    "next_outcome": (Shop, _next_outcome),
    "set_status": (Shop, _set_status),
    "token": (Shop, _token),
    "revoke_jwt": (VoodooShop, _revoke),
    "webhook": (VoodooShop, _webhook),
    "advance": (Shop, lambda *_: None),
    "reset": (Shop, lambda *_: None),
}
#: verbs that make no sense for all vendors at once
_ONE = ("order", "set_status", "token")


# ---------------------------------------------------------------------------------------------- over HTTP


def answer(world: World, ask: Ask, data: Any) -> Answer:
    """Answer a request below ``/_sandbox``.

    :param data: the body read as JSON, None without one.
    """
    try:
        match (ask.method, *ask.parts):
            case ("GET", "book"):
                return Answer(world.book.as_dict(ask.param("vendor")))
            case ("POST", "control"):
                return Answer({"done": control(world, data if isinstance(data, (Mapping, list)) else [])})
            case ("GET", "faults"):
                return Answer([rule.as_dict() for rule in world.faults.all()])
            case ("POST", "faults"):
                rules = [Rule.parse(item) for item in (data if isinstance(data, list) else [data])]
                return Answer([world.faults.add(rule).as_dict() for rule in rules])
            case ("DELETE", "faults"):
                world.faults.clear()
                return Answer([])
            case ("POST", "faults", number, "release"):
                for rule in world.faults.all():
                    if str(rule.number) == number:
                        rule.release()
                        return Answer(rule.as_dict())
            case ("GET",):
                return Answer(overview(world))
    except ValueError as error:
        return Answer({"error": str(error)}, 400)
    return Answer({"error": "there is book, control, faults and whoami below /_sandbox"}, 404)


def overview(world: World) -> dict[str, Any]:
    """Where the vendors are, who may buy there, and what time it is."""
    with world.lock:
        vendors = {
            name: {
                "url": world.url(name),
                "wallets": {w.name: {"token": w.token, "balance": f"{w.balance:f}"} for w in shop.wallets.values()},
            }
            for name, shop in world.shops.items()
        }
        return {"now": world.clock.now().isoformat(), "vendors": vendors}
