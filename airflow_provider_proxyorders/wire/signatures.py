"""Webhook signatures: one place for the sender's signing and the receiver's verification, so both are the same code.

Two rules. The signature covers the received bytes; a body parsed and written again would differ. Every comparison takes the same
time, for a match and for a difference.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Style = Literal["body", "timestamp", "stripe", "standard"]


class BadSignature(ValueError):
    """The webhook lacks proof of its sender. The text is for the operator's log only."""


class OutsideTolerance(BadSignature):
    """The signature is right, but the webhook is too old or from the future."""


@dataclass(frozen=True)
class Scheme:
    """One way to sign.

    :param kind: the signed content. ``body``: the body alone. ``timestamp``: ``TIMESTAMP.BODY``, with the timestamp in a header
        of its own. ``stripe``: the same with ``t=TIMESTAMP,v1=SIGNATURE`` in one header. ``standard``: Standard Webhooks,
        ``ID.TIMESTAMP.BODY`` with a base64 secret, with or without ``whsec_`` before it.
    :param header: the header with the signature, in upper or lower case.
    :param prefix: text before the signature, e.g. ``sha256=``.
    :param encoding: ``hex`` or ``base64``.
    :param tolerance: the largest difference of a timestamp, both ways, in seconds.
    """

    kind: Style = "body"
    header: str = "x-webhook-signature"
    prefix: str = "sha256="
    encoding: Literal["hex", "base64"] = "hex"
    timestamp_header: str = "x-webhook-timestamp"
    id_header: str = "webhook-id"
    tolerance: float = 300.0

    # -- the sender -------------------------------------------------------------------------------------------------

    def sign(self, body: bytes, secret: str, *, now: float = 0.0, message_id: str = "") -> dict[str, str]:
        """The headers of a signed webhook.

        :param now: unix seconds, for kinds with a timestamp.
        :param message_id: for ``standard``.
        """
        stamp = str(int(now))
        if self.kind == "body":
            return {self.header: self.prefix + self._code(secret.encode(), body)}
        if self.kind == "timestamp":
            signature = self._code(secret.encode(), f"{stamp}.".encode() + body)
            return {self.header: self.prefix + signature, self.timestamp_header: stamp}
        if self.kind == "stripe":
            return {self.header: f"t={stamp},v1={self._code(secret.encode(), f'{stamp}.'.encode() + body)}"}
        signed = f"{message_id}.{stamp}.".encode() + body
        return {
            self.header: f"v1,{self._code(_standard_key(secret), signed)}",
            self.timestamp_header: stamp,
            self.id_header: message_id,
        }

    # -- the receiver -----------------------------------------------------------------------------------------------

    def verify(self, body: bytes, headers: Mapping[str, str], secrets: Sequence[str], *, now: float) -> None:
        """Prove that a holder of one of the secrets sent exactly these bytes.

        :param headers: with lower-case names.
        :param secrets: the current secret and, during a change, the one before.
        :param now: unix seconds.
        :raises BadSignature: without this proof.
        :raises OutsideTolerance: for a proven webhook that is too old, or from the future.
        """
        header = headers.get(self.header.lower())
        if header is None:
            raise BadSignature(f"no header {self.header}")
        secrets = [secret for secret in secrets if has_key(secret)]
        if not secrets:
            raise BadSignature("the connection has no webhook secret")
        stamp, signed, candidates = self._read(header, headers, body)
        if stamp is not None and not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
            raise BadSignature("the timestamp is missing or no unix time")
        codes = [self._code(self._key(secret), signed) for secret in secrets]
        matches = [
            hmac.compare_digest(code.encode(), candidate.strip().encode("utf-8", "replace"))
            for candidate in candidates[:8]
            for code in codes
        ]
        if not any(matches):
            raise BadSignature("the signature does not fit these bytes and any of the connection's secrets")
        if stamp is not None and abs(now - int(stamp)) > self.tolerance:
            raise OutsideTolerance(f"the timestamp is {now - int(stamp):.0f} s off, {self.tolerance:.0f} are tolerated")

    def _read(self, header: str, headers: Mapping[str, str], body: bytes) -> tuple[str | None, bytes, list[str]]:
        """Timestamp (``None`` for ``body``), signed bytes and signatures of a webhook."""
        if self.kind == "body":
            return None, body, self._unprefixed(header)
        if self.kind == "stripe":
            pairs = [part.strip().partition("=") for part in header.split(",")]
            stamp = next((value for name, _, value in pairs if name == "t"), "")
            return stamp, f"{stamp}.".encode() + body, [value for name, _, value in pairs if name == "v1"]
        stamp = headers.get(self.timestamp_header.lower(), "")
        if self.kind == "timestamp":
            return stamp, f"{stamp}.".encode() + body, self._unprefixed(header)
        message_id = headers.get(self.id_header.lower(), "")
        candidates = [part[3:] for part in header.split(" ") if part.startswith("v1,")]
        return stamp, f"{message_id}.{stamp}.".encode() + body, candidates

    def _key(self, secret: str) -> bytes:
        return _standard_key(secret) if self.kind == "standard" else secret.encode()

    def _unprefixed(self, value: str) -> list[str]:
        """The signatures of a header. During a change of the secret there are several, with commas between."""
        parts = [part.strip() for part in value.split(",")]
        return [part[len(self.prefix) :] for part in parts if part.startswith(self.prefix)]

    def _code(self, key: bytes, signed: bytes) -> str:
        digest = hmac.new(key, signed, hashlib.sha256).digest()
        standard = self.kind == "standard" or self.encoding == "base64"
        return base64.b64encode(digest).decode() if standard else digest.hex()


#: An optional prefix of a base64 secret of Standard Webhooks.
PREFIX = "whsec_"


def has_key(secret: str) -> bool:
    """Whether a secret has content after an optional ``whsec_``. Every attacker could sign with an empty key."""
    return bool(secret.strip().removeprefix(PREFIX).strip())


def _standard_key(secret: str) -> bytes:
    try:
        return base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        return secret.encode()
