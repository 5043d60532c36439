"""The errors a user can cause; each message is one line: what came, what was expected."""


class GenzooError(Exception):
    """Anything the command line reports as one line on stderr with exit status 1."""


class InputError(GenzooError, ValueError):
    """An argument that can't be used: wrong shape, dtype, range, name, or a NaN."""


class DataError(InputError):
    """A data set, file or download that can't be used."""


class CheckpointError(GenzooError):
    """A run or checkpoint that can't be read, doesn't fit the model, or can't be written."""


class Interrupted(GenzooError):
    """Training was stopped by Ctrl-C after its state was saved."""


class BackendError(GenzooError):
    """An operation has no twin on the back end that was asked for, or the back end is missing."""
