"""The one exception that means: the input is wrong, and this sentence says how to mend it."""

from collections.abc import Iterable
from difflib import get_close_matches


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


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about a word that is not known: ``; did you mean 'max_epochs'?``, or nothing.

    Args:
        word: What was given.
        known: What would be valid.

    Example:
        >>> nearest("max_ep", ["max_steps", "max_epochs"])
        "; did you mean 'max_epochs'?"
        >>> nearest("colour", ["max_steps", "max_epochs"])
        ''
    """
    known = sorted(known)
    # What is cut short, at its end or of the keys above it, may look more like another word.
    cut = [name for name in known if word and (name.startswith(word) or name.endswith(f".{word}"))]
    found = [*cut, *get_close_matches(word, known, n=1)]
    return f"; did you mean {found[0]!r}?" if found else ""
