"""The one exception that means: the input is wrong, and this sentence says how to mend it."""


class NASError(ValueError):
    """Wrong input from the user.

    Its message is one sentence that names the key, the value and what would be valid. The command line
    prints that sentence alone; everything else that is raised is a bug and keeps its traceback.
    """


def require_at_least(minimum: int, of: str = "", /, **values: int) -> None:
    """Refuses numbers below the smallest sensible one.

    Args:
        minimum: The smallest valid value.
        of: The key under which a user knows the numbers, such as ``algorithm``.
        values: The numbers by name.

    Raises:
        NASError: One of them is smaller.
    """
    for name, value in values.items():
        if value < minimum:
            raise NASError(f"{of}{'.' if of else ''}{name} is {value}: valid are numbers from {minimum}")
