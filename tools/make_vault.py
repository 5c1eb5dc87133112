# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Make an inventory's vault with random values: make_vault.py <inventory directory>.

Writes .vault-password and group_vars/all/vault.yml, unless both are there. The first is hidden, because Ansible reads
all other files of an inventory directory as lists of hosts. Each value carries the characters that break careless
quoting, so that demo and tests use them everywhere; Sentinel cannot read back all of them, and gets those that it can.
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

from ansible.parsing.vault import VaultLib, VaultSecret

NAMES = (
    "vault_tls_ca_passphrase",
    "vault_redis_admin_password",
    "vault_redis_celery_password",
    "vault_redis_broker_password",
    "vault_redis_replication_password",
    "vault_redis_sentinel_password",
    "vault_sentinel_admin_password",
    "vault_sentinel_client_password",
    "vault_sentinel_peer_password",
    "vault_sentinel_exporter_password",
    "vault_redis_exporter_password",
    "vault_redis_backup_passphrase",
    "vault_postgresql_probe_password",
    "vault_postgresql_other_password",
    "vault_postgresql_purge_password",
    "vault_postgresql_monitor_password",
    "vault_postgresql_admin_password",
    "vault_postgresql_pooler_password",
    "vault_mysql_probe_password",
    "vault_mysql_other_password",
    "vault_mysql_owner_password",
    "vault_mysql_purge_password",
    "vault_mysql_monitor_password",
    "vault_result_schema_backup_passphrase",
    "vault_rabbitmq_probe_worker_password",
    "vault_rabbitmq_probe_client_password",
    "vault_rabbitmq_other_worker_password",
    "vault_rabbitmq_other_client_password",
    "vault_rabbitmq_erlang_cookie",
)
HARD_CHARACTERS = r"""p@ss:/w%rd#?&'"{{ }}\ """.strip()
# What Sentinel and replicas log in with stands in their own files: Sentinel writes no quotes there, Valkey no escapes.
# Nor does Erlang read spaces and quotes in its cookie.
UNQUOTED = (
    "vault_redis_sentinel_password",
    "vault_sentinel_peer_password",
    "vault_redis_replication_password",
    "vault_rabbitmq_erlang_cookie",
)
HARD_CHARACTERS_UNQUOTED = r"p@ss:/w%rd#?&{{}}"


def hard_characters(name: str) -> str:
    return HARD_CHARACTERS_UNQUOTED if name in UNQUOTED else HARD_CHARACTERS


def random_value(name: str) -> str:
    return secrets.token_urlsafe(16) + hard_characters(name) + secrets.token_urlsafe(16)


def vault_text(values: dict[str, str]) -> str:
    """Return YAML in which Ansible takes no value for a template."""
    lines = [f"{name}: !unsafe '{value.replace(chr(39), chr(39) * 2)}'\n" for name, value in values.items()]
    return "---\n" + "".join(lines)


def encrypt(text: str, password: str) -> bytes:
    return VaultLib().encrypt(text, VaultSecret(password.encode()))


def write_private(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)


def make_vault(inventory: Path) -> bool:
    """Write both files; return whether that was needed."""
    password_file = inventory / ".vault-password"
    vault_file = inventory / "group_vars" / "all" / "vault.yml"
    there = [path for path in (password_file, vault_file) if path.exists()]
    if len(there) == 1:
        missing = vault_file if there == [password_file] else password_file
        sys.exit(f"ERROR: {there[0]} is there but {missing} is not: restore it, or remove the other one as well.")
    if there:
        return False
    password = secrets.token_urlsafe(32)
    write_private(vault_file, encrypt(vault_text({name: random_value(name) for name in NAMES}), password))
    write_private(password_file, f"{password}\n".encode())
    return True


if __name__ == "__main__":
    inventory = Path(sys.argv[1])
    if make_vault(inventory):
        print(f"==> Made random passwords in {inventory}/group_vars/all/vault.yml")
