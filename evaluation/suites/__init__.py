"""Suites: each measures one thing about a model; one file a suite, `VERSION`, `Config` and `run()`."""
