"""Every error a user can meet, with its stable code and the exit status of the command line.

A message says what happened, with which value, and what to do. Errors carry the message only, so
that they survive pickling between processes.

    IngotError
    +- RecipeError      a recipe, setting or argument is wrong             exit 2
    +- DataError        input that cannot be used                          exit 2
    +- GateError        a gate did not pass                                exit 3
    |  +- HeldError       a corpus version breaches its expectations       exit 3
    |  +- WillNotFitError a plan needs more memory or disk than there is   exit 3
    +- NotFoundError    a name, id or version does not exist               exit 4
    +- StorageError     the store could not do what was asked              exit 75
    |  +- IntegrityError  stored bytes are not what was recorded           exit 5
    +- BusyError        somebody else is at work; try again                exit 75
    +- RunCancelled     somebody cancelled the run                         exit 130
    +- TrainingError    a training stage stopped                           exit 1
    +- ServiceError     a local service did not start or answer            exit 75
"""


class IngotError(Exception):
    """Base of all errors; `code` is stable across releases, `exit_code` is the CLI's status."""

    code = "INGOT-ERROR"
    exit_code = 1


class RecipeError(IngotError, ValueError):
    """A recipe, setting or argument is unknown or out of range."""

    code = "INGOT-RECIPE"
    exit_code = 2


class DataError(IngotError, ValueError):
    """Input that cannot be used at all (a single bad document is a quarantined row instead)."""

    code = "INGOT-DATA"
    exit_code = 2


class GateError(IngotError):
    """A gate did not pass, or was asked to pass without the evidence it needs."""

    code = "INGOT-GATE"
    exit_code = 3


class HeldError(GateError):
    """A corpus version breaches its recipe's expectations and was put under `held/`."""

    code = "INGOT-HELD"


class WillNotFitError(GateError):
    """What is planned needs more memory or disk than this machine has."""

    code = "INGOT-WILL-NOT-FIT"


class NotFoundError(IngotError, LookupError):
    """A name, id or version that does not exist."""

    code = "INGOT-NOT-FOUND"
    exit_code = 4


class StorageError(IngotError, OSError):
    """The store could not read or write."""

    code = "INGOT-STORAGE"
    exit_code = 75


class IntegrityError(StorageError):
    """Stored bytes differ from what was recorded about them."""

    code = "INGOT-INTEGRITY"
    exit_code = 5


class BusyError(IngotError):
    """Another run holds what is needed; the same call may succeed later."""

    code = "INGOT-BUSY"
    exit_code = 75


class RunCancelled(IngotError):
    """A run was cancelled by a person."""

    code = "INGOT-CANCELLED"
    exit_code = 130


class TrainingError(IngotError, RuntimeError):
    """A training stage stopped before its end."""

    code = "INGOT-TRAINING"
    exit_code = 1


class ServiceError(IngotError, RuntimeError):
    """A local service (Prefect, MLflow, worker) did not start or does not answer."""

    code = "INGOT-SERVICE"
    exit_code = 75
