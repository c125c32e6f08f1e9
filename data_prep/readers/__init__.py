"""Readers of published data sets: one file for each data set, and all of them return the same `Sequence`."""


def data_sets() -> tuple[str, ...]:
    """The names of all data sets that have a reader, as commands take them, in alphabetical order.

    The list is computed when it is asked for, since a plugin may add a reader. This function is cheap to
    import, so the settings of a command can name it (`choices=data_sets`). Calling it imports all readers.
    """
    from data_prep.readers.reader import READERS

    READERS.load_package()
    return tuple(sorted(READERS))
