"""The one exception a user's mistake raises."""


class UserError(Exception):
    """A mistake that the user can mend: the message is one line that names the file or key, and the mend.

    Commands print it without a traceback and exit with status 1.
    """
