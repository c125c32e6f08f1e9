# Sourced by infer.sh, train.sh and tests/run.sh, from the repository's root:
#
#     source configs/environment.sh
#     use_environment [extra ...]      sets PYTHON, absolute; extras are those of pyproject.toml: train, sam2, edgetam, test
#     put_root_on_path                 sets Python's path
#
# Makes .venv from configs/constraints.txt, or reuses it while pins and extras are the same.
# REFERTRACK_PYTHON=/path/to/python names an environment of your own instead; nothing is installed there.

STAMP=.venv/refertrack-stamp # the pins' hash, then the extras; written last, so without it .venv is unfinished
INSTALL_LOG=outputs/environment.log

die() {
    echo "error: $*" >&2
    exit 1
}

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

find_python() {
    local candidate
    for candidate in python3.11 python3.12 python3 python; do
        if is_new_enough "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    die "Python 3.11 or newer is needed and $(python3 --version 2>/dev/null || echo none) was found;" \
        "install one, or set REFERTRACK_PYTHON=/path/to/python"
}

# stage WORDS COMMAND...: runs a command with its output in the log; one line with the time it took.
stage() {
    local words=$1 begun=$SECONDS ticker='' status=0
    shift
    echo "=== $words" >>"$INSTALL_LOG"
    if [ -t 2 ]; then # someone is watching
        while printf '\renvironment: %s ... %d s' "$words" $((SECONDS - begun)) >&2 && sleep 1; do
            kill -0 $$ 2>/dev/null || exit
        done &
        ticker=$!
    fi
    "$@" >>"$INSTALL_LOG" 2>&1 </dev/null || status=$?
    if [ -n "$ticker" ]; then
        kill "$ticker" && wait "$ticker" 2>/dev/null || true
        printf '\r' >&2
    fi
    [ "$status" = 0 ] || explain_failure "$words"
    printf 'environment: %s ... %d s\n' "$words" $((SECONDS - begun)) >&2
}

# The lines of the last stage that name what failed; its last lines where none does.
explain_failure() {
    local lines
    lines=$(tac "$INSTALL_LOG" | sed '/^=== /q' | tac)
    echo >&2
    { grep -E '^ *(ERROR|error:|fatal|OSError)|No space left|No module named' <<<"$lines" || tail -n 5 <<<"$lines"; } |
        tail -n 10 >&2
    die "$1 failed; the whole log is $INSTALL_LOG"
}

install() {
    .venv/bin/python -m pip install --disable-pip-version-check --no-input --progress-bar off \
        --constraint configs/constraints.txt --no-build-isolation --no-compile "$@"
}

# Packages that come as source are built with the pinned setuptools and torch, hence no isolation and
# this order. None compiles CUDA code. vot-toolkit brings the opencv that needs a desktop's libGL: the
# headless one of the same version goes over it.
make_environment() {
    local extras=$1 python
    rm -f "$STAMP"
    : >"$INSTALL_LOG"
    export SAM2_BUILD_CUDA=0 DS_BUILD_OPS=0
    if ! is_new_enough .venv/bin/python || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
        python=$(find_python) || exit 1
        stage "making .venv with $("$python" --version)" "$python" -m venv --clear .venv
    fi
    stage "build tools" install setuptools wheel
    stage "torch, transformers and the rest (some minutes the first time)" install --editable .
    [ -z "$extras" ] || stage "the extras ${extras// /, }" install --editable ".[${extras// /,}]"
    stage "headless opencv" install --force-reinstall --no-deps opencv-python-headless
    printf '%s\n' "$(pins_hash)" "$extras" >"$STAMP"
}

pins_hash() { cat pyproject.toml configs/constraints.txt | sha256sum; }

installed_extras() { sed -n 2p "$STAMP" 2>/dev/null; }

is_up_to_date() { # EXTRA...
    local extra
    [ "$(sed -n 1p "$STAMP" 2>/dev/null)" = "$(pins_hash)" ] && is_new_enough .venv/bin/python || return
    for extra in "$@"; do
        [[ " $(installed_extras) " == *" $extra "* ]] || return
    done
}

use_environment() { # EXTRA...
    if [ -n "${REFERTRACK_PYTHON:-}" ]; then
        is_new_enough "$REFERTRACK_PYTHON" ||
            die "REFERTRACK_PYTHON=$REFERTRACK_PYTHON is not a Python of 3.11 or newer; correct or unset it"
        PYTHON=$REFERTRACK_PYTHON
        return
    fi
    PYTHON=$PWD/.venv/bin/python
    is_up_to_date "$@" && return
    mkdir -p outputs
    exec 9>outputs/environment.lock # two commands started at once: the second waits for the first
    ! command -v flock >/dev/null || flock 9
    is_up_to_date "$@" || make_environment "$(printf '%s\n' "$@" $(installed_extras) | sort -u | xargs)"
    exec 9>&-
}

# Python imports from the root first, and never from the folder that a command is called from: that may hold a
# hydra.py or a models/ of its own. Relative entries of PYTHONPATH, an empty one among them, mean that folder.
put_root_on_path() {
    local entry entries path=$PWD
    IFS=: read -ra entries <<<"${PYTHONPATH:-}"
    for entry in "${entries[@]:-}"; do
        [[ $entry != /* ]] || path+=:$entry
    done
    export PYTHONPATH=$path PYTHONSAFEPATH=1 # which workers and sweeps inherit
}
