"""Which account is which wallet. A wallet is an account at a vendor, however many connections lead to it.

Four rules, the first that fits counts:

1. a connection that names its wallet has that wallet, and the account behind it joins that wallet;
2. an account has one wallet: a keyed hash of vendor, host and key names it. The key itself stays out of the ledger;
3. a connection keeps its wallet when its key changes. Ids that Airflow takes for one connection are one;
4. an unused account gets a wallet with the name of its connection.

Wallets are joined and never split, so a limit can only become stricter.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy import Connection, bindparam, exists, or_, select, text

from airflow_provider_proxyorders.domain.account import Account, host_of
from airflow_provider_proxyorders.domain.errors import ConfigError
from airflow_provider_proxyorders.ledger import facts, joining, trips, turns
from airflow_provider_proxyorders.ledger.dialect import insert_into, stamp
from airflow_provider_proxyorders.ledger.fingerprints import LedgerFingerprints
from airflow_provider_proxyorders.ledger.schema import accounts, connections, wallets

#: PostgreSQL's advisory lock for one writer at a time: two first uses of an account must get one wallet.
_WRITER_LOCK = 7_205_119_405

_OF_ACCOUNT = select(accounts.c.wallet).where(accounts.c.digest == bindparam("_digest"))
#: The former names of an account's wallet.
_FORMER_NAMES = select(wallets.c.wallet).where(wallets.c.joined == _OF_ACCOUNT.scalar_subquery()).order_by(wallets.c.wallet)
_OF_CONNECTION = select(connections.c.wallet, connections.c.named).where(
    connections.c.vendor == bindparam("_vendor"), connections.c.conn_id == bindparam("_conn_id")
)
#: A wallet of an older ledger: its name is in use, and no account has claimed it yet.
_UNCLAIMED = select(wallets.c.wallet).where(
    wallets.c.wallet == bindparam("_wallet"),
    wallets.c.joined.is_(None),
    ~exists().where(accounts.c.wallet == wallets.c.wallet),
    ~exists().where(connections.c.wallet == wallets.c.wallet),
)
#: Another connection of the same wallet that names another wallet.
_NAMED_OTHERWISE = (
    select(connections.c.name, connections.c.named)
    .where(
        connections.c.wallet == bindparam("_wallet"),
        connections.c.named != bindparam("_named"),
        or_(connections.c.vendor != bindparam("_vendor"), connections.c.conn_id != bindparam("_conn_id")),
    )
    .order_by(connections.c.name)
    .limit(1)
)
_ACCOUNTS = (
    select(accounts.c.digest, accounts.c.vendor, accounts.c.conn_id)
    .where(accounts.c.wallet == bindparam("_wallet"))
    .order_by(accounts.c.at)
)
_LIVE_WALLETS = select(wallets.c.wallet).where(wallets.c.joined.is_(None)).order_by(wallets.c.wallet)
_SHARING = select(connections.c.name).where(connections.c.wallet == bindparam("_wallet")).order_by(connections.c.name)
_OF_CONN_ID = select(connections.c.wallet).where(connections.c.conn_id == bindparam("_conn_id")).distinct()


@dataclass(frozen=True)
class Wallet:
    """The wallet of an account.

    :param former: names that it had before; purchases from then keep them in fingerprint, reference and default key.
    :param account: the keyed hash that names the account, "" before the ledger has one.
    :param is_new: whether this was the first use of the account, or the first one after a change of its connection.
    """

    name: str
    former: tuple[str, ...] = ()
    account: str = field(default="", compare=False)
    is_new: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class _Decision:
    """What the ledger says about an account.

    :param own: the wallet that it has up to now, ``None`` for an unknown account.
    :param joins: wallets that become part of ``wallet``.
    :param settled: whether the ledger has it written down like this.
    :param former: of a settled one, the former names of its wallet.
    """

    wallet: str
    own: str | None
    joins: tuple[str, ...]
    settled: bool
    former: tuple[str, ...]


def digest_of(salt: str, account: Account) -> str:
    """The keyed hash that names an account: of vendor, host and key. It does not lead back to the key."""
    identity = "\0".join((account.vendor, host_of(account.base_url), account.secret))
    return hmac.new(bytes.fromhex(salt), identity.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()


def folded(conn_id: str) -> str:
    """A connection id as Airflow's environment variables tell it from others: in one case."""
    return conn_id.upper().casefold()


