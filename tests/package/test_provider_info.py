"""What Airflow reads about the package: valid, complete, and enough to draw the forms without importing a hook."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from importlib import import_module
from importlib.resources import files
from typing import Any

import jsonschema
import pytest

from airflow_provider_proxyorders import get_provider_info
from airflow_provider_proxyorders.domain.settings import CONNECTION_SETTING_NAMES
from airflow_provider_proxyorders.hooks.connection import account_for
from airflow_provider_proxyorders.operators.orders import CreateProxyOrderOperator
from airflow_provider_proxyorders.provider_info import FILE, as_text, own_vendors, provider_info
from airflow_provider_proxyorders.vendors import vendor_class

INFO: dict[str, Any] = get_provider_info()
CONNECTIONS: dict[str, dict[str, Any]] = {one["connection-type"]: one for one in INFO["connection-types"]}


def schema(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(files("airflow").joinpath(name).read_text())
    return loaded


def test_the_file_says_what_the_vendors_say() -> None:
    assert FILE.read_text(encoding="utf-8") == as_text(provider_info()), "run `make metadata`"


def test_valid_against_airflows_schema() -> None:
    jsonschema.validate(INFO, schema("provider_info.schema.json"))


def test_every_part_valid_against_the_stricter_schema_for_providers() -> None:
    # that schema also asks for what only Airflow's own providers have (versions, state), so: part by part
    strict = schema("provider.yaml.schema.json")
    for part, value in INFO.items():
        jsonschema.validate(value, {**strict["properties"][part], "definitions": strict["definitions"]})


def test_every_module_imports_and_defines_something_of_its_own() -> None:
    for kind in ("hooks", "operators", "sensors", "triggers"):
        for entry in INFO[kind]:
            assert entry["integration-name"] in {item["integration-name"] for item in INFO["integrations"]}
            for name in entry["python-modules"]:
                module = import_module(name)
                assert [item for item in vars(module).values() if isinstance(item, type) and item.__module__ == name], name


def test_every_class_exists() -> None:
    for name in [*INFO["extra-links"], *(form["hook-class-name"] for form in CONNECTIONS.values())]:
        module, _, attribute = name.rpartition(".")
        assert isinstance(getattr(import_module(module), attribute), type)


def test_every_link_of_our_operators_is_registered() -> None:
    links = [type(link) for link in CreateProxyOrderOperator.operator_extra_links]
    assert INFO["extra-links"] == sorted(f"{link.__module__}.{link.__qualname__}" for link in links)


def test_hooks_and_connection_types_agree() -> None:
    for name, form in CONNECTIONS.items():
        module, _, attribute = form["hook-class-name"].rpartition(".")
        hook = getattr(import_module(module), attribute)
        assert (hook.conn_type, hook.hook_name) == (name, form["hook-name"])


def test_every_vendor_of_ours_has_a_connection_type() -> None:
    assert sorted(CONNECTIONS) == [vendor.name for vendor in own_vendors()]


@pytest.mark.parametrize("name", CONNECTIONS)
class TestForm:
    def test_every_field_explains_itself(self, name: str) -> None:
        for field, definition in CONNECTIONS[name]["conn-fields"].items():
            shape = definition["schema"]
            assert definition["label"], field
            assert len(definition["description"]) > 20, field
            obvious = "boolean" in shape["type"] or shape.get("format") == "password"
            assert obvious or {"example", "enum", "default"} & set(shape), f"{field} shows no example"
            assert "examples" not in shape, "Airflow's form says 'Start typing to see options' then"
            if "pattern" in shape:
                assert re.search(shape["pattern"], shape["example"]), field

    def test_standard_fields_are_renamed_explained_or_hidden(self, name: str) -> None:
        form = CONNECTIONS[name]["ui-field-behaviour"]
        shown = {"host", "login", "password"}
        assert set(form["hidden-fields"]) == {"port", "schema"}
        assert form["relabeling"]["login"] == "Most one order may cost", "the price cap is shown without a click"
        assert shown <= set(form["relabeling"]) and shown <= set(form["placeholders"])

    def test_a_name_that_airflow_masks_belongs_to_a_secret(self, name: str) -> None:
        from airflow._shared.secrets_masker import DEFAULT_SENSITIVE_FIELDS

        for field, definition in CONNECTIONS[name]["conn-fields"].items():
            masked = any(word in field.lower() for word in DEFAULT_SENSITIVE_FIELDS)
            assert masked == (definition["schema"].get("format") == "password"), field

    def test_shows_all_that_the_hook_reads_and_nothing_else(self, name: str) -> None:
        vendor = vendor_class(name)
        read = {*CONNECTION_SETTING_NAMES, *(setting.name for setting in vendor.settings)} - (
            set() if vendor.webhook else {"webhook_secret", "webhook_scheme"}
        )
        assert set(CONNECTIONS[name]["conn-fields"]) == read - {"max_order_price"}, "that one has the place of the login"

    def test_every_example_is_accepted_by_the_hook(self, name: str) -> None:
        from airflow.sdk import Connection

        extra = {
            field: definition["schema"]["example"]
            for field, definition in CONNECTIONS[name]["conn-fields"].items()
            if "example" in definition["schema"]
        }
        connection = Connection(conn_id="c", conn_type=name, login="50.00", password="invented-key", extra=json.dumps(extra))
        assert str(account_for(connection, vendor_class(name)).caps.max_order_price) == "50.00"

    def test_amounts_are_text(self, name: str) -> None:
        for field in ("daily_limit", "monthly_limit", "min_balance"):
            assert CONNECTIONS[name]["conn-fields"][field]["schema"]["type"] == ["string", "null"]


def test_airflow_shows_the_forms_without_importing_a_hook() -> None:
    imported = json.loads(
        _run(
            """
        import json, sys
        from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService
        forms = {form.connection_type: form.model_dump() for form in HookMetaService.hook_meta_data()
                 if form.connection_type in sys.argv}
        print(json.dumps({"forms": forms, "hooks": [m for m in sys.modules if m.startswith("airflow_provider_proxyorders.hooks")],
                          "http": [m for m in ("requests", "aiohttp") if m in sys.modules]}))
        """,
            *CONNECTIONS,
        )
    )
    assert imported["hooks"] == []
    for name, connection in CONNECTIONS.items():
        form = imported["forms"][name]
        assert form["hook_name"] == connection["hook-name"]
        assert form["standard_fields"]["password"]["title"] == connection["ui-field-behaviour"]["relabeling"]["password"]
        assert form["standard_fields"]["login"]["title"] == "Most one order may cost"
        assert not form["standard_fields"]["login"]["hidden"]
        assert set(form["extra_fields"]) == set(connection["conn-fields"])


def test_the_ledger_url_is_a_known_and_sensitive_option() -> None:
    option = json.loads(
        _run(
            """
        import json
        from airflow.configuration import conf
        print(json.dumps({"default": conf.get("proxyorders", "ledger_url"),
                          "sensitive": ("proxyorders", "ledger_url") in conf.sensitive_config_values}))
        """
        )
    )
    assert option == {"default": "", "sensitive": True}


def _run(script: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), *arguments], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]
