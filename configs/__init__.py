"""Layer 0: the YAML files of all commands, and the code that makes typed settings of a command line."""

import os

from configs.import_path import leave_working_folder

leave_working_folder()  # before any other package is imported

if "REFERTRACK_PLUGINS" in os.environ:  # in a process that another one started: see configs.plugins
    from configs.plugins import install_finder

    install_finder()
