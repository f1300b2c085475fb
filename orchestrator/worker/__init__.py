"""Runs the user's class: inside Triton's Python backend, or in this process."""
