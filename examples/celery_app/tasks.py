"""An ordinary Celery application; the settings come from the module that the role worker writes."""

from __future__ import annotations

from celery import Celery

app = Celery("shop")
app.config_from_object("celeryconfig")


@app.task(name="shop.total")
def total(prices: list[float]) -> float:
    return round(sum(prices), 2)
