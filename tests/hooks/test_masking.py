"""Secrets by their name and by their value: one list of names, and a masker that hides as many as it says."""

from __future__ import annotations

import logging
from urllib.parse import quote

import pytest
from airflow.sdk.log import redact

from airflow_provider_proxyorders.domain.delivered import Delivery, Proxy
from airflow_provider_proxyorders.domain.secrets import is_secret_name, masked
from airflow_provider_proxyorders.hooks import masking
from airflow_provider_proxyorders.hooks.masking import mask
from tests.hooks.connections import Shops

SECRET_NAMES = [
    *(
        "password",
        "pwd",
        "user_pass",
        "Pass",
        "passphrase",
        "auth",
        "x-auth-key",
        "otp",
        "pin",
        "sim_pin",
        "PIN",
        "cookie",
        "jwt",
    ),
    *("session_id", "private_key", "privateKey", "access_key", "AccessKey", "apiKey", "API-KEY", "api key", "refreshToken"),
    *("client_secret", "Authorization", "authCode", "credentials", "passcode", "cvv"),
]


@pytest.mark.parametrize("name", SECRET_NAMES)
def test_a_secret_is_masked_by_its_name_in_every_spelling(name: str) -> None:
    assert is_secret_name(name)
    assert masked({"rows": [{name: "1234", "quantity": 2}]}) == {"rows": [{name: "***", "quantity": 2}]}


@pytest.mark.parametrize(
    "name", ["compass", "passenger", "author", "pinned", "spin", "opinion", "quantity", "item_id", "key", "monkey"]
)
def test_other_names_are_shown(name: str) -> None:
    assert masked({name: "1234"}) == {name: "1234"}


#: Airflow's masker takes minutes for the real number on a busy machine.
MOST = 40


@pytest.fixture(autouse=True)
def fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    assert masking.MOST_MASKED == 300
    monkeypatch.setattr(masking, "MOST_MASKED", MOST)


def test_every_password_is_hidden_in_its_address_too() -> None:
    proxies = tuple(Proxy("203.0.113.1", 8000, "user", f"p@ss/wörd {number:04d}:x") for number in range(MOST))
    mask(Delivery("7001", proxies))
    log = "\n".join([*(f"login {proxy.password} ;" for proxy in proxies), *(proxy.url for proxy in proxies)])
    hidden = str(redact(log))
    assert not [proxy for proxy in proxies if str(proxy.password) in hidden or quote(str(proxy.password), safe="") in hidden]


def test_more_than_it_hides_is_said(caplog: pytest.LogCaptureFixture) -> None:
    codes = tuple(f"code-{number:05d}" for number in range(MOST + 1))
    with caplog.at_level(logging.WARNING):
        mask(Delivery("7001", codes=codes))
    assert "41 different passwords or codes; Airflow hides only the first 40" in caplog.text
    assert codes[MOST - 1] not in str(redact(f"<{codes[MOST - 1]}>"))


def test_the_token_of_a_login_is_hidden(shops: Shops) -> None:
    hook = shops.hook("voodoo")
    hook.get_balance()
    token = hook.vendor.account.session["token"]
    assert token not in str(redact(f"asked with {token};"))
