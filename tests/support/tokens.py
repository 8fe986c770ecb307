"""Keys and tokens for tests: well-made ones by PyJWT, ill-made ones by hand."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

NOW = 1_800_000_000.0
"""What the time is in tests of tokens."""

SECRET = "a shared secret of the tests, with 64 bytes or more for all hashes"
ISSUER = "https://id.example.org/"
CLAIMS: dict[str, Any] = {"iss": ISSUER, "sub": "ada", "exp": NOW + 60}


@cache
def private_key(kind: str) -> Any:
    """Return a private key, the same one each time: ``RS``, ``ES256``, ``Ed25519``..."""
    curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}
    if kind in curves:
        return ec.generate_private_key(curves[kind])
    if kind == "Ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind == "Ed448":
        return ed448.Ed448PrivateKey.generate()
    bits = int(kind.partition("-")[2] or 2048)
    return rsa.generate_private_key(65537, bits)


def private_pem(kind: str) -> bytes:
    """Return a private key as PEM."""
    return bytes(private_key(kind).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def public_pem(kind: str) -> str:
    """Return a public key as PEM."""
    public = private_key(kind).public_key()
    return str(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode())


def jwk(kind: str, **members: Any) -> dict[str, Any]:
    """Return a public key as JWK, with further members."""
    algorithms = {"RS": "RS256", "Ed25519": "EdDSA", "Ed448": "EdDSA"}
    algorithm = jwt.get_algorithm_by_name(algorithms.get(kind.partition("-")[0], kind))
    text = algorithm.to_jwk(private_key(kind).public_key())
    made: dict[str, Any] = json.loads(text)
    return made | members


def jwks(*keys: dict[str, Any]) -> str:
    """Return a key set."""
    return json.dumps({"keys": keys})


def make(
    key: Any = SECRET,
    algorithm: str = "HS256",
    header: dict[str, Any] | None = None,
    **claims: Any,
) -> bytes:
    """Return a token with the usual claims, changed by these; ``...`` takes one out."""
    payload = {name: value for name, value in (CLAIMS | claims).items() if value is not ...}
    return jwt.encode(payload, key, algorithm, headers=header).encode()


def by_hand(header: Any, payload: Any, signature: bytes | None = None) -> bytes:
    """Return a token of any header and payload: texts as they are, anything else as JSON.

    Args:
        header, payload: The parts.
        signature: The signature; a good one by ``SECRET`` and HS256 where absent.

    """
    signed = b".".join(encoded(part) for part in (header, payload))
    if signature is None:
        signature = hmac.digest(SECRET.encode(), signed, hashlib.sha256)
    return signed + b"." + base64url(signature)


def encoded(part: Any) -> bytes:
    """Return a part of a token."""
    text = part if isinstance(part, str) else json.dumps(part)
    return base64url(text.encode())


def base64url(value: bytes) -> bytes:
    """Encode without padding."""
    return base64.urlsafe_b64encode(value).rstrip(b"=")
