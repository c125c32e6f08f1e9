"""The terminal as all of a run's modules write to it."""

from rich.console import Console


def make_console() -> Console:
    """A console on stdout that takes texts as they are.

    A prompt such as `[red] :cup:` is no markup. Where stdout is no terminal there are no colour codes.
    """
    return Console(markup=False, emoji=False, highlight=False)
