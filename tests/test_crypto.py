"""API keys and their hashes, and the keys that tokens are signed with."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.crypto import (
    WeakKey,
    check_strength,
    generate_rsa_key_pair,
    hash_api_key,
    join_api_key,
    load_private_key,
    load_public_key,
    new_api_key,
    split_api_key,
    verify_api_key,
    write_private_file,
)
from tests.support.tokens import private_pem, public_pem

if TYPE_CHECKING:
    from pathlib import Path

PEPPER = "a pepper of the tests that is long"


def test_an_api_key_comes_apart_as_it_was_made() -> None:
    key_id, secret, key = new_api_key()
    assert split_api_key(key.encode()) == (key_id, secret)
    assert join_api_key(key_id, secret) == key


def test_no_two_api_keys_are_alike() -> None:
    keys = [new_api_key() for _ in range(100)]
    assert len({key_id for key_id, _, _ in keys}) == len({secret for _, secret, _ in keys}) == 100


@pytest.mark.parametrize(
    "text",
    [
        "",
        "gw_",
        "gw__",
        "gw_0123456789abcdef_",
        "gw_0123456789abcdef_" + "0" * 63,
        "gw_0123456789abcdef_" + "0" * 65,
        "gw_0123456789abcde_" + "0" * 64,
        "gw_0123456789ABCDEF_" + "0" * 64,
        "GW_0123456789abcdef_" + "0" * 64,
        " gw_0123456789abcdef_" + "0" * 64,
        "gw_0123456789abcdef_" + "0" * 64 + "\n",
        "gw_0123456789abcdef_" + "0" * 63 + "_",
        "gw_" + "0" * 81,
    ],
)
def test_what_is_no_api_key(text: str) -> None:
    assert split_api_key(text.encode()) is None


@given(st.binary(max_size=200))
def test_anything_else_is_no_api_key(text: bytes) -> None:
    assert split_api_key(text) is None


def test_a_secret_verifies_against_its_own_hash_only() -> None:
    _, secret, _ = new_api_key()
    _, other, _ = new_api_key()
    expected = hash_api_key(secret, PEPPER)
    assert verify_api_key(secret, PEPPER, expected)
    assert not verify_api_key(other, PEPPER, expected)
    assert not verify_api_key(secret, PEPPER + "!", expected)
    assert not verify_api_key(secret, PEPPER, b"")


def test_the_hash_does_not_show_the_secret() -> None:
    _, secret, _ = new_api_key()
    assert bytes.fromhex(secret) not in hash_api_key(secret, PEPPER)


@pytest.mark.parametrize("passphrase", [None, "open sesame"])
def test_a_new_pair_of_rsa_keys_fits(passphrase: str | None) -> None:
    private, public = generate_rsa_key_pair(2048, passphrase)
    loaded = load_private_key(private, passphrase)
    assert loaded.public_key() == load_public_key(public)


@pytest.mark.parametrize("bits", [512, 1024, 2047, 8193])
def test_rsa_keys_have_a_useful_length(bits: int) -> None:
    with pytest.raises(WeakKey):
        generate_rsa_key_pair(bits)


@pytest.mark.parametrize("kind", ["RS", "ES256", "ES384", "ES512", "Ed25519", "Ed448"])
def test_keys_of_all_kinds_are_read(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(private_pem(kind))
    assert load_private_key(file).public_key() == load_public_key(public_pem(kind))


@pytest.mark.parametrize("passphrase", [None, "wrong"])
def test_an_encrypted_key_needs_its_passphrase(passphrase: str | None) -> None:
    private, _ = generate_rsa_key_pair(2048, "right")
    with pytest.raises(ValueError, match="passphrase"):
        load_private_key(private, passphrase)


@pytest.mark.parametrize("text", ["", "no key", public_pem("RS")])
def test_what_is_no_private_key(text: str) -> None:
    with pytest.raises(ValueError, match="no private key"):
        load_private_key(text)


@pytest.mark.parametrize("text", [b"", b"no key", private_pem("RS")])
def test_what_is_no_public_key(text: bytes) -> None:
    with pytest.raises(ValueError, match="no public key"):
        load_public_key(text)


@pytest.mark.parametrize(
    "key",
    [
        rsa.generate_private_key(65537, 1024).public_key(),
        rsa.generate_private_key(3, 2048).public_key(),
        ec.generate_private_key(ec.SECP256K1()).public_key(),
        ec.generate_private_key(ec.SECP224R1()).public_key(),
    ],
    ids=["short", "small exponent", "secp256k1", "P-224"],
)
def test_weak_keys_are_refused(key: object) -> None:
    with pytest.raises(WeakKey):
        check_strength(key)


def test_what_is_no_key_at_all() -> None:
    with pytest.raises(ValueError, match="expected"):
        check_strength(b"a secret")


def test_a_private_file_is_its_owners(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    write_private_file(file, b"content")
    assert (file.read_bytes(), stat.S_IMODE(file.stat().st_mode)) == (b"content", 0o600)


def test_a_private_file_is_never_replaced(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(b"in use")
    with pytest.raises(FileExistsError):
        write_private_file(file, b"content")
    assert file.read_bytes() == b"in use"
