from django.urls import path

from entries import views

urlpatterns = [
    path("", views.index),
    path("api/entries", views.api_entries),
    path("healthz", views.healthz),
    path("slow/<int:seconds>", views.slow),
    path("events", views.events),
]
