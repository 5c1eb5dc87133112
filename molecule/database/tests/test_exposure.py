# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the network, other users and the files of the hosts show."""

from __future__ import annotations

import re

from cryptography import x509


def test_nothing_but_the_server_listens(fleet, server):
    listeners = fleet.host(server.name).check_output("ss -Hltn").splitlines()
    ports = {line.split()[3].rsplit(":", 1)[1] for line in listeners if "127.0.0.11:" not in line}
    assert ports == {str(server.port)}


def test_it_never_listened_with_the_stock_configuration(fleet, server):
    """The drop-in keeps the unit from starting before the settings are there."""
    host = fleet.host(server.name)
    condition = host.check_output("systemctl show --value --property ConditionResult %s", server.unit)
    assert condition == "yes"
    drop_in = host.check_output("systemctl cat %s", server.unit)
    assert f"ConditionPathExists={server.files[0][0]}" in drop_in


def test_the_unit_is_sandboxed(fleet, server):
    said = fleet.host(server.name).check_output("systemd-analyze security --no-pager %s", server.unit)
    score = re.search(r"exposure level for \S+: ([0-9.]+)", said)
    assert score
    assert float(score[1]) <= server.worst_score


def test_managed_files_are_closed_to_others(fleet, server):
    for path, group, mode in server.files:
        file = fleet.host(server.name).file(path)
        assert (file.user, file.group, file.mode) == ("root", group, mode), path


def test_the_certificate_carries_the_name(fleet, server):
    directory = next(path for path, _group, _mode in server.files if path.endswith("/tls"))
    content = fleet.host(server.name).file(f"{directory}/server.crt").content
    names = x509.load_pem_x509_certificate(content).extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert {server.name, "localhost"} <= set(names.value.get_values_for_type(x509.DNSName))


def test_no_statement_is_logged(fleet, server):
    """Neither one that fails, nor one that is slow, nor the row that another one collides with."""
    fleet.ask(
        server, "probe", "SELECT 'a result that nobody may read' FROM nowhere", "SELECT 'a result that' nobody may read"
    )
    host = fleet.host(server.name)
    logs = host.check_output("cat /dev/null /var/log/postgresql/*.log 2>/dev/null; journalctl --no-pager --output cat")
    assert "a result that" not in logs
