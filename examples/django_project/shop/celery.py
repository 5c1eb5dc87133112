"""Celery's application of the project; the settings come from the module that the role worker writes."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

app = Celery("shop")
app.config_from_object("celeryconfig")
app.autodiscover_tasks()
