#!/usr/bin/env bash
# Train the models of the tracker: bash train.sh [key=value ...]; --help lists the keys. Creates the Python
# environment first.
set -euo pipefail
unset CDPATH # with it, cd may go to a folder of the same name elsewhere, and prints which
called_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"
source configs/environment.sh
use_environment train
put_root_on_path
cd "$called_from" # relative paths on the command line are relative to the caller's folder
# Batches of many sizes would fragment the GPU's memory.
export PYTORCH_ALLOC_CONF=${PYTORCH_ALLOC_CONF:-expandable_segments:True}
exec "$PYTHON" -m train "$@"
