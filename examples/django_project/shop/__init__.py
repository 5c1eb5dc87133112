"""The application is loaded with the project, so that shared tasks find it in the web process too."""

from __future__ import annotations

from .celery import app

__all__ = ["app"]
