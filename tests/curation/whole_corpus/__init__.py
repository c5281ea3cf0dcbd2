"""Decisions computed over whole tables in one process: the brute-force reference of `datasets_pipeline.decide`."""
