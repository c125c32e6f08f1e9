#!/usr/bin/env bash
# Train a tracker's models: bash train.sh [key=value ...]; --help lists the keys. Makes its environment first.
set -euo pipefail
called_from=$PWD
cd "$(dirname "${BASH_SOURCE[0]}")"
source configs/environment.sh
use_environment train
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH}
cd "$called_from" # so that relative paths on the command line mean what they say
exec "$PYTHON" -m train "$@"
