"""The front-end beside its peers: `python -m benchmarks.compare`. See README.md."""
