"""For all tests."""

from hypothesis import settings

# A machine that does something else for a moment is no fault of the code's.
settings.register_profile("orchestrator", deadline=None)
settings.load_profile("orchestrator")
