#!/usr/bin/env bash
# Everything that CI runs: bash tests/run.sh [pytest argument ...]. Makes its environment first.
set -euo pipefail
unset CDPATH # with it, cd may go to a folder of the same name elsewhere, and prints which
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source configs/environment.sh
use_environment edgetam sam2 test train

processes=$(nproc)        # asked first: GNU nproc answers with OMP_NUM_THREADS where that is set
export OMP_NUM_THREADS=1 # one process a core; small tensors are slower with more threads
if [ -z "${REFERTRACK_SHARED_DATA:-}" ] && [ -d ../shared/data ]; then
    REFERTRACK_SHARED_DATA=$(cd ../shared/data && pwd)
    export REFERTRACK_SHARED_DATA
fi

failed=0
check() { # WORDS PYTHON-ARGUMENT...
    echo "== $1"
    "$PYTHON" "${@:2}" || failed=1
}
check "ruff check" -m ruff check .
check "ruff format" -m ruff format --check .
check "mypy" -m mypy
check "lint-imports" -c 'from importlinter.cli import lint_imports_command; lint_imports_command(["--no-logo"])'
# The tests of a file run in one process, so that each fixture of a module is made once.
check "pytest" -m pytest --numprocesses "$processes" --maxprocesses 16 --dist loadfile --no-loadscope-reorder \
    --durations 25 --durations-min 3 "$@"
exit "$failed"
