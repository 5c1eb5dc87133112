# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: celery_settings
short_description: Give the Celery settings that suit a result backend
version_added: 0.1.0
author: ResultOps engineers (@resultops)
description:
  - Returns the settings for a C(celeryconfig) module, in lower case, without any secret, and only those that differ
    from what Celery does by itself. Each of them was measured against Celery 5.7 and real servers.
  - C(result_backend_always_retry), C(result_backend_max_retries) and the two C(sleep_between_retries) settings let a
    worker ride out a restart of the server of about half a minute. By default the first read of a store is not
    repeated, and a result that is finished while Redis restarts is lost at once. The number of retries is finite, so
    that a worker does not hang for ever on a server that never returns. The waiting times are random up to a limit
    that doubles from 0.5 to 5 seconds, so that many workers do not return at the same moment.
  - C(additional_connection_errors) in C(result_backend_transport_options) extends that to a server that answers but
    refuses writes, because it was demoted to a replica or has no memory left. Celery before 5.7 ignores it.
  - C(redis_socket_timeout) and C(redis_socket_connect_timeout) end the wait for a server that hangs or does not
    answer. By default both take 120 seconds. The timeout is for each read, so large results do not need more.
  - C(redis_socket_keepalive) finds out that a peer or a firewall dropped an idle connection. Newer versions of the
    Redis client do so by default, older ones do not.
  - C(global_keyprefix) in C(result_backend_transport_options) keeps several applications apart. It is put before
    keys and channels, and has to fit the access rules of the user.
  - The classes of the profiles V(fast) and V(durable), which P(resultops.celery.backend_url#filter) names in the URL,
    repeat by time, for O(options.retry_seconds). Each pause is a tenth of the time that has passed, so they are soon
    back after a short outage and calm in a long one.
  - With the kind V(sentinel), a server or a sentinel that hangs is given up after a second or half of one, so that the
    next try meets the primary that the sentinels have chosen meanwhile. Celery's defaults wait for two minutes.
  - C(sentinel_kwargs) in C(result_backend_transport_options) is the account and TLS towards the sentinels, without the
    password, which C(celeryconfig.py) takes from the variable C(CELERY_SENTINEL_PASSWORD).
  - C(result_accept_content) accepts the chosen serializer only. Redis keeps no content type beside a result, so all
    readers and writers need the same C(result_serializer).
  - C(redis_backend_health_check_interval) is left out on purpose. It does not wake a client that waits for a result
    in Celery 5.7, and a broken connection is already found by the settings above.
  - With the kind V(redis), settings for TLS are left out, because they are part of the URL that
    P(resultops.celery.backend_url#filter) builds. With the kind V(sentinel), Celery would drop them there, so they are
    C(redis_backend_use_ssl) for the nodes and C(sentinel_kwargs) for the sentinels.
  - With the kinds V(postgresql) and V(mysql), C(result_expires) is C(None), so that beat plans no
    C(celery.backend_cleanup). That would delete all expired results in one transaction, beside the purge of the server.
  - C(database_create_tables_at_setup) is false, and C(database_table_schemas) names the schema of PostgreSQL for
    results and groups alike. The tables belong to the role P(resultops.celery.result_schema#role).
  - C(database_engine_options) keeps what Celery has there, C(pool_pre_ping) and C(pool_recycle), which a value of
    one's own would replace. C(pool_size) is the most connections of one process, without C(max_overflow), which would
    open and close connections all the time. C(hide_parameters) keeps results out of logs.
  - C(connect_args) ends the wait for a host that does not answer. It sets the time zone of the session to UTC, and
    for MySQL the strict mode, TLS and its verification. With a pooler it leaves out the options that poolers refuse,
    and for V(transaction) also prepared statements.
  - With the kind V(rpc), C(result_expires) is how long the queue of a client lives on without its reader, so it is
    short. C(connect_retries_timeout) in C(broker_transport_options) lets a client that waits outlast a restart of the
    broker, and the short intervals let it be back before the worker that has its result.
  - With the kind V(rpc), C(worker_prefetch_multiplier) is V(1), so that no short task waits behind a long one on one
    worker while another has nothing to do. TLS towards the broker is what P(resultops.celery.broker_settings#filter)
    gives.
positional: options
options:
  _input:
    description: The backend description as for P(resultops.celery.backend_url#filter).
    type: dict
    required: true
  options:
    description: Wishes that differ from the defaults below.
    type: dict
    default: {}
    suboptions:
      result_expires:
        description:
          - Seconds after which Redis removes a result by itself. Not with SQL, where a purge does it.
          - With the kind V(rpc), seconds after which the broker removes a queue of results that nobody reads. The
            default is V(1800) there.
        type: int
        default: 86400
      result_serializer:
        description:
          - How results are written. V(msgpack) is smaller, and faster for results above some kilobytes. It needs the
            Python package C(msgpack) in every reader and writer.
        type: str
        choices: [json, msgpack]
        default: json
      result_extended:
        description: Keep the name, arguments, worker and queue of the task beside its result. Costs about 250 bytes.
        type: bool
        default: false
      result_backend_max_retries:
        description:
          - How often a store or read is repeated. The default bridges 31 seconds on average, and 37 with the kind
            V(sentinel), where it is V(150).
          - With the profiles V(fast) and V(durable) of Redis the default is V(1000), and O(options.retry_seconds) comes
            first.
        type: int
        default: 15
      retry_seconds:
        description:
          - For how long a store or read is repeated. Only with the profiles V(fast) and V(durable) of Redis.
        type: int
        default: 60
        version_added: 0.2.0
      durable_replicas:
        description: How many replicas must have a result before it counts as stored. Only with the profile V(durable).
        type: int
        default: 1
        version_added: 0.2.0
      durable_timeout_ms:
        description:
          - Milliseconds that the replicas get for it, before the store is repeated. Less than
            O(options.redis_socket_timeout). Only with the profile V(durable).
        type: int
        default: 500
        version_added: 0.2.0
      result_backend_thread_safe:
        description:
          - Share one connection pool between the threads of a process. By default each thread has its own.
          - Together with O(options.redis_max_connections) below the number of threads, stores wait for each other.
        type: bool
        default: false
      redis_socket_timeout:
        description: Seconds to wait for an answer of the server. With the kind V(sentinel) the default is V(1).
        type: int
        default: 10
      redis_socket_connect_timeout:
        description: Seconds to wait for a connection. With the kind V(sentinel) the default is V(1).
        type: int
        default: 5
      redis_max_connections:
        description:
          - The most connections of one pool, which is one for each thread unless O(options.result_backend_thread_safe).
          - By default the Redis client sets its own limit, which is 100.
        type: int
      redis_client_name:
        description: The name by which the server lists the connections. The user needs the right C(client|setname).
        type: str
        default: ""
      worker_pool:
        description:
          - How the worker runs tasks, which decides O(options.pool_size). Only with SQL, as all options that follow.
        type: str
        choices: [prefork, solo, threads, gevent, eventlet]
        default: prefork
        version_added: 0.3.0
      pool_size:
        description:
          - The most connections of one process, which opens only as many as it uses at once.
          - By default V(5) with the pools V(prefork) and V(solo), V(10) with V(threads), V(20) with V(gevent) and
            V(eventlet).
        type: int
        version_added: 0.3.0
      pool_timeout:
        description: Seconds to wait for a connection of the process that is free.
        type: int
        default: 30
        version_added: 0.3.0
      pool_recycle:
        description: Seconds after which a connection is replaced. Less than a firewall keeps an idle one.
        type: int
        default: 3600
        version_added: 0.3.0
      connect_timeout:
        description: Seconds to wait for a connection to the server.
        type: int
        default: 5
        version_added: 0.3.0
      tcp_user_timeout:
        description: Seconds after which a host that confirms nothing is given up. Only with the kind V(postgresql).
        type: int
        default: 10
        version_added: 0.3.0
      read_timeout:
        description: Seconds to wait for an answer of the server. Only with the kind V(mysql).
        type: int
        default: 10
        version_added: 0.3.0
      application_name:
        description: The name by which the server lists the connections.
        type: str
        default: celery
        version_added: 0.3.0
      result_persistent:
        description:
          - Let the broker write results to its disk. Only with the kind V(rpc), as all options that follow.
          - It keeps results over a restart of the broker only where nobody read them before. Those of a reader that
            loses its connection are lost with either value.
        type: bool
        default: false
        version_added: 0.4.0
      connect_retries_timeout:
        description: For how many seconds whoever waits for a result tries to reach the broker again.
        type: int
        default: 60
        version_added: 0.4.0
      broker_heartbeat:
        description:
          - Seconds between heartbeats of a worker and its broker, of which two may be missed. The lower of this and
            what the broker says counts. V(0) switches them off.
        type: int
        default: 30
        version_added: 0.4.0
      worker_prefetch_multiplier:
        description: How many tasks a worker takes for each of its processes before it has run them.
        type: int
        default: 1
        version_added: 0.4.0
      task_default_queue_type:
        description: The kind of the queues of tasks. V(quorum) for a cluster; those of results are always classic.
        type: str
        choices: [classic, quorum]
        default: classic
        version_added: 0.4.0
"""

EXAMPLES = r"""
- name: Show the settings
  ansible.builtin.debug:
    msg: "{{ description | resultops.celery.celery_settings({'result_expires': 3600}) }}"
  vars:
    description:
      kind: redis
      hosts: [redis1.example.org]
      ca_file: /etc/celery/app/ca.crt
      key_prefix: shop

- name: Show those of a worker with threads whose results go to PostgreSQL through a pooler
  ansible.builtin.debug:
    msg: "{{ description | resultops.celery.celery_settings({'worker_pool': 'threads'}) }}"
  vars:
    description:
      kind: postgresql
      hosts: [pooler.example.org]
      port: 6432
      username: shop
      database: results
      schema: shop
      pooler: transaction
      ca_file: /etc/celery/app/ca.crt
"""

RETURN = r"""
_value:
  description: The settings, by their names in Celery.
  type: dict
  sample:
    redis_socket_connect_timeout: 5
    redis_socket_keepalive: true
    redis_socket_timeout: 10
    result_backend_always_retry: true
    result_backend_max_retries: 15
"""

from collections.abc import Callable, Mapping
from typing import Any

from ansible.errors import AnsibleFilterError
from ansible_collections.resultops.celery.plugins.module_utils import _backend


def celery_settings(description: Mapping[str, Any], options: Mapping[str, Any] | None = None) -> dict[str, Any]:
    try:
        return _backend.celery_settings(description, options)
    except _backend.BackendError as error:
        raise AnsibleFilterError(str(error)) from error


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"celery_settings": celery_settings}
