"""What runs, in order: one Prefect flow a file, named verb_noun."""

import ingot  # noqa: F401  (air-gap switches before any other import)
