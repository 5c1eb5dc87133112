# Copyright (c) 2026, the resultops.celery authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything that Celery asks of a result backend, through the configuration of the worker on whose host this runs.

Runs there with the worker's own Python and environment. Prints what went wrong as JSON, by case.
"""

import json
import logging
import os
import sys

import celery
from celery.contrib.testing.worker import start_worker
from celery.exceptions import TaskRevokedError

PATIENCE = 15


def make_app(ordered):
    # The tasks run in this process: nothing but the results passes through the servers. The environment wins.
    os.environ["CELERY_BROKER_URL"] = "memory://"
    app = celery.Celery("probe-tests", set_as_current=False)
    app.config_from_object("celeryconfig")
    app.conf.update(broker_transport_options={"polling_interval": 0.01}, task_default_queue="cases")
    app.conf.result_backend_transport_options["result_chord_ordered"] = ordered
    return app


def define_tasks(app):
    @app.task(name="add")
    def add(*numbers):
        return sum(numbers)

    @app.task(name="total")
    def total(numbers):
        return sum(numbers)

    @app.task(name="fail")
    def fail():
        raise ValueError("on purpose")

    @app.task(name="retried", bind=True)
    def retried(self):
        if not self.request.retries:
            raise self.retry(countdown=0.2)
        return self.request.retries

    @app.task(name="progress", bind=True)
    def progress(self):
        self.update_state(state="PROGRESS", meta={"done": 50})
        return self.AsyncResult(self.request.id).state

    return add, total, fail, retried, progress


def must_raise(expected, call):
    try:
        call()
    except expected as error:
        return str(error)
    raise AssertionError(f"{expected.__name__} was not raised")


def cases(app):
    add, total, fail, retried, progress = define_tasks(app)
    get = {"timeout": PATIENCE}

    def equal(result, expected):
        assert result == expected, (result, expected)

    def saved_group():
        made = celery.group(add.s(1, 1) for _number in range(3))()
        made.save()
        restored = app.GroupResult.restore(made.id)
        equal(restored.get(**get), [2, 2, 2])
        restored.delete()
        assert app.GroupResult.restore(made.id) is None

    def forgotten():
        result = add.delay(1, 1)
        result.get(**get)
        result.forget()
        equal(app.AsyncResult(result.id).state, "PENDING")

    def many():
        results = [add.delay(number, 1) for number in range(10)]
        found = dict(app.backend.get_many([result.id for result in results], timeout=PATIENCE))
        equal({found[result.id]["result"] for result in results}, set(range(1, 11)))

    def revoked():
        # A task that is too late is revoked by the worker, which stores that.
        must_raise(TaskRevokedError, lambda: add.apply_async((1, 1), countdown=0.1, expires=0.01).get(**get))

    def failing_chord():
        must_raise(Exception, lambda: celery.chord([add.s(1, 1), fail.s()], total.s())().get(**get))

    def nested_chord():
        inner = celery.chord([add.s(1, 1), add.s(2, 2)], total.s())
        equal(celery.chord([inner, add.s(4, 4)], total.s())().get(**get), 14)

    return {
        "store and get": lambda: equal(add.delay(1, 2).get(**get), 3),
        "failure": lambda: must_raise(ValueError, lambda: fail.delay().get(**get)),
        "progress": lambda: equal(progress.delay().get(**get), "PROGRESS"),
        "retry": lambda: equal(retried.delay().get(**get), 1),
        "group": lambda: equal(celery.group(add.s(n, n) for n in range(4))().get(**get), [0, 2, 4, 6]),
        "save and restore": saved_group,
        "chord": lambda: equal(celery.chord([add.s(n, n) for n in range(4)], total.s())().get(**get), 12),
        "nested chord": nested_chord,
        "failing chord": failing_chord,
        "forget": forgotten,
        "many subscriptions": lambda: equal([add.delay(n, 0) for n in range(50)][-1].get(**get), 49),
        "get many": many,
        "revoke": revoked,
    }


def main():
    problems = {}
    for ordered in (True, False):
        app = make_app(ordered)
        named = cases(app)
        with start_worker(app, pool="threads", concurrency=4, perform_ping_check=False, loglevel="ERROR"):
            for name, case in named.items():
                try:
                    case()
                except Exception as error:  # noqa: BLE001 - whatever it is, it is what the test is about
                    problems[f"{name}, {'ordered' if ordered else 'unordered'}"] = f"{type(error).__name__}: {error}"
    print(json.dumps({"cases": len(named), "problems": problems}))


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    main()
    # Threads of the worker that wait for nothing must not keep the process.
    sys.stdout.flush()
    os._exit(0)
