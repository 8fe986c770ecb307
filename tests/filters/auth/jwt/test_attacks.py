"""Known attacks on JWT verifiers, each with what the operator is told of it."""

from __future__ import annotations

import base64
import json
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from gatewayd import InvalidCredential
from tests.filters.auth.jwt.conftest import jwt_method
from tests.support import tokens
from tests.support.tokens import CLAIMS, NOW, SECRET, by_hand, jwk, jwks, make, public_pem

HS = {"alg": "HS256", "typ": "JWT"}
GOOD = make()
RS = {"algorithms": ["RS256"]}


async def refusal(token: bytes, settings: dict[str, Any] | None = None) -> str:
    """Return the reason for which a token is refused."""
    async with jwt_method(settings) as caller:
        with pytest.raises(InvalidCredential) as caught:
            await caller.show(token)
        return caught.value.reason


async def test_a_good_token_is_accepted() -> None:
    async with jwt_method() as caller:
        assert (await caller.show(GOOD)).id == "ada"


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", "HS1", "RS256", "hs256"])
@pytest.mark.parametrize("signature", [b"", None], ids=["unsigned", "signed"])
async def test_only_configured_algorithms(algorithm: str, signature: bytes | None) -> None:
    token = by_hand({"alg": algorithm}, CLAIMS, signature)
    assert await refusal(token) in ("algorithm", "malformed")


async def test_a_public_key_is_no_shared_secret() -> None:
    pem = public_pem("RS")
    signed = b".".join(tokens.encoded(part) for part in (HS, CLAIMS))
    import hashlib
    import hmac

    forged = signed + b"." + tokens.base64url(hmac.digest(pem.encode(), signed, hashlib.sha256))
    assert await refusal(forged, RS | {"public_key": pem}) == "algorithm"


async def test_a_key_of_a_set_is_used_with_the_algorithms_of_its_type() -> None:
    key_set = jwks(jwk("RS", kid="one"), jwk("ES256", kid="two"))
    token = make(tokens.private_key("RS"), "RS256", {"kid": "two"})
    settings = {"algorithms": ["RS256", "ES256"], "jwks": key_set}
    assert await refusal(token, settings) == "unknown_key"


async def test_a_key_of_a_set_is_used_with_its_own_algorithm_only() -> None:
    key_set = jwks(jwk("RS", kid="one", alg="PS256"))
    token = make(tokens.private_key("RS"), "RS256", {"kid": "one"})
    settings = {"algorithms": ["RS256", "PS256"], "jwks": key_set}
    assert await refusal(token, settings) == "unknown_key"


@pytest.mark.parametrize(
    "kid",
    [
        "../../../../dev/null",
        "/etc/passwd",
        "x' UNION SELECT 'secret",
        "| /usr/bin/curl",
        "\x00",
        "http://attacker.example/key",
        "",
    ],
)
async def test_kid_is_nothing_but_a_name(kid: str) -> None:
    token = make(tokens.private_key("RS"), "RS256", {"kid": kid})
    settings = RS | {"jwks": jwks(jwk("RS", kid="one"))}
    assert await refusal(token, settings) == "unknown_key"


@pytest.mark.parametrize("kid", ["k" * 257, 7, ["one"], {"a": 1}, True])
async def test_kid_is_a_short_text(kid: object) -> None:
    assert await refusal(by_hand(HS | {"kid": kid}, CLAIMS)) == "malformed"


@pytest.mark.parametrize(
    "member",
    [
        {"jwk": jwk("RS-3072")},
        {"jku": "http://127.0.0.1:9/jwks.json"},
        {"x5u": "http://127.0.0.1:9/cert.pem"},
        {"x5c": ["MIIB"]},
        {"x5t": "abc"},
    ],
    ids=lambda member: next(iter(member)),
)
async def test_keys_that_a_token_brings_are_not_looked_at(member: dict[str, Any]) -> None:
    token = make(tokens.private_key("RS-3072"), "RS256", member)
    assert await refusal(token, RS | {"public_key": public_pem("RS")}) == "signature"


@pytest.mark.parametrize("critical", [["exp"], ["b64"], ["unknown"], [], "exp", None])
async def test_critical_headers_are_not_understood(critical: object) -> None:
    assert await refusal(by_hand(HS | {"crit": critical}, CLAIMS)) == "critical_header"


