# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import datetime
import ipaddress
from dataclasses import dataclass

import pytest
from ansible.errors import AnsibleFilterError
from ansible_collections.resultops.celery.plugins.plugin_utils import _certificates as certificates
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PASSPHRASE = "a passphrase of the tests only"
NOW = datetime.datetime.now(datetime.UTC)
NAMES = ("DNS:redis1", "IP:192.0.2.7")


@dataclass
class Issued:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def key_pem(self, passphrase: str = "") -> str:
        encryption = (
            serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
        )
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        ).decode()


def issue(
    issuer: Issued | None = None, *, days: int = 90, usages=("serverAuth", "clientAuth"), names=NAMES, authority=True
) -> Issued:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "leaf" if issuer else "ca")])
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.certificate.subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - datetime.timedelta(days=400))
        .not_valid_after(NOW + datetime.timedelta(days=days))
    )
    if issuer:
        general = [
            x509.DNSName(value) if kind == "DNS" else x509.IPAddress(ipaddress.ip_address(value))
            for kind, value in (item.split(":", 1) for item in names)
        ]
        builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False).add_extension(
            x509.ExtendedKeyUsage([x509.ObjectIdentifier(certificates.USAGES[usage]) for usage in usages]),
            critical=False,
        )
    else:
        builder = builder.add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    return Issued(key, builder.sign(issuer.key if issuer else key, hashes.SHA256()))


@pytest.fixture(scope="module")
def authority() -> Issued:
    return issue()


@pytest.fixture(scope="module")
def leaf(authority: Issued) -> Issued:
    return issue(authority)


def reasons(pem: str, authority: Issued, leaf: Issued, **changes) -> list[str]:
    wanted = {
        "subject_alternative_names": NAMES,
        "usages": ["serverAuth", "clientAuth"],
        "key_fingerprint": certificates.public_key_fingerprint(leaf.certificate),
        "authority_pem": authority.pem,
        "renew_days": 30,
    }
    return certificates.problems_of_certificate(pem, **{**wanted, **changes})


def test_a_controller_without_the_library_is_refused(monkeypatch, given):
    monkeypatch.setattr(certificates, "CRYPTOGRAPHY_IMPORT_ERROR", ImportError("none"))
    with pytest.raises(AnsibleFilterError, match="cryptography is missing on the controller"):
        certificates.problems_of_input(given)


class TestCertificateOnHost:
    def test_the_wanted_one_has_no_problem(self, authority, leaf):
        assert reasons(leaf.pem, authority, leaf) == []

    def test_order_and_spelling_of_names_do_not_matter(self, authority):
        leaf = issue(authority, names=["IP:2001:db8::1", "DNS:b", "DNS:a"])
        names = ["DNS:a", "IP:2001:0db8:0:0::1", "DNS:b"]
        assert reasons(leaf.pem, authority, leaf, subject_alternative_names=names) == []

    def test_missing(self, authority, leaf):
        assert reasons("", authority, leaf) == ["there is none yet"]

    def test_truncated_file(self, authority, leaf):
        assert reasons(leaf.pem[:200], authority, leaf) == ["the file holds no certificate"]

    def test_other_names_are_listed(self, authority, leaf):
        (reason,) = reasons(leaf.pem, authority, leaf, subject_alternative_names=["DNS:redis2"])
        assert reason == "its names are DNS:redis1, IP:192.0.2.7, wanted are DNS:redis2"

    def test_other_usages(self, authority, leaf):
        assert reasons(leaf.pem, authority, leaf, usages=["clientAuth"]) == ["its extended key usages differ"]

    def test_other_key(self, authority, leaf):
        other = certificates.public_key_fingerprint(issue(authority).certificate)
        assert reasons(leaf.pem, authority, leaf, key_fingerprint=other) == [
            "it does not belong to the private key on the host"
        ]

    def test_other_authority_of_the_same_name(self, leaf):
        assert reasons(leaf.pem, issue(), leaf) == ["it was not issued by this certificate authority"]

    @pytest.mark.parametrize(("days", "expiring"), [(29, True), (31, False), (-1, True)])
    def test_expiry(self, authority, days, expiring):
        leaf = issue(authority, days=days)
        assert bool(reasons(leaf.pem, authority, leaf)) is expiring


@pytest.fixture
def given(tmp_path, authority: Issued):
    """Input of a role that keeps its own authority, with the files in place."""
    (tmp_path / "ca.crt").write_text(authority.pem)
    (tmp_path / "ca.key").write_text(authority.key_pem(PASSPHRASE))
    return {
        "passphrase": PASSPHRASE,
        "certificate": "",
        "private_key": "",
        "trusted": "",
        "authority_managed": True,
        "authority_certificate_file": str(tmp_path / "ca.crt"),
        "authority_private_key_file": str(tmp_path / "ca.key"),
        "common_name": "redis1",
        "dns_names": ["redis1"],
        "ip_addresses": ["192.0.2.7"],
    }


