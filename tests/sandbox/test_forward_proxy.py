"""Delivered proxies work, for whom they were delivered to, as long as they were paid for, and never leave this machine."""

from __future__ import annotations

import base64
import http.client
import http.server
import json
import socket
import threading

import pytest
import requests

DAY = 86400
ORDER = {"product_id": 9, "product_plan_id": 22, "product_location_id": 77, "quantity": 2, "auto_extend": False}


@pytest.fixture
def order(box, ask):
    order_id = ask("iproyal", "POST", "/orders", ORDER).data["id"]
    box.advance(1)
    return ask("iproyal", "GET", f"/orders/{order_id}").data


def proxy_url(order, n=0):
    proxy, port = order["proxy_data"]["proxies"][n], order["proxy_data"]["ports"]["http|https"]
    return f"http://{proxy['username']}:{proxy['password']}@{proxy['ip']}:{port}"


def through(order, url, n=0, method="GET", **options):
    with requests.Session() as session:
        session.trust_env = False
        session.proxies = {"http": proxy_url(order, n), "https": proxy_url(order, n)}
        return session.request(method, url, timeout=10, **options)


def basic(order):
    proxy = order["proxy_data"]["proxies"][0]
    return "Basic " + base64.b64encode(f"{proxy['username']}:{proxy['password']}".encode()).decode()


def raw(box, text):
    """Send text as it is; return everything that comes back until the proxy hangs up."""
    with socket.create_connection(("127.0.0.1", box.port), timeout=5) as connection:
        connection.sendall(text.encode())
        return b"".join(iter(lambda: connection.recv(65536), b"")).decode()


class _Target(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        said = json.dumps({"path": self.path, "headers": {k.lower(): v for k, v in self.headers.items()}, "size": len(body)})
        payload = said.encode() + b" " * int(self.headers.get("X-Pad", 0))
        self.send_response(200)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    do_GET = do_POST = _answer

    def log_message(self, *args):
        pass


@pytest.fixture
def target():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Target) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_whoami_names_the_order_behind_a_proxy(box, order):
    for n in (0, 1):
        said = through(order, box.whoami, n).json()
        assert said == {
            "via": "proxy",
            "vendor": "iproyal",
            "wallet": "main",
            "order_id": str(order["id"]),
            "username": order["proxy_data"]["proxies"][n]["username"],
        }
    with requests.Session() as session:
        session.trust_env = False
        assert session.get(box.whoami, timeout=5).json()["via"] == "direct"
    assert box.book.count("forward", "http") == 2


def test_a_tunnel_works_and_carries_several_requests(box, order):
    connection = http.client.HTTPConnection("127.0.0.1", box.port, timeout=5)
    connection.set_tunnel("localhost", box.port, headers={"Proxy-Authorization": basic(order)})
    for _ in range(2):
        connection.request("GET", "/_sandbox/whoami")
        assert json.loads(connection.getresponse().read())["order_id"] == str(order["id"])
    connection.close()
    assert box.book.count("forward", "connect") == 1


def test_what_is_forwarded_arrives_whole_and_without_the_proxys_login(order, target):
    said = through(order, f"{target}/a/b?c=d", method="POST", data=b"x" * 200_000, headers={"X-Own": "1"}).json()
    assert (said["path"], said["size"], said["headers"]["x-own"]) == ("/a/b?c=d", 200_000, "1")
    assert not [name for name in said["headers"] if name.startswith("proxy-")]
    big = through(order, target, headers={"X-Pad": "3000000"})
    assert len(big.content) > 3_000_000


def test_without_the_right_login_there_is_nothing(box, order):
    assert "HTTP/1.1 407" in raw(box, f"GET {box.whoami} HTTP/1.1\r\nHost: x\r\n\r\n")
    assert "HTTP/1.1 407" in raw(box, "CONNECT localhost:80 HTTP/1.1\r\nHost: x\r\n\r\n")
    for login in ("Basic ???", "Bearer x", "Basic " + base64.b64encode(b"nobody:x").decode(), basic(order)[:-4] + "AAA="):
        answer = raw(box, f"GET {box.whoami} HTTP/1.1\r\nHost: x\r\nProxy-Authorization: {login}\r\n\r\n")
        assert "HTTP/1.1 407" in answer and "Proxy-Authenticate: Basic" in answer


def test_it_works_no_longer_than_the_order(box, ask, order):
    box.advance(30 * DAY - 1)
    assert through(order, box.whoami).status_code == 200
    box.advance(1)
    assert through(order, box.whoami).status_code == 407


def test_an_extension_keeps_it_working_and_a_refund_ends_it(box, ask, order):
    ask("iproyal", "POST", f"/orders/{order['id']}/extend", {"product_plan_id": 22})
    box.advance(59 * DAY)
    assert through(order, box.whoami).status_code == 200
    box.control({"vendor": "iproyal", "set_status": {"order_id": order["id"], "status": "refunded"}})
    assert through(order, box.whoami).status_code == 407


@pytest.mark.parametrize("host", ["example.org", "10.0.0.1", "127.0.0.2", "[::1]", "localhost.example.org", "0.0.0.0", "127.1"])
def test_it_never_leaves_this_machine(box, order, host):
    login = f"Proxy-Authorization: {basic(order)}"
    assert "HTTP/1.1 403" in raw(box, f"GET http://{host}/ HTTP/1.1\r\nHost: localhost\r\n{login}\r\n\r\n")
    assert "HTTP/1.1 403" in raw(box, f"CONNECT {host}:{box.port} HTTP/1.1\r\nHost: localhost\r\n{login}\r\n\r\n")


def test_other_schemes_and_dead_targets_are_answered(box, order):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        dead = free.getsockname()[1]
    assert through(order, f"http://127.0.0.1:{dead}/").status_code == 502
    login = f"Proxy-Authorization: {basic(order)}"
    assert "HTTP/1.1 403" in raw(box, f"GET ftp://localhost/ HTTP/1.1\r\nHost: x\r\n{login}\r\n\r\n")
    assert "HTTP/1.1 502" in raw(box, f"CONNECT localhost:{dead} HTTP/1.1\r\nHost: x\r\n{login}\r\n\r\n")


def test_a_proxyscrape_list_works_as_it_is(box, ask):
    body = {"type": "new_datacenter_shared", "days": 30, "proxies[us]": 2}
    order_id = ask("proxyscrape", "POST", "/v4/account/orders/create", body).data["data"]
    box.advance(1)
    account = ask("proxyscrape", "GET", f"/v4/account/orders/{order_id}/status").data["data"]["subaccount"]["AccountID"]
    lines = ask("proxyscrape", "GET", f"/v4/account/{account}/datacenter_shared/proxy-list").text.splitlines()
    for line in lines:
        host, port, user, password = line.split(":")
        with requests.Session() as session:
            session.trust_env = False
            session.proxies = {"http": f"http://{user}:{password}@{host}:{port}"}
            assert session.get(box.whoami, timeout=5).json()["order_id"] == order_id
