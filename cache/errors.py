"""Everything that faceline raises on purpose.

    FacelineError
    ├── UsageError    the command or a setting is wrong                      exit code 2
    ├── DataError     something in the user's data                           exit code 1
    ├── CacheError    something in the crop cache                            exit code 1
    └── BundleError   something in a trained bundle, a run or its weights    exit code 1

A message names the file, the row or the option and says what to do. The tree lives in the lowest room so that every
room can raise it.
"""


class FacelineError(Exception):
    """The root of the tree: a message for the user, no traceback needed."""

    exit_code = 1


class UsageError(FacelineError):
    """The command or a setting is wrong; nothing was done."""

    exit_code = 2


class DataError(FacelineError):
    """Something in the user's data; the message names the file and the row."""


class CacheError(FacelineError):
    """Something in the crop cache; the message names the unit and the command that mends it."""


class BundleError(FacelineError):
    """Something in a trained bundle, a run folder or pretrained weights."""
