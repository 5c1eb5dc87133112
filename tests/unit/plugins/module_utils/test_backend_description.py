# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The checks that all kinds of backends share."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.resultops.celery.plugins.module_utils import _backend_description as shared


@pytest.mark.parametrize("hosts", [None, "db1", ["db1", ""], [None]])
def test_hosts_are_a_list_of_names(hosts: Any) -> None:
    with pytest.raises(shared.BackendError, match="must be a list of host names"):
        shared.hosts_of({"hosts": hosts})


@pytest.mark.parametrize("host", ["db1/x", "user@db1", "db1?a=b", "db1#", "db1%", "db1;db2", "db 1"])
def test_a_host_that_would_change_the_url_is_refused(host: str) -> None:
    with pytest.raises(shared.BackendError, match="must be a bare host name"):
        shared.hosts_of({"hosts": [host]})


def test_an_ipv6_address_gets_brackets() -> None:
    assert [shared.bracketed(host) for host in ("::1", "10.0.0.1", "db1")] == ["[::1]", "10.0.0.1", "db1"]


def test_pickle_is_refused_with_the_reason() -> None:
    with pytest.raises(shared.BackendError, match="run code in every reader"):
        shared.serializer_of({"result_serializer": "pickle"})


@pytest.mark.parametrize(
    ("description", "sentence"),
    [
        ({}, "asks for TLS without a ca_file"),
        ({"ca_file": "ca.crt"}, "must be an absolute path"),
        ({"ca_file": "/100%.crt"}, "must not contain a percent sign"),
        ({"ca_file": "/ca.crt", "certificate_file": "/a"}, "certificate_file and private_key_file together"),
    ],
)
def test_files_of_tls_that_cannot_be_used(description: dict[str, Any], sentence: str) -> None:
    with pytest.raises(shared.BackendError, match=sentence):
        shared.tls_files(description, tls=True)


def test_files_without_tls_contradict_it() -> None:
    with pytest.raises(shared.BackendError, match="says tls: false"):
        shared.tls_files({"ca_file": "/ca.crt"}, tls=False)
