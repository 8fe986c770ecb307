"""Header fields by which an operator asks for something special, such as a recorded trace.

A value is ``EXPIRY.SIGNATURE``: seconds of the Unix clock until which it counts, and an HMAC-SHA256
over them and over what is asked for. So a value that leaks is worth little and not for long, and
one for tracing asks for nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re

MAX_VALIDITY = 86_400.0
"""Longest time in seconds for which a value is accepted; one that claims more is not."""

MIN_KEY_BYTES = 16
"""Shortest key: 128 bits."""

_VALUE = re.compile(rb"(?P<expiry>[1-9][0-9]{0,11})\.(?P<signature>[0-9A-Za-z_-]{43})")


def sign_header(key: bytes, purpose: str, expires_at: int) -> str:
    """Return the field's value.

    Args:
        key: Shared with the gateway.
        purpose: What is asked for, such as ``trace``.
        expires_at: Seconds of the Unix clock.

    """
    return f"{expires_at}.{_signature(key, purpose, expires_at).decode()}"


def check_header(key: bytes, purpose: str, value: bytes, now: float) -> bool:
    """Return whether a field's value was made with ``key`` for ``purpose`` and counts ``now``."""
    found = _VALUE.fullmatch(value)
    if found is None:
        return False
    expires_at = int(found["expiry"])
    expected = _signature(key, purpose, expires_at)
    genuine = hmac.compare_digest(expected, found["signature"])
    return genuine and now < expires_at <= now + MAX_VALIDITY


def _signature(key: bytes, purpose: str, expires_at: int) -> bytes:
    digest = hmac.digest(key, f"gatewayd {purpose} {expires_at}".encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest).rstrip(b"=")
