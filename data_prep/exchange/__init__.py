"""Training records of other systems: drawn pairs are exported to them, ReasoningTrack's are imported."""


def export_formats() -> tuple[str, ...]:
    """The names of all formats that pairs can be exported in, in alphabetical order.

    The list is computed when it is asked for, since a plugin may add a format. This function is cheap to
    import, so the settings of a command can name it (`choices=export_formats`).
    """
    from data_prep.exchange.exporter import EXPORTERS

    EXPORTERS.load_package()
    return tuple(sorted(EXPORTERS))
