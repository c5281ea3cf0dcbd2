"""Evaluation items found again in documents: files, words, n-gram index and search; no rule, no store."""
