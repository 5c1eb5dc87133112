"""An ordinary Celery application: the only line that this collection asks for is config_from_object."""

from __future__ import annotations

from celery import Celery

app = Celery("shop")
app.config_from_object("celeryconfig")


@app.task(name="shop.total")
def total(prices: list[float]) -> float:
    return round(sum(prices), 2)
