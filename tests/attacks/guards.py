"""Each test that ``docs/security.md`` names, and the guard that it shows: taken away, the test must fail.

One rule: a removal replaces one function or one limit, and leaves everything else as it is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from importlib import import_module
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import literal, select

from airflow_provider_proxyorders.ledger import facts

#: Stands for a limit that nothing reaches.
ENDLESS = 10**12


def _anything(*_: Any, **__: Any) -> Any:
    return None


def _refused_without_pause(real: Callable[..., None]) -> Callable[..., None]:
    def init(self: Any, *args: Any, unproven: bool = False, **options: Any) -> None:
        real(self, *args, unproven=False, **options)

    return init


def _mistakes_go_on(_: Any) -> Any:
    async def refusal(self: Any, scope: Any, receive: Any) -> Any:
        from airflow_provider_proxyorders.webhooks.refusals import Refused

        try:
            await self._receive(scope, receive)
        except Refused as refused:
            return refused
        return None

    return refusal


def _believed(_: Any) -> Any:
    from airflow_provider_proxyorders.triggers.events import payload_of

    return lambda self, events: [payload_of(event) for event in events]


def _all_or_nothing(_: Any) -> Any:
    def keep_each(self: Any, hints: Any) -> list[None]:
        self.keep(hints)
        return [None] * len(hints)

    return keep_each


def _open_for_others(_: Any) -> Any:
    return SimpleNamespace(**{**vars(os), "open": lambda path, flags, mode=0o777: os.open(path, flags, 0o644)})


def _all_are_allowed(_: Any) -> Any:
    return lambda self, conn_ids, method="GET": frozenset(conn_ids)


def _plain_address(_: Any) -> Any:
    return lambda url: url.render_as_string(hide_password=False)


def always(value: Any) -> Callable[[Any], Any]:
    """The same in the place of the guard."""
    return lambda real: value


PACKAGE = "airflow_provider_proxyorders."
#: By test: the guard as ``module:name`` below the package, and what takes its place, made from the guard itself.
GUARDS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "tests/webhooks/test_receiver.py::test_an_attack_is_refused_and_has_no_effect": (
        "wire.signatures:Scheme.verify",
        always(_anything),
    ),
    "tests/webhooks/test_receiver.py::test_copies_are_counted_and_not_kept_again": (
        "webhooks.receiver:digest_of",
        always(lambda *_: uuid4().hex),
    ),
    "tests/webhooks/test_receiver.py::test_old_and_future_timestamps": ("wire.signatures:abs", always(lambda _: 0)),
    "tests/webhooks/test_signatures.py::test_a_key_of_zero_bytes_is_an_empty_one": (
        "hooks.signing:has_key",
        always(lambda _: True),
    ),
    "tests/webhooks/test_receiver.py::test_the_time_of_an_answer_does_not_tell_which_connections_exist": (
        "webhooks.refusals:Refused.__init__",
        _refused_without_pause,
    ),
    "tests/webhooks/test_senders.py::test_a_flood_of_made_up_names_is_refused_unread_and_true_webhooks_pass": (
        "webhooks.senders:MOST_WAITING",
        always(ENDLESS),
    ),
    "tests/webhooks/test_receiver.py::test_a_reason_is_logged_once_a_minute": ("webhooks.refusals:LOG_EVERY", always(0.0)),
    "tests/webhooks/test_senders.py::test_a_captured_delivery_under_many_spellings_is_one_webhook": (
        "webhooks.senders:Senders.note_proven",
        always(lambda self, sender: sender),
    ),
    "tests/webhooks/test_senders.py::test_a_vault_that_takes_one_sign_for_another_gives_no_second_limit": (
        "webhooks.senders:_without_spelling",
        always(str.casefold),
    ),
    "tests/webhooks/test_server.py::test_a_connection_without_a_whole_head_ends": (
        "webhooks.server:BoundedProtocol._watch_head",
        always(_anything),
    ),
    "tests/webhooks/test_server.py::test_connections_are_bounded_and_come_back": (
        "webhooks.server:Places.take",
        always(lambda self, host: "anywhere"),
    ),
    "tests/webhooks/test_receiver.py::test_a_mistake_of_ours_shows_no_variable": (
        "webhooks.receiver:Receiver._refusal",
        _mistakes_go_on,
    ),
    "tests/hooks/test_connection.py::TestHost::test_a_key_in_clear_text_needs_a_permission": (
        "hooks.connection:in_clear_text",
        always(lambda _: False),
    ),
    "tests/tenants/test_order_keys.py::test_a_predictable_default_key_blocks_nobody": (
        "ledger.keys:LedgerKeys.free_key",
        always(lambda self, order_key, wallet: order_key),
    ),
    "tests/tenants/test_order_keys.py::test_a_conflict_with_another_connection_of_the_wallet_tells_only_that": (
        "ledger.keys:_is_same_connection",
        always(lambda *_: True),
    ),
    "tests/tenants/test_order_keys.py::test_a_task_with_another_wallet_by_now_buys_nothing": (
        "ledger.keys:_is_same_buyer",
        always(lambda *_: False),
    ),
    "tests/waiting/test_made_up_events.py::test_a_made_up_crossing_buys_nothing": (
        "triggers.wallet:WalletBalanceTrigger.verify_events",
        _believed,
    ),
    "tests/waiting/test_made_up_events.py::test_of_a_known_crossing_only_the_key_counts": (
        "triggers.wallet:WalletBalanceTrigger.verify_events",
        _believed,
    ),
    "tests/waiting/test_made_up_events.py::test_an_order_that_no_trigger_reported_is_left_out": (
        "triggers.events:was_reported",
        always(lambda *_: True),
    ),
    "tests/waiting/test_made_up_events.py::test_a_hostile_id_does_not_stop_the_true_events_beside_it": (
        "triggers.events:was_reported",
        always(lambda ledger, conn_id, order_id: facts.event_turn(ledger, conn_id, order_id, 1).get() is not None),
    ),
    "tests/webhooks/test_receiver.py::test_a_value_that_the_database_refuses_fails_alone": (
        "ledger.inbox:Inbox.keep_each",
        _all_or_nothing,
    ),
    "tests/webhooks/test_receiver.py::test_a_stolen_secret_cannot_fill_the_disk": (
        "ledger.intake:beyond_limit",
        always(lambda *_: frozenset()),
    ),
    "tests/webhooks/test_intake.py::test_a_restart_and_a_second_receiver_change_nothing": (
        "ledger.intake:add_new_rows",
        always(_anything),
    ),
    "tests/webhooks/test_intake.py::test_copies_use_up_nothing": ("ledger.intake:_STORED", always(select(literal("")))),
    "tests/webhooks/test_events.py::test_a_made_up_order_is_looked_for_a_few_times_only": (
        "triggers.events:EndedOrder._is_own",
        always(lambda self: True),
    ),
    "tests/page/test_attacks.py::test_a_viewer_sees_and_changes_nothing": ("page.rights:Rights.allowed", _all_are_allowed),
    "tests/page/test_attacks.py::test_of_another_team_no_call_tells_a_word": ("page.rights:Rights.allowed", _all_are_allowed),
    "tests/page/test_attacks.py::test_hostile_text_is_data_on_every_call": ("page.shapes:clean", always(lambda text: text)),
    "tests/ledger/test_address.py::test_only_its_owner_may_read_a_new_file": ("ledger.engine:os", _open_for_others),
    "tests/delivery/test_drafts.py::test_a_killed_writer_leaves_nothing_after_the_next_delivery": (
        "delivery.file:_remove_left_over",
        always(_anything),
    ),
    "tests/delivery/test_drafts.py::test_a_folder_of_drafts_that_somebody_else_made_is_left_alone": (
        "delivery.file:_is_private",
        always(lambda _: True),
    ),
    "tests/transport/test_environment.py::TestRedirects::test_nor_does_the_session_of_the_hook": (
        "transport.worker:_no_redirect",
        lambda _: import_module("requests").Session().get_redirect_target,
    ),
    "tests/waiting/test_retry_after.py::test_one_beyond_all_bounds_is_cut_and_said": (
        "wire.messages:LONGEST_ASKED",
        always(float(ENDLESS)),
    ),
    "tests/waiting/test_large_answer.py::test_the_loop_goes_on_meanwhile": ("transport.flow:LARGE", always(ENDLESS)),
    "tests/waiting/test_large_answer.py::test_a_text_that_is_no_time_is_not_remembered": (
        "wire.reading:LONGEST_TIME",
        always(ENDLESS),
    ),
    "tests/contract/test_gate.py": ("wire.gate:_UNSAFE", always(re.compile("(?!)"))),
    "tests/webhooks/test_signatures.py::test_a_change_that_can_never_verify_is_refused": (
        "wire.signatures:Scheme.changed",
        always(lambda self, changes: self),
    ),
    "tests/hooks/test_connection.py::TestWrongValues::test_what_a_paste_brings_along_is_not_part_of_a_secret": (
        "hooks.connection:_Reader.secrets",
        always(lambda self, name: self.extra.get(name)),
    ),
    "tests/hooks/test_connection.py::TestHost::test_the_path_of_a_uri_is_not_dropped": (
        "hooks.connection:_Reader.base_url",
        always(lambda self, connection: f"https://{connection.host}"),
    ),
    "tests/ledger/test_address.py::test_a_password_stays_out_of_errors": ("ledger.engine:without_password", _plain_address),
    "tests/transport/test_environment.py::TestProxies": ("transport.endpoint:Endpoint._read_proxy", always(_anything)),
}
#: Tests whose guard is no part that can be taken away, and what it is.
WITHOUT_REMOVAL: Mapping[str, str] = {
    "tests/tenants/test_order_keys.py::test_a_key_of_a_renewal_counts_for_its_wallet_only": (
        "the wallet is a condition of the query, which is one with its other conditions"
    ),
    "tests/tenants/test_dags.py::test_the_report_opens_a_file_only_for_the_task_that_wrote_it": (
        "the check is a line of an example DAG, which the test reads from its file"
    ),
    "tests/webhooks/test_events.py::test_the_reference_is_that_of_the_read": (
        "the event is made of the vendor's read alone; the delivery's reference never reaches that code"
    ),
    "tests/page/test_attacks.py::test_without_a_true_login_no_call_answers": (
        "the log-in is Airflow's, and each call depends on it"
    ),
    "tests/page/test_attacks.py::test_a_form_of_another_site_with_the_users_cookie_changes_nothing": (
        "the check is a dependency of each call, bound when the app is made"
    ),
    "tests/page/test_attacks.py::test_a_forged_id_is_refused_and_never_a_failure": (
        "an odd value ends in the ledger's look-up or in FastAPI's own check; there is no single guard"
    ),
    "tests/hooks/test_hook.py::TestReading::test_get_conn_shows_the_key_to_no_other_host": (
        "the session has the key in an adapter for the account's address; there is no check to skip"
    ),
    "tests/transport/test_environment.py::TestRedirects::test_a_reading_call_does_not_carry_the_key_elsewhere": (
        "each call of both clients asks for no redirects, by an argument of the call"
    ),
    "tests/hooks/test_connection.py::TestHost::test_a_text_of_a_uri_means_what_it_writes": (
        "each setting has one reader for text and JSON; there is no second one to fall back to"
    ),
}


class Remover:
    """A plugin of pytest: takes away the guard of each test, and keeps how the test ended."""

    def __init__(self) -> None:
        self.run: set[str] = set()
        self.failed: set[str] = set()
        self.broken: dict[str, str] = {}

    @pytest.fixture(autouse=True)
    def _without_guard(self, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
        place, removal = GUARDS[test_of(request.node.nodeid)]
        module, _, name = place.partition(":")
        owner: Any = import_module(PACKAGE + module)
        *path, last = name.split(".")
        for step in path:
            owner = getattr(owner, step)
        monkeypatch.setattr(owner, last, removal(getattr(owner, last, None)), raising=last != "abs")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.run.add(test_of(report.nodeid))
        if report.failed and report.when == "call":
            self.failed.add(test_of(report.nodeid))
        elif report.failed:
            self.broken[report.nodeid] = str(report.longrepr)[-500:]


def test_of(node_id: str) -> str:
    """The test, class or file of :data:`GUARDS` that a test belongs to."""
    plain = node_id.partition("[")[0]
    return max((test for test in GUARDS if plain == test or plain.startswith(f"{test}::")), key=len)


__all__ = ["GUARDS", "WITHOUT_REMOVAL", "Remover", "test_of"]
