"""A certificate authority of the cluster's own and what it signs.

Elliptic curve keys, because a test that starts a control plane should not wait for RSA primes.
A certificate that is there is kept as long as it says what is wanted, so that a machine whose
address changed gets new ones and nobody else does.
"""

import datetime as dt
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, NameOID

_VALID_DAYS = 3650
# Machines disagree about the time by a little; a certificate must not be from the future.
_BACKDATED = dt.timedelta(hours=1)


@dataclass(frozen=True)
class Pair:
    """The files of a certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority kept in FOLDER/NAME.crt and FOLDER/NAME.key."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        self.certificate = folder / f"{name}.crt"
        self.key = folder / f"{name}.key"
        if not (self.certificate.exists() and self.key.exists()):
            _create_authority(self.certificate, self.key, f"bulkhead-{name}")
        self._certificate = x509.load_pem_x509_certificate(self.certificate.read_bytes())
        key = serialization.load_pem_private_key(self.key.read_bytes(), password=None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        self._key = key

    def issue(
        self, name: str, user: str, *, groups: Sequence[str] = (), hosts: Sequence[str] = ()
    ) -> Pair:
        """Return the certificate NAME for `user`, making it where there is none that fits."""
        pair = Pair(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        if not self._fits(pair, user, groups, hosts):
            certificate, key = self.sign(user, groups=groups, hosts=hosts)
            write_private(pair.key, key)
            pair.certificate.write_bytes(certificate)
        return pair

    def sign(
        self, user: str, *, groups: Sequence[str] = (), hosts: Sequence[str] = ()
    ) -> tuple[bytes, bytes]:
        """Return certificate and key for `user` in PEM, written nowhere."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = (
            _builder(_name(user, groups), key)
            .issuer_name(self._certificate.subject)
            # Python 3.13 and later refuse a certificate that does not say which key signed it.
            .add_extension(self._own_identifier(), critical=False)
            .add_extension(
                x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage(
                    [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
                ),
                critical=False,
            )
        )
        if hosts:
            builder = builder.add_extension(_alternatives(hosts), critical=False)
        signed = builder.sign(self._key, hashes.SHA256())
        return signed.public_bytes(serialization.Encoding.PEM), _pem(key)

    def _own_identifier(self) -> x509.AuthorityKeyIdentifier:
        extensions = self._certificate.extensions
        own = extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)

    def _fits(self, pair: Pair, user: str, groups: Sequence[str], hosts: Sequence[str]) -> bool:
        if not (pair.certificate.exists() and pair.key.exists()):
            return False
        there = x509.load_pem_x509_certificate(pair.certificate.read_bytes())
        if there.issuer != self._certificate.subject or there.subject != _name(user, groups):
            return False
        try:
            there.verify_directly_issued_by(self._certificate)
            there.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
            found = there.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (InvalidSignature, ValueError):
            return False
        except x509.ExtensionNotFound as missing:
            return not hosts and missing.oid == ExtensionOID.SUBJECT_ALTERNATIVE_NAME
        return found == _alternatives(hosts)


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, from its first byte on."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(content)


def signing_key(path: Path) -> Path:
    """Return the key that signs service account tokens, making it where there is none."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_private(path, _pem(ec.generate_private_key(ec.SECP256R1())))
    return path


def _create_authority(certificate: Path, key_path: Path, name: str) -> None:
    certificate.parent.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _name(name, ())
    signed = (
        _builder(subject, key)
        .issuer_name(subject)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_signing_usage(), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_private(key_path, _pem(key))
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))


def _signing_usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _builder(subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + dt.timedelta(days=_VALID_DAYS))
    )


def _name(user: str, groups: Sequence[str]) -> x509.Name:
    organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, user)])


def _alternatives(hosts: Sequence[str]) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([_general_name(host) for host in hosts])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
