"""Runs as the app starts; a test that needs a misbehaving app writes it here."""
