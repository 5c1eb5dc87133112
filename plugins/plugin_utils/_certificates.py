# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judge certificates on the controller: what is wrong with the input, and why a certificate must be issued again."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import os
import typing as t

from ansible.errors import AnsibleFilterError

try:
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import serialization
except ImportError as error:
    CRYPTOGRAPHY_IMPORT_ERROR: ImportError | None = error
else:
    CRYPTOGRAPHY_IMPORT_ERROR = None

if t.TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes

    Extension = t.TypeVar("Extension", bound=x509.ExtensionType)

# Extended key usages by the name that the role gives them.
USAGES = {"serverAuth": "1.3.6.1.5.5.7.3.1", "clientAuth": "1.3.6.1.5.5.7.3.2"}
COMMON_NAME_MAXIMUM = 64


def require_cryptography() -> None:
    """Refuse a controller without the library that all functions here need."""
    if CRYPTOGRAPHY_IMPORT_ERROR:
        raise AnsibleFilterError(
            "The Python library cryptography is missing on the controller: install it beside ansible-core."
        ) from CRYPTOGRAPHY_IMPORT_ERROR


def _public_key_der(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def public_key_fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the subject public key, as community.crypto prints it."""
    return hashlib.sha256(_public_key_der(certificate.public_key())).digest().hex(":")


def _extension(certificate: x509.Certificate, kind: type[Extension]) -> Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def names_of(certificate: x509.Certificate) -> set[str]:
    """The subject alternative names, as C(DNS:name) and C(IP:address)."""
    names = _extension(certificate, x509.SubjectAlternativeName)
    if names is None:
        return set()
    return {f"DNS:{name}" for name in names.get_values_for_type(x509.DNSName)} | {
        f"IP:{address}" for address in names.get_values_for_type(x509.IPAddress)
    }


def _canonical(name: str) -> str:
    kind, value = name.split(":", 1)
    return f"IP:{ipaddress.ip_address(value)}" if kind == "IP" else name


def _is_signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def problems_of_certificate(
    pem: str,
    *,
    subject_alternative_names: t.Iterable[str],
    usages: t.Iterable[str],
    key_fingerprint: str,
    authority_pem: str,
    renew_days: int,
    now: datetime.datetime | None = None,
) -> list[str]:
    """Why the certificate on a host is not the wanted one; empty when it is.

    :param pem: the certificate as PEM, empty when there is none yet
    :param subject_alternative_names: wanted names, as C(DNS:name) and C(IP:address)
    :param usages: wanted extended key usages, keys of C(USAGES)
    :param key_fingerprint: SHA-256 of the host's public key, as community.crypto prints it
    :param authority_pem: certificate of the CA that must have signed it
    :param renew_days: days before the end of its validity when it counts as expiring
    """
    require_cryptography()
    if not pem.strip():
        return ["there is none yet"]
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
    except ValueError:
        return ["the file holds no certificate"]
    reasons = []
    wanted = {_canonical(name) for name in subject_alternative_names}
    if names_of(certificate) != wanted:
        reasons.append(f"its names are {_listed(names_of(certificate))}, wanted are {_listed(wanted)}")
    present = _extension(certificate, x509.ExtendedKeyUsage)
    if {usage.dotted_string for usage in present or ()} != {USAGES[usage] for usage in usages}:
        reasons.append("its extended key usages differ")
    if public_key_fingerprint(certificate) != key_fingerprint:
        reasons.append("it does not belong to the private key on the host")
    if not _is_signed_by(certificate, x509.load_pem_x509_certificate(authority_pem.encode())):
        reasons.append("it was not issued by this certificate authority")
    left = certificate.not_valid_after_utc - (now or datetime.datetime.now(datetime.UTC))
    if left < datetime.timedelta(days=renew_days):
        reasons.append(f"it expires on {certificate.not_valid_after_utc:%Y-%m-%d}")
    return reasons


def _listed(names: t.Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def problems_of_input(settings: t.Mapping[str, t.Any], now: datetime.datetime | None = None) -> list[str]:
    """One sentence for each thing that is wrong with the variables of the role C(tls)."""
    require_cryptography()
    now = now or datetime.datetime.now(datetime.UTC)
    if settings["certificate"] or settings["private_key"]:
        return _problems_of_provided(settings, now)
    return [*_problems_of_names(settings), *_problems_of_authority(settings, now)]


def _problems_of_names(settings: t.Mapping[str, t.Any]) -> list[str]:
    problems = []
    if not 0 < len(settings["common_name"]) <= COMMON_NAME_MAXIMUM:
        problems.append(
            f"tls_common_name has {len(settings['common_name'])} characters: X.509 allows 1 to {COMMON_NAME_MAXIMUM}."
        )
    if not settings["dns_names"] and not settings["ip_addresses"]:
        problems.append("tls_dns_names and tls_ip_addresses are both empty: name what clients connect to.")
    for address in settings["ip_addresses"]:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            problems.append(
                f"tls_ip_addresses contains '{address}', which is no IP address: names go to tls_dns_names."
            )
    return problems


def _problems_of_authority(settings: t.Mapping[str, t.Any], now: datetime.datetime) -> list[str]:
    certificate_file = settings["authority_certificate_file"]
    key_file = settings["authority_private_key_file"]
    present = [path for path in (certificate_file, key_file) if os.path.exists(path)]
    if not settings["passphrase"]:
        return []  # secret_problems says so
    if not present:
        if settings["authority_managed"]:
            return []
        return [
            f"tls_ca_managed is false but there is no {certificate_file} and no {key_file}: "
            "put your CA there, or set tls_ca_managed to true."
        ]
    if present == [certificate_file]:
        return [
            f"tls_ca_private_key_file {key_file} is missing beside {certificate_file}: restore the CA's private key."
        ]
    try:
        with open(key_file, "rb") as stream:
            key = serialization.load_pem_private_key(stream.read(), settings["passphrase"].encode() or None)
    except TypeError:
        return [
            f"The private key of the CA in {key_file} is not encrypted: encrypt it with tls_ca_passphrase "
            "(openssl pkey -aes256)."
        ]
    except ValueError:
        return [f"tls_ca_passphrase does not open {key_file}: set the passphrase that the CA's key was encrypted with."]
    if certificate_file not in present:
        return []
    return _problems_of_pair(certificate_file, key_file, key.public_key(), now)


def _problems_of_pair(
    certificate_file: str, key_file: str, public_key: PublicKeyTypes, now: datetime.datetime
) -> list[str]:
    with open(certificate_file, "rb") as stream:
        certificate = x509.load_pem_x509_certificate(stream.read())
    constraints = _extension(certificate, x509.BasicConstraints)
    if constraints is None or not constraints.ca:
        return [f"tls_ca_certificate_file {certificate_file} is no CA certificate: it must have CA:TRUE."]
    if certificate.not_valid_after_utc <= now:
        return [f"The CA in {certificate_file} expired on {certificate.not_valid_after_utc:%Y-%m-%d}: replace it."]
    if _public_key_der(public_key) != _public_key_der(certificate.public_key()):
        return [
            f"{certificate_file} does not belong to {key_file}: tls_ca_certificate_file and its key must be a pair."
        ]
    return []


def _problems_of_provided(settings: t.Mapping[str, t.Any], now: datetime.datetime) -> list[str]:
    needed = {"tls_certificate": "certificate", "tls_private_key": "private_key", "tls_trusted_certificates": "trusted"}
    missing = [variable for variable, key in needed.items() if not settings[key]]
    if missing:
        return [f"{' and '.join(missing)} not set: a certificate of your own needs {', '.join(needed)}."]
    try:
        chain = x509.load_pem_x509_certificates(settings["certificate"].encode())
    except ValueError:
        return ["tls_certificate holds no certificate: it must be PEM text."]
    try:
        trusted = x509.load_pem_x509_certificates(settings["trusted"].encode())
    except ValueError:
        return ["tls_trusted_certificates holds no certificate: it must be PEM text of the CA certificates to trust."]
    try:
        key = serialization.load_pem_private_key(settings["private_key"].encode(), None)
    except (ValueError, TypeError):
        return ["tls_private_key is no unencrypted PEM private key: keep it in the vault without a passphrase."]
    certificate = chain[0]
    problems = []
    if _public_key_der(key.public_key()) != _public_key_der(certificate.public_key()):
        problems.append("tls_certificate does not belong to tls_private_key: give the pair that was issued together.")
    if certificate.not_valid_after_utc <= now:
        problems.append(f"tls_certificate expired on {certificate.not_valid_after_utc:%Y-%m-%d}: give a valid one.")
    if not any(_is_signed_by(chain[-1], authority) or chain[-1] == authority for authority in trusted):
        problems.append("tls_certificate was not issued by any of tls_trusted_certificates: append its intermediates.")
    wanted = {f"DNS:{name}" for name in settings["dns_names"]} | {
        _canonical(f"IP:{address}") for address in settings["ip_addresses"]
    }
    if not wanted <= names_of(certificate):
        problems.append(
            f"tls_certificate does not cover {_listed(wanted - names_of(certificate))}: clients could not verify it."
        )
    return problems