@pytest.fixture
def provided(given, authority, leaf):
    return {**given, "certificate": leaf.pem, "private_key": leaf.key_pem(), "trusted": authority.pem}


def only_problem(settings) -> str:
    problems = certificates.problems_of_input(settings)
    assert len(problems) == 1, problems
    return problems[0]


class TestInputOfAuthority:
    def test_good(self, given):
        assert certificates.problems_of_input(given) == []

    @pytest.mark.parametrize("absent", ["dns_names", "ip_addresses"])
    def test_names_of_one_kind_suffice(self, given, absent):
        assert certificates.problems_of_input({**given, absent: []}) == []

    def test_nothing_there_yet(self, given, tmp_path):
        for name in ("ca.crt", "ca.key"):
            (tmp_path / name).unlink()
        assert certificates.problems_of_input(given) == []
        assert only_problem({**given, "authority_managed": False}).startswith("tls_ca_managed is false but there is no")

    def test_lost_key(self, given, tmp_path):
        (tmp_path / "ca.key").unlink()
        assert "is missing beside" in only_problem(given)

    def test_interrupted_between_key_and_certificate(self, given, tmp_path):
        (tmp_path / "ca.crt").unlink()
        assert certificates.problems_of_input(given) == []

    def test_wrong_passphrase(self, given):
        sentence = only_problem({**given, "passphrase": "another passphrase"})
        assert sentence.startswith("tls_ca_passphrase does not open")
        assert "another passphrase" not in sentence

    def test_key_in_the_clear(self, given, tmp_path, authority):
        (tmp_path / "ca.key").write_text(authority.key_pem())
        assert "is not encrypted" in only_problem(given)

    def test_key_of_another_authority(self, given, tmp_path):
        (tmp_path / "ca.key").write_text(issue().key_pem(PASSPHRASE))
        assert "must be a pair" in only_problem(given)

    @pytest.mark.parametrize(
        ("spoiled", "expected"), [({"days": -1}, "expired on"), ({"authority": False}, "is no CA certificate")]
    )
    def test_authority_that_cannot_issue(self, given, tmp_path, spoiled, expected):
        authority = issue(**spoiled)
        (tmp_path / "ca.crt").write_text(authority.pem)
        (tmp_path / "ca.key").write_text(authority.key_pem(PASSPHRASE))
        assert expected in only_problem(given)

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({"common_name": "n" * 65}, "tls_common_name has 65 characters"),
            ({"common_name": ""}, "tls_common_name has 0 characters"),
            ({"dns_names": [], "ip_addresses": []}, "are both empty"),
            ({"ip_addresses": ["redis1"]}, "'redis1', which is no IP address"),
        ],
    )
    def test_names(self, given, change, expected):
        assert expected in only_problem({**given, **change})


class TestInputOfProvidedCertificate:
    def test_good(self, provided):
        assert certificates.problems_of_input(provided) == []

    @pytest.mark.parametrize(
        ("key", "variable"),
        [
            ("certificate", "tls_certificate"),
            ("private_key", "tls_private_key"),
            ("trusted", "tls_trusted_certificates"),
        ],
    )
    def test_one_of_three_missing(self, provided, key, variable):
        assert only_problem({**provided, key: ""}).startswith(f"{variable} not set")

    @pytest.mark.parametrize(
        ("key", "variable"),
        [
            ("certificate", "tls_certificate"),
            ("private_key", "tls_private_key"),
            ("trusted", "tls_trusted_certificates"),
        ],
    )
    def test_no_pem(self, provided, key, variable):
        assert only_problem({**provided, key: "no PEM"}).startswith(variable)

    def test_key_of_another_certificate(self, provided, authority):
        sentence = only_problem({**provided, "private_key": issue(authority).key_pem()})
        assert sentence.startswith("tls_certificate does not belong to tls_private_key")
        assert "PRIVATE KEY" not in sentence

    def test_key_with_passphrase(self, provided, leaf):
        assert "is no unencrypted PEM private key" in only_problem({**provided, "private_key": leaf.key_pem("secret")})

    def test_expired(self, provided, authority):
        expired = issue(authority, days=-1)
        sentence = only_problem({**provided, "certificate": expired.pem, "private_key": expired.key_pem()})
        assert "tls_certificate expired on" in sentence

    def test_not_trusted(self, provided):
        assert "was not issued by any of" in only_problem({**provided, "trusted": issue().pem})

    def test_chain_over_an_intermediate(self, provided, authority):
        middle = issue(authority)
        leaf = issue(middle)
        chain = {"certificate": leaf.pem + middle.pem, "private_key": leaf.key_pem()}
        assert certificates.problems_of_input({**provided, **chain}) == []

    def test_name_not_covered(self, provided):
        sentence = only_problem({**provided, "dns_names": ["redis1", "redis9"]})
        assert sentence.startswith("tls_certificate does not cover DNS:redis9")
