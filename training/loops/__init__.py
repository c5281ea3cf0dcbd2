"""What a rank does in each stage: one file each, with `train(job, stop, rank=, num_ranks=) -> Outcome`.

These modules import torch at the top and are imported by ranks only; `training/stages` is for everybody.
"""

import ingot  # noqa: F401  (air-gap switches before any other import)
