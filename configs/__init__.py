"""Floor 0: the YAML of every command, and what turns a command line into typed settings."""

from configs.import_path import leave_working_folder

leave_working_folder()  # before any other package is imported
