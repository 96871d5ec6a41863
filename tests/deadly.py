"""A task that kills the process it runs in. Processes import this and nothing else of the tests."""

import os
import signal


def deadly(job: int) -> int:
    """Ten times the job, but for job 2."""
    if job == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return job * 10
