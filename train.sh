#!/usr/bin/env bash
# Train a tracker's models: bash train.sh [key=value ...]; --help lists the keys. Makes its environment first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source configs/environment.sh
use_environment train
exec "$PYTHON" -m train "$@"
