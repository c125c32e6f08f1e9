#!/usr/bin/env bash
# Track what words say: bash infer.sh [key=value ...]; --help lists the keys. Makes its environment first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source configs/environment.sh
use_environment
exec "$PYTHON" -m infer "$@"
