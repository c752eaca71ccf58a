"""The fingerprint of a request, keyed with the ledger's salt.

The ledger masks the secrets of a request. A plain hash would give a short one, such as a PIN, away: each PIN can be tried. The
ledger therefore keeps a keyed hash of the plain one. Older rows have the plain hash, which stands for the same request.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from airflow_provider_proxyorders.domain.model import Purchase
from airflow_provider_proxyorders.ledger import facts


def keyed(salt: str, fingerprint: str) -> str:
    """The keyed hash of a plain fingerprint.

    :param salt: the ledger's salt, in hex.
    """
    return hmac.new(bytes.fromhex(salt), f"request {fingerprint}".encode(), hashlib.sha256).hexdigest()


class LedgerFingerprints(facts.FactStore):
    """The part of a ledger that tells whether two requests are the same."""

    _salt = ""

    @property
    def salt(self) -> str:
        """The random key of the ledger's keyed hashes, in hex; decided at its first use.

        It is no cached property: before Python 3.12 that has one lock for all ledgers of a process, held while one is read.
        """
        if not self._salt:
            salt = facts.salt(self)
            self._salt = salt.get() or salt.decide_once(secrets.token_hex(32))
        return self._salt

    @property
    def identity(self) -> str:
        """A short id of this ledger, the same on every host that uses it. A copy of the ledger has it too."""
        return hashlib.sha256(f"identity {self.salt}".encode()).hexdigest()[:12]

    def is_same_request(self, purchase: Purchase, fingerprint: str) -> bool:
        """Whether a purchase was intended with this request.

        :param fingerprint: the plain SHA-256 of the request.
        """
        return purchase.fingerprint in (keyed(self.salt, fingerprint), fingerprint)
