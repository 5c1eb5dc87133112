# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Files, certificates, processes and services as they are on the hosts."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.x509.oid import ExtendedKeyUsageOID
from fleet import engine_of
from scenario import INVENTORY, REDIS_HOSTS, WORKER_HOSTS


class TestRedisHost:
    @pytest.mark.parametrize(
        ("path", "mode"),
        [("", 0o750), ("settings.conf", 0o640), ("users.acl", 0o640), ("tls", 0o750), ("tls/server.key", 0o640)],
    )
    def test_managed_files_are_closed_to_others(self, fleet, server, path, mode):
        engine = engine_of(server)
        file = fleet.host(server).file(f"{engine.managed}/{path}")
        assert (file.user, file.group, file.mode) == ("root", engine.account, mode)

    def test_the_server_cannot_write_what_ansible_owns(self, fleet, server):
        engine = engine_of(server)
        host = fleet.host(server)
        pid = host.check_output("systemctl show --value --property MainPID %s", engine.unit)
        mounts = [line.split() for line in host.check_output("cat /proc/%s/mountinfo", pid).splitlines()]
        (options,) = [fields[5].split(",") for fields in mounts if fields[4] == engine.managed]
        assert "ro" in options

    def test_only_hashes_on_disk(self, fleet, server):
        content = fleet.host(server).check_output("cat %s/*.conf %s/users.acl", *(engine_of(server).managed,) * 2)
        assert fleet.secrets_in(content) == []

    def test_service(self, fleet, server):
        service = fleet.host(server).service(engine_of(server).unit)
        assert service.is_running
        assert service.is_enabled

    def test_sandbox(self, fleet, server):
        report = fleet.host(server).check_output("systemd-analyze security --no-pager %s", engine_of(server).unit)
        exposure = float(report.splitlines()[-1].split(":")[1].split()[0])
        assert exposure <= 1.1

    def test_certificate(self, fleet, server):
        content = fleet.host(server).file(f"{engine_of(server).managed}/tls/server.crt").content
        certificate = x509.load_pem_x509_certificate(content)
        extensions = certificate.extensions
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        address = fleet.host(server).check_output("hostname --ip-address").split()[0]
        assert {server, "localhost"} == set(names.get_values_for_type(x509.DNSName))
        assert {"127.0.0.1", address} == {str(ip) for ip in names.get_values_for_type(x509.IPAddress)}
        usages = set(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
        assert usages == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
        authority = x509.load_pem_x509_certificate((INVENTORY / ".pki" / "ca.crt").read_bytes())
        subject_key = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        assert extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier == subject_key
        extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        certificate.verify_directly_issued_by(authority)


class TestAuthority:
    def test_its_key_is_encrypted_and_private(self, fleet):
        path = INVENTORY / ".pki" / "ca.key"
        assert path.stat().st_mode & 0o777 == 0o600
        with pytest.raises(TypeError, match="not given"):
            serialization.load_pem_private_key(path.read_bytes(), None)
        serialization.load_pem_private_key(path.read_bytes(), fleet.secret("vault_tls_ca_passphrase").encode())

    @pytest.mark.parametrize("name", [*REDIS_HOSTS, *WORKER_HOSTS])
    def test_its_key_is_on_no_host(self, fleet, name):
        assert fleet.host(name).check_output("find / -xdev -name 'ca.key'") == ""


class TestWorkerHost:
    @pytest.mark.parametrize(
        ("path", "group", "mode"),
        [(".env", "celery", 0o640), (".env.example", "root", 0o644), ("celeryconfig.py", "root", 0o644)],
    )
    def test_files(self, fleet, worker, path, group, mode):
        file = fleet.host(worker).file(f"/etc/celery/probe/{path}")
        assert (file.user, file.group, file.mode) == ("root", group, mode)

    def test_only_the_env_file_holds_secrets(self, fleet, worker):
        host = fleet.host(worker)
        password = quote(fleet.secret("vault_redis_celery_password"), safe="")
        assert password in host.file("/etc/celery/probe/.env").content_string
        others = host.check_output("cat /etc/celery/probe/.env.example /etc/celery/probe/celeryconfig.py")
        others += host.check_output("systemctl cat celery-probe.service")
        assert fleet.secrets_in(others) == []
        assert "_your_key_here" in others

    def test_other_users_cannot_read_the_env_file(self, fleet, worker):
        denied = fleet.host(worker).run("runuser --user nobody -- cat /etc/celery/probe/.env")
        assert "Permission denied" in denied.stderr

    def test_service(self, fleet, worker):
        service = fleet.host(worker).service("celery-probe.service")
        assert service.is_running
        assert service.is_enabled


@pytest.mark.parametrize("name", [*REDIS_HOSTS, *WORKER_HOSTS])
def test_no_secret_in_the_process_list_or_the_journal(fleet, name):
    host = fleet.host(name)
    for text in (host.check_output("ps -eww -o args"), host.check_output("journalctl --no-pager --output cat")):
        assert len(text) > 100
        assert fleet.secrets_in(text) == []
