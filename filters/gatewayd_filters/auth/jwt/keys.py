"""Keys that tokens are verified with, each with the algorithms that it may be used with.

The algorithm is pinned to the key (RFC 8725 section 3.1): what a token's header says can only
choose among those that the configuration allows and that fit the key's type. So there is no way to
have a public key taken for a shared secret.
"""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from jwt import InvalidKeyError
from jwt.algorithms import ECAlgorithm, HMACAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.algorithms import get_default_algorithms as pyjwt_algorithms

from gatewayd import check_strength, load_public_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from jwt.algorithms import Algorithm

MAX_KEYS = 32
"""Most keys of a set; issuers have two or three. A token without `kid` is tried with all."""
MAX_KID_LENGTH = 256
"""Longest `kid`; it is looked up in a table, and nothing else is ever made of it."""

_ALGORITHMS: Mapping[str, Algorithm] = pyjwt_algorithms()
_HASH_BYTES = {"HS256": 32, "HS384": 48, "HS512": 64}
_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_OF_JWK: Mapping[str, type[Algorithm]] = {
    "RSA": RSAAlgorithm, "EC": ECAlgorithm, "OKP": OKPAlgorithm, "oct": HMACAlgorithm,
}  # fmt: skip
# What a shared secret must not look like: somebody's public key, which everybody knows.
_PUBLIC_MARKS = (b"-----BEGIN", b"ssh-rsa", b"ssh-ed25519", b"ecdsa-sha2-")

logger = logging.getLogger("gatewayd.filters.auth.jwt")


class UnusableKey(ValueError):  # noqa: N818
    """A key that cannot be used; the text says why and shows nothing of it."""


class VerificationKey:
    """A key.

    Args:
        material: A public key, or the bytes of a shared secret.
        algorithms: The configured algorithms; those that do not fit the key are left out.
        kid: Its name in a set, ``None`` where it has none.

    Attributes:
        algorithms: Names of the algorithms that it may be used with.
        kid: The same.
        identity: Equal for equal keys, also when a set is fetched again.

    Raises:
        UnusableKey: it fits none of the algorithms, or is too weak.

    """

    __slots__ = ("_material", "algorithms", "identity", "kid")

    def __init__(self, material: Any, algorithms: Iterable[str], kid: str | None = None) -> None:
        fitting = _fitting(material)
        self.algorithms = frozenset(algorithms) & frozenset(fitting)
        if not self.algorithms:
            raise UnusableKey(f"it is for {' or '.join(fitting)}, which `algorithms` does not have")
        if isinstance(material, bytes):
            _check_secret(material, self.algorithms)
        self._material = material
        self.kid = kid
        self.identity: object = (kid, material if isinstance(material, bytes) else _der(material))

    def verifies(self, algorithm: str, signed: bytes, signature: bytes) -> bool:
        """Return whether a signature is that of this key over ``signed``."""
        if algorithm not in self.algorithms:
            return False
        # Raw ECDSA signatures (RFC 7518 section 3.4) of another length are refused by PyJWT, DER
        # among them; HMACs are compared in constant time.
        return bool(_ALGORITHMS[algorithm].verify(signed, self._material, signature))

    def __repr__(self) -> str:
        return f"<key {self.kid!r} for {', '.join(sorted(self.algorithms))}>"


def _fitting(material: Any) -> Sequence[str]:
    if isinstance(material, bytes):
        return tuple(_HASH_BYTES)
    if isinstance(material, rsa.RSAPublicKey):
        return _RSA
    if isinstance(material, ec.EllipticCurvePublicKey):
        return (_CURVES[material.curve.name],)
    if isinstance(material, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)):
        return ("EdDSA",)
    raise UnusableKey("expected an RSA, EC or Ed25519/Ed448 public key, or a secret")


def _check_secret(secret: bytes, algorithms: Iterable[str]) -> None:
    needed = max(_HASH_BYTES[name] for name in algorithms)
    if len(secret) < needed:
        raise UnusableKey(f"it has {len(secret)} bytes; expected {needed} or more")
    if any(mark in secret for mark in _PUBLIC_MARKS):
        raise UnusableKey("it looks like a public key, which is no secret")


def _der(material: Any) -> bytes:
    return bytes(
        material.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )


def key_of_secret(secret: str, algorithms: Iterable[str]) -> VerificationKey:
    """Return the key of a shared secret; raises :class:`UnusableKey`."""
    return VerificationKey(secret.encode(), algorithms)


def key_of_pem(text: str, algorithms: Iterable[str]) -> VerificationKey:
    """Return the key of a public key in PEM; raises :class:`UnusableKey`."""
    try:
        return VerificationKey(load_public_key(text), algorithms)
    except UnusableKey:
        raise
    except ValueError as error:
        raise UnusableKey(str(error)) from error


def keys_of_set(
    text: str | bytes, algorithms: Iterable[str], *, shared: bool
) -> list[VerificationKey]:
    """Return the usable keys of a JSON Web Key Set.

    Args:
        text: The set.
        algorithms: The configured algorithms.
        shared: Whether it may hold shared secrets.

    Keys that cannot be used are logged and left out, as issuers publish keys for other purposes in
    the same set.

    Raises:
        UnusableKey: it is no key set, or none of its keys can be used.

    """
    try:
        entries = json.loads(text)["keys"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UnusableKey("no JSON Web Key Set") from error
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise UnusableKey(f"expected a list of at most {MAX_KEYS} keys")
    keys, reasons = [], []
    for entry in entries:
        try:
            keys.append(_key_of_jwk(entry, algorithms, shared=shared))
        except UnusableKey as reason:
            reasons.append(str(reason))
    if not keys:
        raise UnusableKey("no usable key" + (f": {'; '.join(reasons[:3])}" if reasons else ""))
    if reasons:
        logger.info("%d keys of a key set are left out: %s", len(reasons), "; ".join(reasons[:3]))
    return keys


def _key_of_jwk(jwk: Any, algorithms: Iterable[str], *, shared: bool) -> VerificationKey:
    if not isinstance(jwk, dict):
        raise UnusableKey("no key")
    kid, kty = jwk.get("kid"), jwk.get("kty")
    if kid is not None and (not isinstance(kid, str) or len(kid) > MAX_KID_LENGTH):
        raise UnusableKey("its kid is no short text")
    if jwk.get("use", "sig") != "sig" or "verify" not in _operations(jwk):
        raise UnusableKey("it is not for signatures")
    if kty == "oct" and not shared:
        raise UnusableKey("a shared secret, and everybody can read it here")
    if "d" in jwk:  # RFC 7518 section 6: of all kinds of private keys
        raise UnusableKey("a private key, which only its owner may have")
    reader = _OF_JWK.get(kty) if isinstance(kty, str) else None
    if reader is None:
        raise UnusableKey("its kty is unknown")
    try:
        material = reader.from_jwk(jwk)
        if not isinstance(material, bytes):
            material = check_strength(material)
    except (InvalidKeyError, UnsupportedAlgorithm, ValueError, TypeError, KeyError) as error:
        raise UnusableKey(f"it cannot be read: {type(error).__name__}") from error
    pinned = set(algorithms)
    if (algorithm := jwk.get("alg")) is not None:
        pinned &= {algorithm} if isinstance(algorithm, str) else set()
    return VerificationKey(material, pinned, kid)


def _operations(jwk: Mapping[str, Any]) -> Sequence[Any]:
    operations = jwk.get("key_ops", ["verify"])
    return operations if isinstance(operations, list) else ()
