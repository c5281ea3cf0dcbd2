"""Where bytes come from: one module per kind of source, found by its name in a recipe (see base.py)."""
