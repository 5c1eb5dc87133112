# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the network, other users and the files of the hosts show: of the servers, of the sentinels, of the workers."""

from __future__ import annotations

import json
import re

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from fleet import CA_FILE, CHECKOUT
from scenario import CERTIFICATE, KEY, NODES, REDIS_PORT, SENTINEL_PORT, WORKERS

LOG = CHECKOUT / ".cache" / "molecule" / "ha.log"

# TLS 1.3 tells a client that its certificate is missed only with the first answer.
HANDSHAKE = """
import os, socket, ssl, subprocess, tempfile
def stranger():
    directory = tempfile.mkdtemp()
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-keyout", directory + "/k", "-out", directory + "/c", "-subj", "/CN=stranger", "-days", "1"],
                   check=True, capture_output=True)
    return directory + "/c", directory + "/k"
def attempt():
    with socket.create_connection((given["host"], given["port"]), timeout=5) as raw:
        if given["shown"] == "plaintext":
            raw.sendall(b"PING\\r\\n")
            return repr(raw.recv(64))
        context = ssl.create_default_context(cafile=given["ca"])
        if given["shown"] == "stranger":
            context.load_cert_chain(*stranger())
        elif given["shown"] == "issued":
            context.load_cert_chain(given["certificate"], given["key"])
        with context.wrap_socket(raw, server_hostname=given["name"]) as connection:
            connection.sendall(b"PING\\r\\n")
            return repr(connection.recv(64))
try:
    answer = attempt()
except OSError as error:
    answer = f"{type(error).__name__}: {error}"
print(json.dumps(answer))
"""


def handshake(fleet, node, port, shown, name=None) -> str:
    files = {"ca": CA_FILE, "certificate": CERTIFICATE, "key": KEY}
    return fleet.python(fleet.client, HANDSHAKE, host=node, port=port, shown=shown, name=name or node, **files)


@pytest.fixture(params=[REDIS_PORT, SENTINEL_PORT], ids=["server", "sentinel"])
def port(request: pytest.FixtureRequest) -> int:
    return request.param


class TestNetwork:
    def test_nothing_was_open_while_it_was_installed(self, fleet, node):
        report = fleet.host(node).file("/var/log/host-watch/sockets.jsonl").content_string
        rows = [json.loads(row) for row in report.splitlines()]
        assert [row for row in rows if row["open"]] == []
        assert {REDIS_PORT, SENTINEL_PORT} <= {row["port"] for row in rows}, "the watcher did not see them start"

    def test_nothing_but_the_tls_ports_listens(self, fleet, node):
        listeners = fleet.host(node).check_output("ss -Hltn").splitlines()
        ports = {line.split()[3].rsplit(":", 1)[1] for line in listeners if "127.0.0.11:" not in line}
        assert ports == {str(REDIS_PORT), str(SENTINEL_PORT)}

    def test_plaintext_is_refused(self, fleet, node, port):
        assert "PONG" not in handshake(fleet, node, port, "plaintext")

    def test_a_client_with_a_certificate_still_needs_a_password(self, fleet, node, port):
        assert "NOAUTH" in handshake(fleet, node, port, "issued")

    @pytest.mark.parametrize("shown", ["nothing", "stranger"])
    def test_a_client_without_a_certificate_of_the_authority_is_refused(self, fleet, node, port, shown):
        answer = handshake(fleet, node, port, shown)
        assert answer == "b''" or "alert" in answer or "reset" in answer, answer

    def test_another_name_is_refused(self, fleet, node, port):
        assert "Hostname mismatch" in handshake(fleet, node, port, "issued", name="redis.example.com")

    def test_the_names_of_the_others_resolve_without_dns(self, fleet, node):
        for other in NODES[node].nodes:
            found = fleet.host(node).check_output("getent --service files hosts %s", other)
            assert "127." not in found


class TestSentinels:
    def test_the_primary_of_the_package_is_gone(self, fleet, of):
        for replies in fleet.sentinels(of, ["SENTINEL", "MASTERS"]).values():
            assert [primary[1] for primary in replies[0]] == [of.name]
        for node in of.nodes:
            state = fleet.host(node).file(f"/etc/{of.sentinel.account}/sentinel.conf")
            watched = re.findall(r"^sentinel monitor (\S+)", state.content_string, re.MULTILINE)
            assert watched == [of.name]
            assert state.mode & 0o007 == 0
            assert state.user == of.sentinel.account

    def test_nobody_gets_in_without_a_name(self, fleet, of):
        for replies in fleet.sentinels(of, ["ACL", "LIST"]).values():
            (default,) = [user.split() for user in replies[0] if user.startswith("user default ")]
            assert "off" in default
            assert "nopass" not in default

    def test_the_set_is_whole(self, fleet, of):
        assert fleet.problems(of) == []
        for replies in fleet.sentinels(of, ["SENTINEL", "CKQUORUM", of.name]).values():
            assert replies[0].startswith("OK 3 usable Sentinels")


class TestFiles:
    @pytest.mark.parametrize(
        ("path", "mode"),
        [("", 0o750), ("settings.conf", 0o640), ("users.acl", 0o640), ("tls", 0o750), ("tls/server.key", 0o640)],
    )
    def test_managed_files_are_closed_to_others(self, fleet, node, path, mode):
        for engine in (NODES[node].server, NODES[node].sentinel):
            file = fleet.host(node).file(f"{engine.managed}/{path}")
            assert (file.user, file.group, file.mode) == ("root", engine.account, mode)

    def test_accounts_are_hashes(self, fleet, node):
        files = [f"{engine.managed}/users.acl" for engine in (NODES[node].server, NODES[node].sentinel)]
        assert fleet.secrets_in(fleet.host(node).check_output("cat %s %s", *files)) == []

    def test_certificates_are_for_both_sides_of_a_connection(self, fleet, node):
        for engine in (NODES[node].server, NODES[node].sentinel):
            content = fleet.host(node).file(f"{engine.managed}/tls/server.crt").content
            extensions = x509.load_pem_x509_certificate(content).extensions
            names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            assert node in names.get_values_for_type(x509.DNSName)
            usages = set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
            assert usages == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}

    @pytest.mark.parametrize("worker", WORKERS)
    def test_the_certificate_of_a_worker_is_for_clients_only(self, fleet, worker):
        host = fleet.host(worker)
        extensions = x509.load_pem_x509_certificate(host.file(CERTIFICATE).content).extensions
        usages = set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
        assert usages == {ExtendedKeyUsageOID.CLIENT_AUTH}
        key = host.file(KEY)
        assert (key.user, key.group, key.mode) == ("root", "celery", 0o640)

    @pytest.mark.parametrize("worker", WORKERS)
    def test_only_the_env_file_of_a_worker_holds_secrets(self, fleet, worker):
        host = fleet.host(worker)
        assert host.file("/etc/celery/probe/.env").mode == 0o640
        others = host.check_output("cat /etc/celery/probe/.env.example /etc/celery/probe/*.py")
        assert fleet.secrets_in(others) == []


class TestSecrets:
    def test_none_was_said(self, fleet):
        assert fleet.secrets_said(LOG, "Sentinel") == []

    @pytest.mark.parametrize("name", [*NODES, *WORKERS])
    def test_none_was_to_be_seen_on_the_hosts(self, fleet, name):
        assert fleet.secrets_seen_on(name) == []
