#!/usr/bin/env bash
# Track a target that is described in words: bash infer.sh [key=value ...]. --help lists the keys.
# The first call makes the environment.
set -euo pipefail
unset CDPATH # with it, cd may go to a folder of the same name elsewhere, and prints which
called_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"
source configs/environment.sh
use_environment
put_root_on_path
cd "$called_from" # so that relative paths on the command line mean what they say
exec "$PYTHON" -m infer "$@"
