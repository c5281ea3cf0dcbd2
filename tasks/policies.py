"""Every retry, timeout and cache choice of a task, in one table, each with its reason."""

from typing import Any

from ingot.errors import BusyError, IntegrityError, ServiceError, StorageError

RETRIES = 2
RETRY_DELAY_SECONDS = [5, 30]
# A disk that fills up or a store that answers 503 is often well again half a minute later; a wrong
# recipe or a damaged object never is, and is not tried again.


def is_transient(task: Any, task_run: Any, state: Any) -> bool:
    """Whether trying again may help: the store, a service or a competitor was in the way."""
    try:
        state.result()
    except IntegrityError:
        return False
    except (StorageError, ServiceError, BusyError):
        return True
    except Exception:
        return False
    return False


# One Prefect task per stage. Results stay with us (manifests in the store), so Prefect keeps none; its
# input hash would only be a second, weaker idea of what a stage depends on.
DATA: dict[str, Any] = {
    "retries": RETRIES,
    "retry_delay_seconds": RETRY_DELAY_SECONDS,
    "retry_condition_fn": is_transient,
    "persist_result": False,
    "log_prints": False,
}
# Training resumes from its own checkpoints on the next start. Prefect does not start it again by itself:
# a group that dies twice in the same place should be looked at by a person.
TRAINING: dict[str, Any] = {"retries": 0, "persist_result": False, "log_prints": False}
EVALUATION: dict[str, Any] = DATA
# A view that cannot be written never fails the work it shows.
VIEW: dict[str, Any] = {"retries": 0, "persist_result": False, "log_prints": False}

PROGRESS_SECONDS = 2.0
# A progress artifact is one row updated in place; faster updates cost more than they show.
CURVE_SECONDS = 5.0
# A curve is some 10 KB; MLflow has every point anyway.
