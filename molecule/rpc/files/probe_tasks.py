"""What the workers of the scenario can do."""

import time

from celery import Celery

app = Celery("probe")
app.config_from_object("celeryconfig")


@app.task(name="probe.echo")
def echo(value: object) -> object:
    return value


@app.task(name="probe.sleep")
def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds
