import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from bulkhead_api.v1alpha1.authentication import OidcIssuer as IssuerConfig
from bulkhead_runtime.api.jwks import FRESH_SECONDS, require_safe
from bulkhead_runtime.api.keyring import fingerprint_of_token
from bulkhead_runtime.api.oidc import Issuers, looks_like_jwt
from bulkhead_runtime.errors import Problem
from bulkhead_runtime.kernel.context import Principal
from tests.support.runtime import oidc_issuer
from tests.support.runtime.oidc_issuer import AUDIENCE, OidcIssuer


@pytest.fixture
def issuer() -> Iterator[OidcIssuer]:
    with oidc_issuer.running() as served:
        yield served


def _config(issuer: OidcIssuer, **fields: Any) -> IssuerConfig:
    # Without its checks: the API server demands https outside of a cluster, the loopback is none.
    given = {"name": "corp", "issuer": issuer.url, "audience": AUDIENCE, **fields}
    return IssuerConfig.model_construct(**given)


def _issuers(issuer: OidcIssuer, directory: Path, **fields: Any) -> Issuers:
    issuers = Issuers(directory)
    issuers.configure((_config(issuer, **fields),))
    return issuers


async def _principal(issuers: Issuers, token: str) -> Principal | None:
    shown = token.encode()
    assert looks_like_jwt(shown)
    return await issuers.principal_of(shown, fingerprint_of_token(shown))


async def test_a_token_stands_for_its_subject_with_the_scopes_that_exist(
    issuer: OidcIssuer, tmp_path: Path
) -> None:
    token = issuer.token(scope="agents:run root usage:read")
    principal = await _principal(_issuers(issuer, tmp_path), token)
    assert principal == Principal("corp:alice", frozenset({"agents:run", "usage:read"}), "corp")


async def test_claims_of_other_names_are_read_where_the_spec_says_so(
    issuer: OidcIssuer, tmp_path: Path
) -> None:
    issuers = _issuers(issuer, tmp_path, principal_claim="email", scopes_claim="roles")
    token = issuer.token(email="a@example.org", roles=["agents:run", 7, None, ["*"], {}])
    principal = await _principal(issuers, token)
    assert principal == Principal("corp:a@example.org", frozenset({"agents:run"}), "corp")


REFUSED = {
    "another audience": ({"aud": "other"}, "invalid_token", "audience"),
    "no audience": ({"aud": None}, "invalid_token", "aud"),
    "another issuer": ({"iss": "https://elsewhere.example"}, "invalid_token", "`iss`"),
    "no expiry": ({"exp": None}, "invalid_token", "exp"),
    "an expiry long past": ({"exp": int(time.time()) - 120}, "token_expired", "expired"),
    "a begin far ahead": ({"nbf": int(time.time()) + 3600}, "invalid_token", "not valid yet"),
    "no subject": ({"sub": None}, "invalid_token", "'sub'"),
    "a subject of a thousand letters": ({"sub": "x" * 1000}, "invalid_token", "'sub'"),
    "a subject with a control character": ({"sub": "a\x00b"}, "invalid_token", "'sub'"),
    "more than 8 KiB": ({"note": "x" * 9000}, "invalid_token", "8192 bytes"),
}


@pytest.mark.parametrize(("claims", "code", "words"), REFUSED.values(), ids=REFUSED.keys())
async def test_a_token_is_refused_with(
    issuer: OidcIssuer, tmp_path: Path, claims: dict[str, Any], code: str, words: str
) -> None:
    with pytest.raises(Problem) as refusal:
        await _principal(_issuers(issuer, tmp_path), issuer.token(**claims))
    assert (refusal.value.status, refusal.value.code) == (401, code)
    assert words in refusal.value.message


async def test_a_minute_of_wrong_clocks_is_forgiven(issuer: OidcIssuer, tmp_path: Path) -> None:
    token = issuer.token(exp=int(time.time()) - 30)
    assert await _principal(_issuers(issuer, tmp_path), token) is not None


async def test_neither_unsigned_nor_wrongly_signed_tokens_prove_anything(
    issuer: OidcIssuer, tmp_path: Path
) -> None:
    issuers = _issuers(issuer, tmp_path)
    issuer.add_key("curve", "ES256")
    claims = {"iss": issuer.url, "aud": AUDIENCE, "sub": "mallory", "exp": int(time.time()) + 99}
    head = {"kid": "first"}
    good = issuer.token()
    forged = {
        "unsigned": jwt.encode(claims, "", algorithm="none", headers=head),
        "a shared secret": jwt.encode(claims, "s" * 64, algorithm="HS256", headers=head),
        "another key's signature": issuer.token(key_id="curve", algorithm="ES256", named="first"),
        "a changed claim": ".".join(
            (*issuer.token(sub="mallory").split(".")[:2], good.split(".")[2])
        ),
        "no JSON": "eyJ.eyJ.x",
    }
    for what, token in forged.items():
        with pytest.raises(Problem) as refusal:
            await _principal(issuers, token)
        assert refusal.value.status == 401, what
    assert await _principal(issuers, good) is not None


async def test_an_expiry_beyond_all_times_is_one(issuer: OidcIssuer, tmp_path: Path) -> None:
    token = issuer.token(exp=10**400)
    assert await _principal(_issuers(issuer, tmp_path), token) is not None


