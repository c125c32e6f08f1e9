#!/usr/bin/env bash
# All measurements that need a GPU, in one run of at most ten minutes without a network:
#
#     OUT=results bash benchmarks/gpu.sh [--device cuda|cpu] [--shape published|tiny]
#
# $OUT/results.jsonl gets one line for each step: its name, exit status, seconds, and the JSON object that it
# printed last. $OUT/log.txt gets everything that was printed. A step that fails, or takes longer than its own
# limit, does not stop the others. `--device cpu --shape tiny` runs every step with tiny models, to show that
# all of them work.
#
# Python 3.12, torch 2.11 and transformers 5.17 or later. Packages beside them:
#   always     accelerate, peft, numpy, pillow, opencv-python-headless, rich, filelock, safetensors, tokenizers,
#              jinja2, torchvision, scipy; hydra-core, omegaconf, antlr4-python3-runtime==4.9.*, PyYAML;
#              av, qwen-vl-utils
#   training   trl, datasets, dill, multiprocess (the other side of that benchmark); without them this step fails
# Those that a machine without a network lacks are taken along as wheels: pip wheel -w wheels hydra-core
# antlr4-python3-runtime==4.9.3 av qwen-vl-utils trl datasets, then pip install --no-index --find-links wheels.
set -u
cd "$(dirname "$0")/.."

device=cuda shape=published
while [ $# -gt 0 ]; do
    case "$1" in
        --device) device=$2; shift 2 ;;
        --shape) shape=$2; shift 2 ;;
        *) echo "usage: bash benchmarks/gpu.sh [--device cuda|cpu] [--shape published|tiny]" >&2; exit 2 ;;
    esac
done
python=${REFERTRACK_PYTHON:-python3}
out=${OUT:-outputs/gpu}
# Seconds of the whole run. A CPU may take six times as long in each step: there, only that all steps work counts.
times=1
[ "$device" = cpu ] && times=6
limit=${LIMIT:-$((580 * times))}
mkdir -p "$out"
: > "$out/results.jsonl"
: > "$out/log.txt"
export PYTHONSAFEPATH=1 PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 TRANSFORMERS_VERBOSITY=error TOKENIZERS_PARALLELISM=false

# step NAME SECONDS COMMAND...: run a command with a time limit, and note its last line.
step() {
    local name=$1 seconds=$(($2 * times)) begun=$SECONDS status=0
    shift 2
    local left=$((limit - SECONDS))
    [ "$left" -lt "$seconds" ] && seconds=$left
    echo "== $name: $*" | tee -a "$out/log.txt"
    if [ "$seconds" -lt 5 ]; then
        status=124
        : > "$out/step.txt"
    else
        timeout --kill-after=5 "$seconds" "$@" > "$out/step.txt" 2>&1 || status=$?
    fi
    tee -a "$out/log.txt" < "$out/step.txt"
    "$python" -c '
import json, sys
name, status, seconds, path = sys.argv[1:]
lines = open(path, errors="replace").read().splitlines()
last = lines[-1] if lines else ""
try:
    result = json.loads(last)
except ValueError:
    result = None if status == "0" else last[:500]
print(json.dumps({"step": name, "status": int(status), "seconds": int(seconds), "result": result}))
' "$name" "$status" "$((SECONDS - begun))" "$out/step.txt" | tee -a "$out/results.jsonl"
    rm -f "$out/step.txt"
}

# 1. The machine.
step environment 30 "$python" -c '
import json, os, platform, sys
import torch, transformers
found = {"python": platform.python_version(), "torch": torch.__version__, "transformers": transformers.__version__}
found |= {"cores": os.cpu_count(), "cuda": torch.version.cuda}
if torch.cuda.is_available():
    gpu = torch.cuda.get_device_properties(0)
    found |= {"gpu": gpu.name, "gib": round(gpu.total_memory / 2**30, 1), "multiprocessors": gpu.multi_processor_count}
print(json.dumps(found))
'

# 2. Tracking against the published loop: published shapes with random weights.
if [ "$shape" = published ]; then
    sequences=4 frames=12 head=sam2_1_large head_frames=24 megabytes=2000
else
    sequences=1 frames=2 head=nano head_frames=1 megabytes=40
fi
step inference 280 "$python" -m benchmarks inference --device "$device" --shape "$shape" \
    --sequences $sequences --frames $frames --floor-frames 2

# 3. The mask head with one target and with four.
step mask_heads 90 "$python" -m benchmarks mask_heads --device "$device" --shape $head \
    --targets 1,4 --frames $head_frames

# 4. Half precision against float32: speed, score, and answers that equal those of free generation.
for dtype in float32 bfloat16 float16; do
    # A CPU computes half precision slowly, and float16 hardly at all.
    [ "$device" = cpu ] && [ "$dtype" = float16 ] && continue
    step "precision_$dtype" 60 "$python" -m benchmarks inference --device "$device" --shape nano \
        --dtype $dtype --sequences $((sequences > 2 ? 2 : 1)) --frames $frames --floor-frames 0
done

# 5. Host memory while a grounder is loaded.
step loading 60 "$python" -m benchmarks loading --megabytes $megabytes

# 6. Training steps, compared with TRL.
if [ "$device" = cuda ]; then
    step training 150 "$python" -m benchmarks training --steps 6 --rounds 1
else
    step training 150 "$python" -m benchmarks training --steps 3 --rounds 1 --batch 4
fi
