"""Settings of the method ``jwt``."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from gatewayd import FilterConfig, HeaderName, HttpUrl, Seconds

Algorithm = Literal[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
    "ES256", "ES384", "ES512", "EdDSA",
]  # fmt: skip
_Text = Annotated[str, Field(min_length=1)]  # an empty one is a variable that was not set

ClaimPath = (
    Annotated[str, Field(pattern=r"^[^.]+(\.[^.]+)*$", max_length=256)]
    | Annotated[tuple[str, ...], Field(min_length=1, max_length=16)]
)


def _is_protected(url: str) -> bool:
    """Return whether nobody outside this machine can change the answer on its way."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        return True
    host = parts.hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class JwtConfig(FilterConfig):
    """Settings of the method `jwt`: a signed token (RFC 7519), as identity providers issue them.

    Keys come from exactly one of `secret`, `public_key`, `jwks` and `jwks_url`. A key is used with
    those of `algorithms` that fit its type, whatever a token says.
    """

    algorithms: tuple[Algorithm, ...] = Field(min_length=1, max_length=13)
    """Algorithms that are accepted. Those with a shared secret (`HS...`) and those with key pairs
    exclude each other: mixing them is how a public key is taken for a secret."""
    secret: str | None = Field(None, repr=False)
    """Shared secret for `HS256`, `HS384` and `HS512`; at least as many bytes as the hash has (RFC
    7518 section 3.2): 32, 48, 64."""
    public_key: str | None = None
    """Public key in PEM, such as `{ file = "issuer.pem" }`."""
    jwks: str | None = Field(None, repr=False)
    """A JSON Web Key Set (RFC 7517) as text, such as `{ file = "jwks.json" }`; also for several
    shared secrets, of which a token names one by `kid`."""
    jwks_url: HttpUrl | None = None
    """Where the issuer publishes its key set. Fetched in the background; redirects are not
    followed, and shared secrets and private keys in it are ignored."""
    jwks_allow_http: bool = False
    """Whether `jwks_url` may be plain http beyond this machine. Whoever can change the keys on
    their way can make tokens, so this is for networks that are protected otherwise."""
    jwks_ca: str | None = None
    """PEM file of the authorities for `jwks_url`; the system's where absent."""
    refresh: Annotated[float, Field(ge=10, le=86400)] = 300.0
    """Seconds between two fetches of the key set. Envoy's default for its cache is 600."""
    cooldown: Seconds = 30.0
    """Shortest time between two fetches because of a token with an unknown `kid`: an attacker must
    not make the gateway ask the issuer for each request."""
    timeout: Seconds = 5.0
    """Time for one fetch. Envoy's examples have 5 s."""
    max_bytes: int = Field(262_144, ge=1024, le=4_194_304)
    """Largest key set."""
    on_outage: Literal["stale", "closed"] = "stale"
    """What happens while the key set cannot be fetched: `stale` uses the keys that are there for
    `max_stale`; `closed` refuses with 503 after two missed fetches. Without any key it is 503,
    never 401. The same holds for the list of revoked tokens, which `closed` relies on for 15 s."""
    max_stale: Annotated[float, Field(ge=10, le=2_592_000)] = 86_400.0
    """Seconds for which keys, and the list of revoked tokens, are used after the last fetch, where
    `on_outage` is `stale`. A day, so that a night's outage can be repaired in the morning."""
    issuer: _Text | tuple[_Text, ...] = ()
    """Values of `iss` that are accepted; any where empty."""
    audience: _Text | tuple[_Text, ...] = ()
    """Values of `aud`, one of which must be in the token. Where empty, a token that has an `aud` is
    meant for somebody else and refused (RFC 7519 section 4.1.3)."""
    leeway: Annotated[float, Field(ge=0, le=600)] = 0.0
    """Seconds by which clocks may differ when `exp`, `nbf` and `iat` are checked."""
    max_age: Seconds | None = None
    """Longest time since `iat`, whatever `exp` says; `iat` is required then."""
    required_claims: tuple[_Text, ...] = ()
    """Claims that must be there beside `exp` and the subject."""
    token_types: tuple[_Text, ...] = ()
    """Values of the header's `typ` that are accepted, such as `at+jwt` (RFC 9068); any where
    empty."""
    subject_claim: ClaimPath = "sub"
    """Claim with the principal's id. Claims within claims are written with dots, or as a list where
    a name has dots of its own: `["https://example.org/roles"]`."""
    name_claim: ClaimPath = "name"
    """Claim with the name, for people."""
    email_claim: ClaimPath = "email"
    """Claim with the mail address."""
    roles_claim: ClaimPath = "roles"
    """Claim with the roles, a list or a text with spaces; Keycloak's is `realm_access.roles`."""
    permissions_claim: ClaimPath = "permissions"
    """Claim with permissions beside those of the roles; Auth0's name."""
    scope_claim: ClaimPath = "scope"
    """Claim with the scopes (RFC 8693 section 4.2), a text with spaces or a list; Azure's is
    `scp`."""
    header: HeaderName = "Authorization"
    """Field with the token, after `Bearer`; in other fields that word may be missing."""
    forward: bool = True
    """Whether the field goes on to the upstream. Kong's default."""
    max_token_bytes: int = Field(8192, ge=256, le=65536)
    """Longest token that is looked at. Larger ones are refused without being parsed."""
    cache_size: int = Field(10_000, ge=0, le=1_000_000)
    """Verified tokens that are remembered, per worker; 0 for none. A megabyte for a thousand."""
    cache_seconds: Seconds = 300.0
    """Longest time for which one is remembered; it ends with the token's own `exp` in any case."""
    revocation: bool = False
    """Whether tokens whose `jti` is in the store's list of revoked tokens are refused. The list is
    read in the background; `jti` is required then."""
    revocation_file: str = Field("var/revoked_tokens.json", min_length=1)
    """File with that list as it was last known, for a start without the store where `on_outage` is
    `stale`. It is not used where others than its owner may write it."""

    @model_validator(mode="after")
    def _keys_fit(self) -> JwtConfig:
        sources = ("secret", "public_key", "jwks", "jwks_url")
        if sum(getattr(self, name) is not None for name in sources) != 1:
            raise ValueError(f"expected exactly one of {', '.join(sources)}")
        if self.jwks_url and not self.jwks_allow_http and not _is_protected(self.jwks_url):
            raise ValueError(
                "jwks_url: expected https://..., or http://127.0.0.1, as whoever can "
                "change the keys on their way can make tokens"
            )
        shared = [name for name in self.algorithms if name.startswith("HS")]
        if shared and len(shared) < len(self.algorithms):
            raise ValueError(
                "algorithms with a shared secret and with key pairs exclude each other"
            )
        if self.secret is not None and not shared:
            raise ValueError("a secret is for HS256, HS384 and HS512 only")
        if shared and (self.public_key is not None or self.jwks_url is not None):
            raise ValueError(f"{shared[0]} needs a secret, which nobody else may know")
        return self
