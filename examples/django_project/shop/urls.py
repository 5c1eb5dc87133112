"""Put an order at /orders/?price=1.5&price=2, which answers with an id; /orders/<id>/ answers with its total."""

from __future__ import annotations

import uuid

from celery.result import AsyncResult
from django.http import HttpRequest, JsonResponse
from django.urls import path

from .celery import app
from .tasks import total


def put(request: HttpRequest) -> JsonResponse:
    order = total.delay([float(price) for price in request.GET.getlist("price")])
    return JsonResponse({"order": order.id})


def get(_request: HttpRequest, order: uuid.UUID) -> JsonResponse:
    answer = AsyncResult(str(order), app=app)
    return JsonResponse({"state": answer.state, "total": answer.result if answer.successful() else None})


urlpatterns = [path("orders/", put), path("orders/<uuid:order>/", get)]
