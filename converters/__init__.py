"""Trained models into files that Triton runs: one pair of forms a module, found through the group `orchestrator.converters`.

A framework is imported only by the converter that needs it, and only once it has something to do.
"""
