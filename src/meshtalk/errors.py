"""The one exception that means "your input, not our bug"."""


class InputError(ValueError):
    """Bad input, told in one sentence: what came, what is allowed, what to do.

    The command line prints the message alone and exits with code 2; a library user catches it as ValueError.
    """
