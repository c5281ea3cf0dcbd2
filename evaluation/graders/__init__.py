"""Graders: one file a grader, `grade(completion, reference) -> float` in [0, 1]; pure."""