class Accounts(LedgerFingerprints):
    """The accounts in one ledger database."""

    def resolve(self, account: Account) -> Wallet:
        """The wallet of an account, decided and written down at its first use.

        :raises ConfigError: another connection of the account names another wallet. Nothing was bought.
        """
        digest = digest_of(self.salt, account)
        with self.autocommit() as connection:
            decision = _decide(connection, account, digest)
            if decision.settled:
                return Wallet(decision.wallet, decision.former, digest)
        with self._alone() as connection:
            decision = _decide(connection, account, digest)
            refusal = _contradiction(connection, account, decision)
            if refusal is None:
                self._write(connection, account, digest, decision)
            elif decision.own is not None:
                _bind_connection(connection, account, decision.own)  # the other connection may follow it
            former = turns.former_names(connection, decision.wallet)
        if refusal is not None:
            raise refusal
        return Wallet(decision.wallet, former, digest, is_new=True)

    def look_up(self, account: Account) -> Wallet:
        """The wallet of an account as it stands; it writes nothing. An unused account has the name that it would get."""
        salt = facts.salt(self).get()
        with self.autocommit() as connection:
            digest = digest_of(salt, account) if salt else ""
            decision = _decide(connection, account, digest)
            wallet = decision.own or decision.wallet
            return Wallet(wallet, turns.former_names(connection, wallet), digest)

    def sharing(self, wallet: str) -> list[str]:
        """The connections that pay from a wallet, by their ids."""
        with self.autocommit() as connection:
            return list(connection.execute(_SHARING, {"_wallet": wallet}).scalars())

    def of_wallet(self, wallet: str) -> dict[str, str]:
        """The accounts of a wallet, each with the connection that leads to it; the newest account of each connection."""
        with self.autocommit() as connection:
            rows = connection.execute(_ACCOUNTS, {"_wallet": turns.live_name(connection, wallet)}).all()
        by_connection = {(row.vendor, folded(row.conn_id)): row for row in rows}
        return {row.digest: row.conn_id for row in by_connection.values()}

    def find(self, name: str) -> str:
        """The wallet that a person means: by its name, a former name, or the id of a connection. Else the name itself.

        :raises ConfigError: connections of several vendors have this id.
        """
        with self.autocommit() as connection:
            row = turns.read(connection, name)
            if row is not None:
                return str(row["wallet"])
            wallet_names = list(connection.execute(_OF_CONN_ID, {"_conn_id": folded(name)}).scalars())
        if len(wallet_names) > 1:
            raise ConfigError(
                f"{name!r} is the id of connections with several wallets: {', '.join(wallet_names)}. Name one of them."
            )
        return wallet_names[0] if wallet_names else name

    def require(self, name: str) -> str:
        """The wallet that a person means; see :meth:`find`.

        :raises ConfigError: no wallet and no connection of this ledger has this name.
        """
        wallet = self.find(name)
        with self.autocommit() as connection:
            if turns.read(connection, wallet) is not None:
                return wallet
            names = list(connection.execute(_LIVE_WALLETS).scalars())
        there = f"Its wallets: {', '.join(names)}" if names else "It is empty so far"
        raise ConfigError(f"{name!r} is the name of no wallet and of no connection in this ledger. {there}. Nothing was changed.")

    @contextmanager
    def _alone(self) -> Iterator[Connection]:
        """A transaction beside which no other one decides about accounts."""
        with self.transaction() as connection:
            if self.engine.dialect.name == "postgresql":
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_WRITER_LOCK})"))
            yield connection

    def _write(self, connection: Connection, account: Account, digest: str, decision: _Decision) -> None:
        now = stamp(self.clock())
        turns.add(connection, decision.wallet)
        for former in decision.joins:
            joining.join(connection, former, decision.wallet, now)
        columns = {"wallet": decision.wallet, "conn_id": account.conn_id, "at": now}
        insert = insert_into(connection, accounts).values(digest=digest, vendor=account.vendor, **columns)
        connection.execute(insert.on_conflict_do_update(index_elements=[accounts.c.digest], set_=columns))
        _bind_connection(connection, account, decision.wallet)


def _decide(connection: Connection, account: Account, digest: str) -> _Decision:
    """The rules at the top of this file."""
    automatic = f"{account.vendor}:{account.conn_id}"
    of_account, of_connection, of_name, former = trips.together(
        connection,
        (_OF_ACCOUNT, {"_digest": digest}),
        (_OF_CONNECTION, _of(account)),
        (_UNCLAIMED, {"_wallet": automatic}),
        (_FORMER_NAMES, {"_digest": digest}),
    )
    by_account = of_account[0]["wallet"] if of_account else None
    own = by_account or (of_connection[0]["wallet"] if of_connection else None)
    if account.named_wallet:
        wallet = turns.live_name(connection, account.named_wallet)
    else:
        wallet = own or turns.live_name(connection, automatic)
    unclaimed = of_name[0]["wallet"] if of_name else None
    joins = dict.fromkeys(name for name in (own, unclaimed) if name and name != wallet)
    settled = (
        not joins
        and by_account == wallet
        and bool(of_connection)
        and (of_connection[0]["wallet"], of_connection[0]["named"]) == (wallet, account.named_wallet)
    )
    return _Decision(wallet, own, tuple(joins), settled, tuple(row["wallet"] for row in former))


def _contradiction(connection: Connection, account: Account, decision: _Decision) -> ConfigError | None:
    """The error for two connections that give one account two names. An automatic name is given by nobody."""
    if decision.own is None or decision.own == decision.wallet:
        return None
    wallet = {"_wallet": decision.own, "_named": account.named_wallet, **_of(account)}
    other = connection.execute(_NAMED_OTHERWISE, wallet).first()
    if other is None:
        return None
    prefix = f"{account.vendor}:"
    names = [(name or "").removeprefix(prefix) for name in (account.named_wallet, other.named)]
    return ConfigError(
        f"connections {account.conn_id!r} and {other.name!r} pay from one account, and name its wallet {names[0]!r} and "
        f"{names[1]!r}. One balance is one wallet, or its limits would count twice. Nothing was bought. Give both connections "
        "the same 'wallet', or leave it out in one of them."
    )


def _bind_connection(connection: Connection, account: Account, wallet: str) -> None:
    changes = {"name": account.conn_id, "wallet": wallet, "named": account.named_wallet}
    insert = insert_into(connection, connections).values(vendor=account.vendor, conn_id=folded(account.conn_id), **changes)
    keys = [connections.c.vendor, connections.c.conn_id]
    connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=changes))


def _of(account: Account) -> dict[str, str]:
    return {"_vendor": account.vendor, "_conn_id": folded(account.conn_id)}
