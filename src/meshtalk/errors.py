"""The one exception that means "your input, not our bug"."""


class InputError(ValueError):
    """Bad input. The message says what must be, what was got and what to try: `n must be positive, got -1. Try 5.`

    The command line prints the message alone, on one line, and exits with code 2; library users may catch ValueError.
    """
