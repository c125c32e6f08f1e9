#!/usr/bin/env bash
# Train a tracker's models: bash train.sh [key=value ...]; --help lists the keys. Makes its environment first.
set -euo pipefail
unset CDPATH # with it, cd may go to a folder of the same name elsewhere, and prints which
called_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"
source configs/environment.sh
use_environment train
put_root_on_path
cd "$called_from" # so that relative paths on the command line mean what they say
# Rows of many lengths would leave gaps in a GPU's memory that fit none.
export PYTORCH_ALLOC_CONF=${PYTORCH_ALLOC_CONF:-expandable_segments:True}
exec "$PYTHON" -m train "$@"