async def test_an_unencoded_payload_is_not_supported() -> None:
    header = HS | {"b64": False, "crit": ["b64"]}
    assert await refusal(by_hand(header, CLAIMS)) == "critical_header"


@pytest.mark.parametrize("member", [{"enc": "A128GCM"}, {"zip": "DEF"}])
async def test_encryption_and_compression_are_not_supported(member: dict[str, str]) -> None:
    assert await refusal(by_hand(HS | member, CLAIMS)) == "malformed"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('{"alg":"HS256","alg":"none"}', id="header"),
        pytest.param('{"alg":"HS256","kid":"a","kid":"b"}', id="kid"),
    ],
)
async def test_names_stand_once_in_the_header(text: str) -> None:
    assert await refusal(by_hand(text, CLAIMS)) == "malformed"


@pytest.mark.parametrize(
    "text",
    [
        f'{{"sub":"ada","sub":"root","exp":{NOW + 60}}}',
        f'{{"sub":"ada","exp":{NOW + 60},"exp":{NOW + 9999}}}',
        f'{{"sub":"ada","exp":{NOW + 60},"realm_access":{{"roles":[],"roles":["admin"]}}}}',
    ],
)
async def test_claims_stand_once(text: str) -> None:
    assert await refusal(by_hand(HS, text)) == "malformed"


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": NOW}, "expired"),
        ({"exp": NOW - 1}, "expired"),
        ({"exp": 0}, "expired"),
        ({"exp": ...}, "missing_claim"),
        ({"exp": None}, "missing_claim"),
        ({"exp": -1}, "no_number"),
        ({"exp": str(int(NOW + 60))}, "no_number"),
        ({"exp": True}, "no_number"),
        ({"exp": [NOW + 60]}, "no_number"),
        ({"exp": 1e300}, "no_number"),
        ({"exp": 10**400}, "no_number"),
        ({"exp": 253_402_300_800}, "no_number"),
        ({"nbf": NOW + 1}, "not_yet_valid"),
        ({"nbf": "soon"}, "no_number"),
        ({"nbf": None}, "no_number"),
        ({"iat": NOW + 1}, "issued_in_future"),
        ({"iat": False}, "no_number"),
        ({"iat": {}}, "no_number"),
        ({"iss": "https://evil.example/"}, "issuer"),
        ({"iss": "https://id.example.org"}, "issuer"),
        ({"iss": [tokens.ISSUER]}, "issuer"),
        ({"iss": ...}, "missing_claim"),
        ({"aud": "other"}, "audience"),
        ({"aud": ["other", "another"]}, "audience"),
        ({"aud": ["gateway", 7]}, "audience"),
        ({"aud": {"gateway": True}}, "audience"),
        ({"aud": ...}, "audience"),
        ({"aud": []}, "audience"),
        ({"sub": ...}, "subject"),
        ({"sub": ""}, "subject"),
        ({"sub": 7}, "subject"),
        ({"sub": "x" * 256}, "subject"),
        ({"roles": {"admin": True}}, "names"),
        ({"roles": ["admin", 7]}, "names"),
        ({"roles": ["r" * 256]}, "names"),
        ({"roles": [f"role{number}" for number in range(257)]}, "names"),
        ({"tenant": ...}, "missing_claim"),
    ],
    ids=lambda value: value if isinstance(value, str) else repr(value)[:40],
)
async def test_claims_that_do_not_count(claims: dict[str, Any], reason: str) -> None:
    settings = {"issuer": tokens.ISSUER, "audience": "gateway", "required_claims": ["tenant"]}
    given = CLAIMS | {"aud": "gateway", "tenant": "t1"} | claims
    payload = {name: value for name, value in given.items() if value is not ...}
    assert await refusal(by_hand(HS, payload), settings) == reason


async def test_a_token_for_somebody_is_not_for_a_gateway_without_a_name() -> None:
    assert await refusal(make(aud="other")) == "audience"


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999"])
async def test_numbers_are_finite(text: str) -> None:
    token = by_hand(HS, f'{{"sub":"ada","exp":{text}}}')
    assert await refusal(token) in ("malformed", "no_number")


@pytest.mark.parametrize("exp", [NOW - 5, NOW - 9.5])
async def test_leeway_is_for_clocks_that_differ(exp: float) -> None:
    async with jwt_method({"leeway": 10}) as caller:
        assert (await caller.show(make(exp=exp, nbf=NOW + 5, iat=NOW + 5))).id == "ada"


