"""Work that a request must not wait for."""

from __future__ import annotations

from celery import shared_task


@shared_task(name="shop.total")
def total(prices: list[float]) -> float:
    return round(sum(prices), 2)
