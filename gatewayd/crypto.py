"""Keys: API keys and their hashes, and the asymmetric keys that tokens are signed with.

An API key is ``gw_<id>_<secret>``. The id is public and finds the key; the secret is 256 random
bits that only their owner has. What is stored of it is a keyed hash. A slow one such as Argon2
would add nothing: those slow down guessing, and nobody guesses 256 bits. The key of the hash, the
pepper, keeps a stolen database from being of any use.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

# cryptography is imported where keys are handled: 8 MB that a gateway without them need not have.
if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

PrivateKey: TypeAlias = (
    "rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey"
    " | ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey"
)
PublicKey: TypeAlias = (
    "rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | ed448.Ed448PublicKey"
)

MIN_RSA_BITS = 2048
"""Smallest RSA key: what RFC 7518 section 3.3 asks for, and NIST SP 800-131A."""
MAX_RSA_BITS = 8192
"""Largest RSA key: a check with one of 16384 bits takes 60 times as long as with one of 2048."""
_MIN_RSA_EXPONENT = 65537  # NIST SP 800-56B; a small one makes forgery easier where padding is weak
_CURVES = frozenset({"secp256r1", "secp384r1", "secp521r1"})  # those of RFC 7518 section 3.4

MAX_PEM_BYTES = 64 * 1024
"""Largest key file that is read."""

_API_KEY = re.compile(rb"gw_(?P<id>[0-9a-f]{16})_(?P<secret>[0-9a-f]{64})")


class WeakKey(ValueError):  # noqa: N818  # what it is
    """A key that is of the right form, and too weak to be relied on."""


def new_api_key() -> tuple[str, str, str]:
    """Return id, secret and the whole of a new API key; only its owner may keep the latter two."""
    key_id, secret = secrets.token_hex(8), secrets.token_hex(32)
    return key_id, secret, join_api_key(key_id, secret)


def join_api_key(key_id: str, secret: str) -> str:
    """Return the API key as its owner shows it."""
    return f"gw_{key_id}_{secret}"


def split_api_key(key: bytes) -> tuple[str, str] | None:
    """Return id and secret of an API key, ``None`` for what has not its exact form."""
    found = _API_KEY.fullmatch(key)
    return None if found is None else (found["id"].decode(), found["secret"].decode())


def hash_api_key(secret: str, pepper: str) -> bytes:
    """Return what is stored of an API key's secret: its HMAC-SHA256 under the pepper (RFC 2104)."""
    return hmac.digest(pepper.encode(), secret.encode(), hashlib.sha256)


def verify_api_key(secret: str, pepper: str, expected: bytes) -> bool:
    """Return whether a secret has this hash; takes as long for any secret of this length."""
    return hmac.compare_digest(hash_api_key(secret, pepper), expected)


def generate_rsa_key_pair(bits: int = 3072, passphrase: str | None = None) -> tuple[bytes, bytes]:
    """Return a new RSA key as PEM: private (PKCS 8) and public.

    Args:
        bits: Length; 3072 is what NIST SP 800-57 asks for beyond 2030.
        passphrase: Encrypts the private key where given.

    Raises:
        WeakKey: ``bits`` is below 2048, or above 8192.

    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    if not MIN_RSA_BITS <= bits <= MAX_RSA_BITS:
        raise WeakKey(f"expected {MIN_RSA_BITS} to {MAX_RSA_BITS} bits")
    key = rsa.generate_private_key(public_exponent=65537, key_size=bits)
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase.encode())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private, public


def load_private_key(source: str | bytes | Path, passphrase: str | None = None) -> PrivateKey:
    """Return a private key.

    Args:
        source: PEM text, or the path of a file that holds it.
        passphrase: Where it is encrypted.

    Raises:
        WeakKey: it is too weak.
        ValueError: it is no private key that tokens are signed with, or the passphrase is wrong.
        OSError: the file cannot be read.

    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    secret = None if passphrase is None else passphrase.encode()
    try:
        key = serialization.load_pem_private_key(_pem(source), secret)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # The library's own texts may tell of the key's content.
        raise ValueError("no private key in PEM that this passphrase opens") from error
    check_strength(key.public_key())
    return key  # type: ignore[return-value]  # check_strength() knows the kinds


def load_public_key(source: str | bytes | Path) -> PublicKey:
    """Return a public key; see :func:`load_private_key`, which raises the same."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    try:
        key = serialization.load_pem_public_key(_pem(source))
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ValueError("no public key in PEM") from error
    return check_strength(key)


def check_strength(key: object) -> PublicKey:
    """Return a public key that tokens may be verified with.

    Raises:
        WeakKey: it is too weak.
        ValueError: it is of a kind that no JWT algorithm uses.

    """
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa

    if isinstance(key, rsa.RSAPublicKey):
        if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
            allowed = f"{MIN_RSA_BITS} to {MAX_RSA_BITS}"
            raise WeakKey(f"an RSA key of {key.key_size} bits; expected {allowed}")
        if key.public_numbers().e < _MIN_RSA_EXPONENT:
            raise WeakKey(f"an RSA key with a public exponent below {_MIN_RSA_EXPONENT}")
        return key
    if isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in _CURVES:
            raise WeakKey(f"a key on the curve {key.curve.name}; expected P-256, P-384 or P-521")
        return key
    if isinstance(key, (ed25519.Ed25519PublicKey, ed448.Ed448PublicKey)):
        return key
    raise ValueError("expected an RSA, EC or Ed25519/Ed448 key")


def write_private_file(file: Path, content: bytes) -> None:
    """Write a new file that only its owner may read.

    Raises:
        FileExistsError: there is one; a key that is in use must not be lost by a repeated command.
        OSError: it cannot be written.

    """
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)


def _pem(source: str | bytes | Path) -> bytes:
    if isinstance(source, Path):
        with source.open("rb") as stream:
            return stream.read(MAX_PEM_BYTES)
    return source.encode() if isinstance(source, str) else source
