"""The one exception a user is meant to read."""


class LossatlasError(Exception):
    """A mistake or a circumstance the user can mend: wrong key, missing data, truncated file, full disk, NaN loss.

    The message is one line that names the file or key, what was found, what was expected and the remedy.
    The workflow prints it without a traceback and exits non-zero (``lossatlas.workflow.job``).
    """
