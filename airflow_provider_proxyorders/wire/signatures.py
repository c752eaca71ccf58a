"""Webhook signatures: one place for the sender's signing and the receiver's verification, so both are the same code.

Two rules. The signature covers the received bytes; a body parsed and written again would differ. Every comparison takes the same
time, for a match and for a difference.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, get_args

Style = Literal["body", "timestamp", "stripe", "standard"]
Encoding = Literal["hex", "base64"]
#: Seconds. A larger tolerance would accept a delivery of another day.
LONGEST_TOLERANCE = 86400
#: Signatures of one delivery that are compared.
MOST_SIGNATURES = 64
#: The headers that Standard Webhooks publishes.
STANDARD_HEADERS = {"header": "webhook-signature", "timestamp_header": "webhook-timestamp", "id_header": "webhook-id"}
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}")


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
    encoding: Encoding = "hex"
    timestamp_header: str = "x-webhook-timestamp"
    id_header: str = "webhook-id"
    tolerance: float = 300.0

    def changed(self, changes: Any) -> Scheme:
        """This scheme with the changes of a connection. A missing field, or ``null``, stays as it is.

        :raises ValueError: with the rule that a change breaks, to follow the name of the setting.
        """
        if not isinstance(changes, Mapping):
            raise ValueError("must be an object")
        fields = {name: value for name, value in changes.items() if value is not None}
        unknown = [name for name in fields if name not in vars(self)]
        if unknown:
            raise ValueError(f"has an unknown field {unknown[0]!r}; its fields are {', '.join(vars(self))}")
        for name, allowed in (("kind", get_args(Style)), ("encoding", get_args(Encoding))):
            if name in fields and fields[name] not in allowed:
                raise ValueError(f"must have a {name} of {', '.join(allowed)}")
        for name in STANDARD_HEADERS:
            if name in fields and not (isinstance(fields[name], str) and _HEADER_NAME.fullmatch(fields[name])):
                raise ValueError(f"must have the name of a header in {name}")
        prefix = fields.get("prefix", "")
        if not (isinstance(prefix, str) and prefix.isascii() and prefix.isprintable() and "," not in prefix):
            raise ValueError("must have a text without commas in prefix")
        if "tolerance" in fields:
            fields["tolerance"] = _tolerance(fields["tolerance"])
        return Scheme(**{**vars(self), **(STANDARD_HEADERS if fields.get("kind") == "standard" else {}), **fields})

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
            self.header: f"v1,{self._code(_standard_keys(secret)[0], signed)}",
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
        codes = [self._code(key, signed) for secret in secrets for key in self._keys(secret)]
        matches = [
            hmac.compare_digest(code.encode(), self._normal(candidate).encode("utf-8", "replace"))
            for candidate in candidates[:MOST_SIGNATURES]
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
        parts = header.replace(",v1,", " v1,").split()  # a repeated header is joined with commas
        candidates = [part[3:].rstrip(",") for part in parts if part.startswith("v1,")]
        return stamp, f"{message_id}.{stamp}.".encode() + body, candidates

    def _keys(self, secret: str) -> list[bytes]:
        return _standard_keys(secret) if self.kind == "standard" else [secret.encode()]

    def _normal(self, candidate: str) -> str:
        """A signature of a header as :meth:`_code` writes it."""
        candidate = candidate.strip()
        return candidate.lower() if self.kind != "standard" and self.encoding == "hex" else candidate

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
    """Whether a secret has content after an optional ``whsec_``. Every attacker could sign with an empty key.

    HMAC fills a key with zero bytes, so a key of zero bytes is as good as an empty one.
    """
    text = secret.strip().removeprefix(PREFIX).strip()
    return bool(text.strip("\0=")) and (_base64_key(text) or b"?").strip(b"\0") != b""


def _tolerance(value: Any) -> float:
    try:
        seconds = Decimal(str(value).strip()) if not isinstance(value, bool) else Decimal(-1)
    except InvalidOperation:
        seconds = Decimal(-1)
    if not (seconds.is_finite() and 1 <= seconds <= LONGEST_TOLERANCE):
        raise ValueError(f"must have 1 to {LONGEST_TOLERANCE} seconds in tolerance")
    return float(seconds)


def _standard_keys(secret: str) -> list[bytes]:
    """The keys that a secret of Standard Webhooks can mean; the first one signs.

    A secret is base64, url-safe or not, with padding or without. Some senders use a plain text.
    """
    text = secret.strip().removeprefix(PREFIX)
    key, plain = _base64_key(text), secret.encode()
    if key is None:
        return [plain]
    url_safe = bool(set("-_") & set(text)) and text == secret
    return [plain, key] if url_safe else [key, plain]


def _base64_key(text: str) -> bytes | None:
    padded = text.rstrip("=").translate(str.maketrans("-_", "+/"))
    try:
        return base64.b64decode(padded + "=" * (-len(padded) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