async def test_leeway_ends() -> None:
    assert await refusal(make(exp=NOW - 10), {"leeway": 10}) == "expired"


async def test_a_token_may_be_too_old_whatever_it_says() -> None:
    assert await refusal(make(iat=NOW - 100), {"max_age": 60}) == "too_old"


async def test_the_age_of_a_token_has_leeway_too() -> None:
    async with jwt_method({"max_age": 60, "leeway": 10}) as caller:
        assert (await caller.show(make(iat=NOW - 69))).id == "ada"


async def test_the_age_of_a_token_must_be_known() -> None:
    assert await refusal(make(), {"max_age": 60}) == "missing_claim"


@pytest.mark.parametrize(
    ("header", "types", "accepted"),
    [
        ({"typ": "at+jwt"}, ["at+jwt"], True),
        ({"typ": "application/AT+JWT"}, ["at+jwt"], True),
        ({"typ": "JWT"}, ["at+jwt"], False),
        ({}, [], True),
    ],
)
async def test_types(header: dict[str, str], types: list[str], accepted: bool) -> None:
    token = by_hand({"alg": "HS256"} | header, CLAIMS)
    if accepted:
        async with jwt_method({"token_types": types}) as caller:
            assert await caller.show(token)
    else:
        assert await refusal(token, {"token_types": types}) == "type"


@pytest.mark.parametrize("length", [0, 1, 31, 33])
async def test_signatures_have_their_whole_length(length: int) -> None:
    head, _, signature = GOOD.rpartition(b".")
    raw = base64.urlsafe_b64decode(signature + b"=")
    token = head + b"." + tokens.base64url((raw + b"\x00")[:length])
    assert await refusal(token) in ("signature", "malformed")


@pytest.mark.parametrize("cut", [1, 16, 32, 63])
async def test_ecdsa_signatures_have_their_whole_length(cut: int) -> None:
    head, _, signature = make(tokens.private_key("ES256"), "ES256").rpartition(b".")
    raw = base64.urlsafe_b64decode(signature + b"==")
    settings = {"algorithms": ["ES256"], "public_key": public_pem("ES256")}
    assert await refusal(head + b"." + tokens.base64url(raw[:-cut]), settings) == "signature"


async def test_ecdsa_signatures_are_raw_and_not_der() -> None:
    signed = b".".join(tokens.encoded(part) for part in ({"alg": "ES256"}, CLAIMS))
    der = tokens.private_key("ES256").sign(signed, ec.ECDSA(hashes.SHA256()))
    settings = {"algorithms": ["ES256"], "public_key": public_pem("ES256")}
    assert await refusal(signed + b"." + tokens.base64url(der), settings) == "signature"


async def test_an_empty_ecdsa_signature_is_none() -> None:  # CVE-2022-21449
    settings = {"algorithms": ["ES256"], "public_key": public_pem("ES256")}
    assert await refusal(by_hand({"alg": "ES256"}, CLAIMS, bytes(64)), settings) == "signature"


@pytest.mark.parametrize(
    "token",
    [
        b"",
        b".",
        b"..",
        b"a.b",
        GOOD + b".",
        GOOD + b".e30",
        GOOD + b".e30.e30",  # five parts: encrypted
        b"." + GOOD,
        GOOD.replace(b".", b"..", 1),
        GOOD + b"=",
        GOOD + b" ",
        b" " + GOOD,
        GOOD + b"\n",
        GOOD + b", " + GOOD,  # two fields
        GOOD.replace(b".", b"+.", 1),
        GOOD.rpartition(b".")[0] + b".",
        GOOD[:-1],
        by_hand([], CLAIMS),
        by_hand("7", CLAIMS),
        by_hand(HS, "[]"),
        by_hand(HS, "null"),
        by_hand(HS, "{"),
        by_hand(HS, ""),
        by_hand({"alg": 7}, CLAIMS),
        by_hand({"alg": ["HS256"]}, CLAIMS),
        by_hand({"alg": "HS256", "typ": 7}, CLAIMS),
        by_hand({}, CLAIMS),
        tokens.encoded(HS) + b"." + tokens.base64url(b'{"sub":"\xff"}') + b".e30",
    ],
    ids=lambda token: token[:24].decode() or "empty",
)
async def test_what_is_no_token(token: bytes) -> None:
    assert await refusal(token) == "malformed"


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": "\ud800"},
        {"sub": "ada", "realm_access": {"roles": ["a", "\udc80"]}},
        {"sub": "ada", "\udfff": 1},
        {"sub": "\udc00\ud800"},
    ],
)
async def test_half_of_a_character_is_malformed(claims: dict[str, Any]) -> None:
    assert await refusal(by_hand(HS, CLAIMS | claims)) == "malformed"


