"""`python -m tests.training.start_run JOB.json RANKS`: a launcher of its own, to be stopped or killed by a test."""

import sys
from pathlib import Path

from ingot.errors import IngotError
from training.job import Job, StageOutput
from training.stages.pretrain import Config, run


def main(job_path: str, num_ranks: str) -> int:
    job = Job.model_validate_json(Path(job_path).read_text())
    output = StageOutput(
        job.store_root, job.fingerprint, job.run_dir, job.recipe_digest, num_ranks=int(num_ranks), threads=job.threads
    )
    try:
        print(run(Config(**job.config), job.start, job.data, output).model_dump_json())
    except IngotError as error:
        print(f"{error.code}: {error}")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
