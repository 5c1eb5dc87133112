"""What the workers of the scenario can do."""

import time
from pathlib import Path

from celery import Celery

app = Celery("probe")
app.config_from_object("celeryconfig")


@app.task(name="probe.echo")
def echo(value: object) -> object:
    return value


@app.task(name="probe.hold")
def hold(name: str) -> str:
    """Work until somebody makes a file of that name, and say so by another."""
    for _look in range(1200):
        if Path(name).exists():
            Path(f"{name}.done").touch()
            return name
        time.sleep(0.1)
    raise TimeoutError(name)
