# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who gets in, and what each account can and can not do."""

from __future__ import annotations

import json

import pytest
from fleet import CA_FILE, engine_of

HANDSHAKE = """
import os, socket, ssl, subprocess, tempfile
def attempt():
    if given["trust"] == "stranger":
        directory = tempfile.mkdtemp()
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-keyout", directory + "/k", "-out", directory + "/c", "-subj", "/CN=stranger", "-days", "1"],
                       check=True, capture_output=True)
        trust = directory + "/c"
    else:
        trust = given["trust"]
    with socket.create_connection((given["host"], 6379), timeout=5) as raw:
        if given["trust"] == "plaintext":
            raw.sendall(b"PING\\r\\n")
            return repr(raw.recv(64))
        context = ssl.create_default_context(cafile=trust)
        with context.wrap_socket(raw, server_hostname=given["name"]) as connection:
            return connection.version()
try:
    answer = attempt()
except ssl.SSLCertVerificationError as error:
    answer = error.verify_message
except OSError as error:
    answer = type(error).__name__
print(json.dumps(answer))
"""


def handshake(fleet, server, trust=CA_FILE, name=None) -> str:
    return fleet.python("worker13", HANDSHAKE, host=server, trust=trust, name=name or server)


class TestEncryption:
    def test_verified_tls_is_accepted(self, fleet, server):
        assert handshake(fleet, server) in ("TLSv1.2", "TLSv1.3")

    def test_plaintext_is_refused(self, fleet, server):
        assert "PONG" not in handshake(fleet, server, trust="plaintext")

    def test_another_authority_is_refused(self, fleet, server):
        assert "self-signed certificate" in handshake(fleet, server, trust="stranger")

    def test_another_name_is_refused(self, fleet, server):
        assert "Hostname mismatch" in handshake(fleet, server, name="redis.example.com")

    def test_nothing_but_the_tls_port_listens(self, fleet, server):
        listeners = fleet.host(server).check_output("ss -Hltn").splitlines()
        ports = {line.split()[3].rsplit(":", 1)[1] for line in listeners if "127.0.0.11:" not in line}
        assert ports == {"6379"}

    def test_nothing_was_open_while_it_was_installed(self, fleet, server):
        report = fleet.host(server).file("/var/log/host-watch/sockets.jsonl").content_string
        rows = [json.loads(row) for row in report.splitlines()]
        assert [row for row in rows if row["open"]] == []
        assert 6379 in {row["port"] for row in rows}, "the watcher did not see the server start"


class TestAuthentication:
    def test_password_is_needed(self, fleet, server):
        code = """
import redis
client = redis.Redis(host=given["host"], ssl=True, ssl_ca_certs=given["ca"], protocol=2)
try:
    answer = str(client.ping())
except redis.exceptions.RedisError as error:
    answer = str(error)
print(json.dumps(answer))
"""
        assert "Authentication required" in fleet.python("worker13", code, host=server, ca=CA_FILE)

    @pytest.mark.parametrize("user", ["celery", "admin", "default"])
    def test_wrong_password_is_refused(self, fleet, server, user):
        (reply,) = fleet.redis(server, user, "not the password of anybody", ["PING"])
        assert "invalid username-password pair or user is disabled" in reply

    def test_unix_socket_needs_the_password_too(self, fleet, server):
        code = """
import socket
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(given["socket"])
    connection.sendall(b"PING\\r\\n")
    print(json.dumps(connection.recv(64).decode()))
"""
        engine = engine_of(server)
        program = f"import json\ngiven = {{'socket': {engine.socket!r}}}\n{code}"
        answer = fleet.host(server).check_output("python3 -c %s", program)
        assert "NOAUTH" in answer


REFUSED_TO_CELERY = [
    ["FLUSHALL"],
    ["FLUSHDB"],
    ["CONFIG", "GET", "*"],
    ["CONFIG", "SET", "maxmemory", "1"],
    ["KEYS", "*"],
    ["SCAN", "0"],
    ["ACL", "LIST"],
    ["ACL", "SETUSER", "celery", "+@all"],
    ["EVAL", "return 1", "0"],
    ["SHUTDOWN", "NOSAVE"],
    ["REPLICAOF", "NO", "ONE"],
    ["MODULE", "LIST"],
    ["CLIENT", "LIST"],
    ["MONITOR"],
    ["GET", "another-key"],
    ["SET", "another-key", "1"],
    ["GET", "other_celery-task-meta-1"],
    ["GET", "probe-celery"],
    ["PUBLISH", "another-channel", "1"],
    ["SUBSCRIBE", "other_celery-task-meta-1"],
]
REFUSED_TO_BROKER = [
    ["FLUSHALL"],
    ["CONFIG", "GET", "*"],
    ["KEYS", "*"],
    ["GET", "celery-task-meta-1"],
    ["SETEX", "celery-task-meta-1", "60", "forged"],
    ["SUBSCRIBE", "celery-task-meta-1"],
    ["LPUSH", "another-queue", "1"],
]


class TestAuthorization:
    def test_celery_can_do_its_job(self, fleet, server):
        key = "celery-task-meta-access-test"
        replies = fleet.redis(
            server,
            "celery",
            fleet.secret("vault_redis_celery_password"),
            ["SETEX", key, "60", "value"],
            ["GET", key],
            ["PUBLISH", key, "value"],
            ["DEL", key],
        )
        assert replies[1:] == ["value", 0, 1]

    @pytest.mark.parametrize("command", REFUSED_TO_CELERY, ids=" ".join)
    def test_celery_can_do_no_more(self, fleet, server, command):
        (reply,) = fleet.redis(server, "celery", fleet.secret("vault_redis_celery_password"), command)
        assert str(reply).startswith("NoPermissionError"), reply

    @pytest.mark.parametrize("command", REFUSED_TO_BROKER, ids=" ".join)
    def test_broker_cannot_touch_results(self, fleet, server, command):
        (reply,) = fleet.redis(server, "celery_broker", fleet.secret("vault_redis_broker_password"), command)
        assert str(reply).startswith("NoPermissionError"), reply

    def test_second_application_reads_only_its_own(self, fleet, server):
        replies = fleet.redis(
            server,
            "other",
            fleet.secret("vault_redis_broker_password"),
            ["SETEX", "other_celery-task-meta-1", "60", "mine"],
            ["GET", "other_celery-task-meta-1"],
            ["GET", "celery-task-meta-1"],
        )
        assert replies[1] == "mine"
        assert replies[2].startswith("NoPermissionError")

    def test_the_default_user_is_closed_in_the_one_safe_way(self, fleet, server):
        password = fleet.secret("vault_redis_admin_password")
        (users,) = fleet.redis(server, "admin", password, ["ACL", "LIST"])
        (default,) = [user.split() for user in users if user.startswith("user default ")]
        assert {"off", "~*", "&*", "+@all"} <= set(default)
        assert "nopass" not in default

    def test_what_the_proof_did_was_allowed(self, denials_before_the_tests, server):
        assert denials_before_the_tests[server] == []