async def test_half_of_a_character_in_the_header_is_malformed() -> None:
    assert await refusal(by_hand(HS | {"kid": "\ud800"}, CLAIMS)) == "malformed"


async def test_a_whole_character_in_two_halves_is_one() -> None:
    async with jwt_method() as caller:
        shown = by_hand(HS, CLAIMS | {"sub": "\U0001f600"})
        assert b"\\ud83d\\ude00" in base64.urlsafe_b64decode(shown.split(b".")[1] + b"==")
        assert (await caller.show(shown)).id == "\U0001f600"


async def test_a_token_has_one_form_only() -> None:
    """Other last characters decode to the same signature; a cache must not see several tokens."""
    alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    twin = GOOD[:-1] + bytes([alphabet[alphabet.index(GOOD[-1:]) ^ 1]])
    assert base64.urlsafe_b64decode(twin.split(b".")[2] + b"=") == base64.urlsafe_b64decode(
        GOOD.split(b".")[2] + b"="
    )
    assert await refusal(twin) == "malformed"


async def test_a_long_token_is_not_looked_at() -> None:
    assert await refusal(make(extra="x" * 9000)) == "too_long"


@pytest.mark.parametrize("opening", ["[", '{"a":'])
async def test_deep_nesting_is_malformed(opening: str) -> None:
    settings = {"max_token_bytes": 65536}
    assert await refusal(by_hand(HS, opening * 8000), settings) == "malformed"


async def test_another_secret() -> None:
    assert await refusal(make(SECRET + "!")) == "signature"


async def test_a_changed_payload() -> None:
    head, _, signature = GOOD.split(b".")
    forged = b".".join([head, tokens.encoded(CLAIMS | {"sub": "root"}), signature])
    assert await refusal(forged) == "signature"


async def test_a_remembered_token_counts_no_longer_than_it_says() -> None:
    async with jwt_method() as caller:
        await caller.show(GOOD)
        caller.now = CLAIMS["exp"]
        with pytest.raises(InvalidCredential, match="expired"):
            await caller.show(GOOD)


@given(data=st.data())
async def test_no_mutation_of_a_token_is_accepted(data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(GOOD) - 1))
    byte = data.draw(st.integers(0, 255))
    mutated = GOOD[:position] + bytes([byte]) + GOOD[position + 1 :]
    async with jwt_method() as caller:
        if mutated == GOOD:
            assert await caller.show(mutated)
        else:
            with pytest.raises(InvalidCredential):
                await caller.show(mutated)


@given(
    cuts=st.lists(st.integers(0, len(GOOD)), min_size=2, max_size=2).map(sorted),
    inserted=st.binary(max_size=8),
)
async def test_no_cut_or_grown_token_is_accepted(cuts: list[int], inserted: bytes) -> None:
    changed = GOOD[: cuts[0]] + inserted + GOOD[cuts[1] :]
    async with jwt_method() as caller:
        if changed == GOOD:
            assert await caller.show(changed)
        else:
            with pytest.raises(InvalidCredential):
                await caller.show(changed)


@given(
    token=st.binary(max_size=300)
    | st.builds(
        by_hand,
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "jwk"]), inner)
            ),
        ).map(json.dumps),
        st.just(CLAIMS),
        st.binary(max_size=64),
    )
)
async def test_nothing_made_up_is_accepted_or_fails_otherwise(token: bytes) -> None:
    async with jwt_method() as caller:
        with pytest.raises(InvalidCredential):
            await caller.show(token)


def test_the_tokens_of_these_tests_are_good_ones() -> None:
    options: Any = {"verify_exp": False}
    decoded = jwt.decode(GOOD, SECRET, ["HS256"], options=options, issuer=tokens.ISSUER)
    assert decoded["sub"] == "ada"
