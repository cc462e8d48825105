import time

from django.db import connection
from django.http import HttpResponse, JsonResponse, StreamingHttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_http_methods

from .models import Entry
from .version import VERSION_TEXT

MAX_TEXT = 100_000
MAX_SLOW = 30
MAX_EVENTS = 300


def save(name, text):
    text = text.replace("\0", "").strip()[:MAX_TEXT]
    return Entry.objects.create(name=name.strip()[:100] or "anonymous", text=text) if text else None


@require_http_methods(["GET", "HEAD", "POST"])
def index(request):
    """The guestbook; its form posts here, with Django's CSRF protection."""
    if request.method == "POST":
        save(request.POST.get("name", ""), request.POST.get("text", ""))
        return redirect("/")
    context = {"version": VERSION_TEXT, "count": Entry.objects.count(), "entries": Entry.objects.all()[:20]}
    return render(request, "entries/index.html", context)


@csrf_exempt
@require_http_methods(["GET", "POST"])
def api_entries(request):
    """For programs: the request's body is the entry. No cookies, so nothing for CSRF to protect."""
    if request.method == "GET":
        return JsonResponse({"version": VERSION_TEXT, "count": Entry.objects.count()})
    entry = save(request.GET.get("name", ""), request.body.decode("utf-8", errors="replace"))
    if entry is None:
        return JsonResponse({"error": "an entry needs a text"}, status=400)
    return JsonResponse({"version": VERSION_TEXT, "id": entry.id, "length": len(entry.text)}, status=201)


@require_GET
@never_cache
def healthz(request):
    """Healthy means: can ask the database."""
    with connection.cursor() as cursor:
        cursor.execute("select 1")
    return HttpResponse("ok\n", content_type="text/plain")


@require_GET
def slow(request, seconds):
    """A request that takes its time, as an export or a report would."""
    seconds = min(seconds, MAX_SLOW)
    time.sleep(seconds)
    return HttpResponse(f"{VERSION_TEXT}: slept {seconds} s\n", content_type="text/plain")


def ticks(count):
    for number in range(1, count + 1):
        yield f"id: {number}\ndata: {VERSION_TEXT}: {number} of {count}\n\n"
        time.sleep(1)
    yield "event: end\ndata: end\n\n"


@require_GET
def events(request):
    """Server-sent events, one a second for ?n= seconds, and then an event named end."""
    try:
        count = int(request.GET.get("n", "10"))
    except ValueError:
        return HttpResponse("n must be a number\n", status=400, content_type="text/plain")
    response = StreamingHttpResponse(ticks(max(1, min(count, MAX_EVENTS))), content_type="text/event-stream")
    response["Cache-Control"] = "no-cache"
    return response
