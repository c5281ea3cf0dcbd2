"""Of the stores that benchmarks make: with one salt, two runs hold out the same documents."""

SALT = "5a17" * 8
