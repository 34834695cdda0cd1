"""Settings that all tests share."""

from __future__ import annotations

from hypothesis import settings

# Machines that run the tests are shared: how long one example takes says nothing.
settings.register_profile("icefloe", deadline=None)
settings.load_profile("icefloe")
