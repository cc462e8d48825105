from django.test import TestCase, override_settings

from guestbook.settings import postgresql

from .models import Entry
from .version import VERSION_TEXT


@override_settings(SECURE_SSL_REDIRECT=False, ALLOWED_HOSTS=["testserver"])
class Guestbook(TestCase):
    def test_shows_its_version_and_how_many_entries_there_are(self):
        Entry.objects.create(text="hello")
        page = self.client.get("/")
        self.assertContains(page, VERSION_TEXT)
        self.assertContains(page, "1 entries")

    def test_takes_an_entry_of_20_kB(self):
        answer = self.client.post("/api/entries?name=Ada", "x" * 20_000, content_type="text/plain")
        self.assertEqual(answer.status_code, 201)
        entry = Entry.objects.get()
        self.assertEqual((entry.name, len(entry.text)), ("Ada", 20_000))

    def test_refuses_an_empty_entry(self):
        self.assertEqual(self.client.post("/api/entries", " ", content_type="text/plain").status_code, 400)

    def test_the_form_saves_and_goes_back_to_the_page(self):
        answer = self.client.post("/", {"name": "Ada", "text": "hello"})
        self.assertRedirects(answer, "/")
        self.assertEqual(Entry.objects.get().text, "hello")

    def test_is_healthy_with_its_database(self):
        self.assertEqual(self.client.get("/healthz").content, b"ok\n")

    @override_settings(SECURE_SSL_REDIRECT=True)
    def test_plain_http_goes_to_https_but_not_the_health_check(self):
        self.assertEqual(self.client.get("/").status_code, 301)
        self.assertEqual(self.client.get("/healthz").status_code, 200)
        self.assertEqual(self.client.get("/", headers={"X-Forwarded-Proto": "https"}).status_code, 200)

    def test_an_event_stream_ends(self):
        body = b"".join(self.client.get("/events?n=1").streaming_content).decode()
        self.assertIn("1 of 1", body)
        self.assertTrue(body.endswith("event: end\ndata: end\n\n"))

    def test_reads_a_database_url(self):
        database = postgresql("postgres://me:p%40ss@db:6543/shop?sslmode=require")
        self.assertEqual((database["HOST"], database["PORT"], database["PASSWORD"]), ("db", 6543, "p@ss"))
        self.assertEqual((database["NAME"], database["OPTIONS"]), ("shop", {"sslmode": "require"}))
