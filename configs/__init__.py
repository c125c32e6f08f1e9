"""Floor 0: the YAML of every command, and what turns a command line into typed settings."""

import os

from configs.import_path import leave_working_folder

leave_working_folder()  # before any other package is imported

if "REFERTRACK_PLUGINS" in os.environ:  # in a process that another one started: see configs.plugins
    from configs.plugins import install_finder

    install_finder()
