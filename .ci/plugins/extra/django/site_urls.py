"""The view of the site."""

from __future__ import annotations

import requests
from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.urls import path


def status(request: HttpRequest) -> JsonResponse:
    response = requests.get(settings.CONNEX_URL + "/v1/status", headers=settings.CONNEX_HEADERS, timeout=10)
    return JsonResponse({"connex": response.json()["status"]})


urlpatterns = [path("status/", status)]
