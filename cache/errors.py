"""The errors that faceline raises on purpose.

    FacelineError
    ├── UsageError      the command or a setting is wrong                      exit code 2
    ├── DataError       a problem in the user's data                           exit code 1
    ├── CacheError      a problem in the crop cache                            exit code 1
    ├── DetectionError  nothing can be read or detected at the moment          exit code 1
    └── BundleError     a problem in a trained bundle, a run or its weights    exit code 1

A message names the file, the row or the option and says what to do. The tree lives in the lowest package so that all
others can import it.
"""


class FacelineError(Exception):
    """Base class: carries a message for the user, no traceback needed."""

    exit_code = 1


class UsageError(FacelineError):
    """The command or a setting is wrong; nothing has been done."""

    exit_code = 2


class DataError(FacelineError):
    """A problem in the user's data; the message names the file and the row."""


class CacheError(FacelineError):
    """A problem in the crop cache; the message names the unit and the command that repairs it."""


class DetectionError(FacelineError):
    """Photos can't be read or detected for a reason that is not in them, such as a full memory or a broken GPU."""


class BundleError(FacelineError):
    """A problem in a trained bundle, a run folder or pretrained weights."""