UNUSABLE: dict[str, dict[str, Any]] = {
    "a curve that nothing here knows": {"kty": "OKP", "crv": "X448", "x": "AAAA"},
    "a key to encrypt with, which does not say so": {"kty": "RSA", "alg": "RSA-OAEP"},
    "half a key": {"kty": "EC", "crv": "P-256"},
    "a key of numbers where texts belong": {"kty": "RSA", "n": 5, "e": []},
    "a shared secret": {"kty": "oct", "k": "c2VjcmV0"},
    "no key at all": {},
}


@pytest.mark.parametrize("key", UNUSABLE.values(), ids=UNUSABLE.keys())
async def test_the_issuers_other_keys_prove_tokens_beside(
    issuer: OidcIssuer, tmp_path: Path, key: dict[str, Any]
) -> None:
    issuer.publish({**key, "kid": "unusable"})
    issuers = _issuers(issuer, tmp_path)
    assert await _principal(issuers, issuer.token()) is not None
    with pytest.raises(Problem) as refusal:
        await _principal(issuers, issuer.token(named="unusable"))
    assert refusal.value.code == "invalid_token"


async def test_one_issuer_may_make_tokens_for_several_audiences(
    issuer: OidcIssuer, tmp_path: Path
) -> None:
    issuers = Issuers(tmp_path)
    issuers.configure((_config(issuer), _config(issuer, name="robots", audience="batch")))
    principals = [
        await _principal(issuers, issuer.token(aud=audience))
        for audience in (AUDIENCE, "batch", ["other", "batch"])
    ]
    assert [one.name if one else "" for one in principals] == [
        "corp:alice",
        "robots:alice",
        "robots:alice",
    ]
    with pytest.raises(Problem, match="audience"):
        await _principal(issuers, issuer.token(aud="other"))


class _Clock:
    """A clock that a test moves on."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_token_that_was_proven_ends_with_the_key_that_its_issuer_withdrew(
    issuer: OidcIssuer, tmp_path: Path
) -> None:
    clock = _Clock()
    issuers = Issuers(tmp_path, clock)
    issuers.configure((_config(issuer),))
    stolen = issuer.token(exp=int(time.time()) + 10 * 365 * 86_400)
    assert await _principal(issuers, stolen) is not None

    issuer.withdraw("first")
    issuer.add_key("second")
    clock.now += FRESH_SECONDS + 1
    assert await _principal(issuers, stolen) is not None, "the keys are fetched beside"
    assert await _principal(issuers, issuer.token(key_id="second")) is not None, "and here now"
    clock.now += FRESH_SECONDS + 1
    with pytest.raises(Problem) as refusal:
        await _principal(issuers, stolen)
    assert refusal.value.code == "invalid_token"


async def test_a_new_key_of_the_issuer_is_found_by_its_first_token(
    issuer: OidcIssuer, tmp_path: Path
) -> None:
    issuer.add_key("second", "ES256")
    token = issuer.token(key_id="second", algorithm="ES256")
    assert await _principal(_issuers(issuer, tmp_path), token) is not None


async def test_a_thousand_tokens_with_unknown_keys_ask_the_issuer_once(
    issuer: OidcIssuer, tmp_path: Path
) -> None:
    issuers = _issuers(issuer, tmp_path)
    issuer.add_key("curve", "ES256")
    for number in range(1000):
        token = issuer.token(key_id="curve", algorithm="ES256", named=f"unknown-{number}")
        with pytest.raises(Problem) as refusal:
            await _principal(issuers, token)
        assert refusal.value.status == 401
    assert issuer.fetches == 1


async def test_a_token_is_proven_once_and_remembered_until_it_expires(
    issuer: OidcIssuer, tmp_path: Path
) -> None:
    issuers, token = _issuers(issuer, tmp_path), issuer.token()
    first = await _principal(issuers, token)
    assert await _principal(issuers, token) is first


async def test_while_the_issuer_is_away_known_keys_prove_and_unknown_ones_are_a_503(
    issuer: OidcIssuer, tmp_path: Path
) -> None:
    away = _issuers(issuer, tmp_path)
    known = _issuers(issuer, tmp_path)
    assert await _principal(known, issuer.token()) is not None
    issuer.status = 500
    assert await _principal(known, issuer.token(sub="bob")) is not None
    with pytest.raises(Problem) as refusal:
        await _principal(away, issuer.token())
    assert (refusal.value.status, refusal.value.code) == (503, "issuer_unavailable")
    assert refusal.value.retry_after


async def test_keys_are_not_fetched_from_where_somebody_sends_on(
    issuer: OidcIssuer, tmp_path: Path
) -> None:
    issuer.moved = True
    with pytest.raises(Problem) as refusal:
        await _principal(_issuers(issuer, tmp_path), issuer.token())
    assert refusal.value.code == "issuer_unavailable"
    assert issuer.fetches == 1


SAFE = ["https://id.example", "http://127.0.0.1:8", "http://localhost", "http://dex.auth.svc",
        "http://dex.auth.svc.cluster.local:5556/keys", "http://[::1]/keys"]  # fmt: skip
UNSAFE = ["http://id.example", "ftp://127.0.0.1", "http://svc.example", "http://10.0.0.1",
          "http://127.0.0.1.example", "", "//localhost"]  # fmt: skip


@pytest.mark.parametrize("address", SAFE)
def test_keys_may_come_from(address: str) -> None:
    require_safe(address)


@pytest.mark.parametrize("address", UNSAFE)
def test_keys_may_not_come_from(address: str) -> None:
    with pytest.raises(ValueError, match="https"):
        require_safe(address)
