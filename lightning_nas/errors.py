"""The one exception that means: the input is wrong, and this sentence says how to mend it."""


class NASError(ValueError):
    """Wrong input from the user.

    Its message is one sentence that names the key, the value and what would be valid. The command line
    prints that sentence alone; everything else that is raised is a bug and keeps its traceback.
    """
