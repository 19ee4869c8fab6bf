#!/usr/bin/env bash
# All that a GPU can prove and measure, in one go: the tests marked `cuda`, pre-training of GPT-2 124M with its MFU
# (aim: 50 % or more), the same on all GPUs of the machine if there are several, and the engine's speed.
#
#   benchmarks/gpu.sh                  where there is a GPU; without one it says so and ends with code 3
#   benchmarks/gpu.sh --cpu-rehearsal  every command once, tiny, on the CPU: no typo waits for whoever has a GPU
#
# Measured figures are printed as lines of JSON and kept in gpu-<name>.jsonl; PYTHON chooses the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-$([ -x .venv/bin/python ] && echo .venv/bin/python || echo python3)}
mode=${1:-}
[ -z "$mode" ] || [ "$mode" = --cpu-rehearsal ] || { echo "usage: benchmarks/gpu.sh [--cpu-rehearsal]" >&2; exit 2; }
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}" TOKENIZERS_PARALLELISM=false

"$PYTHON" benchmarks/gpu.py device $mode
out="gpu-$("$PYTHON" benchmarks/gpu.py name $mode).jsonl"
: > "$out"

echo "1. tests marked cuda"
tests="tests/training tests/stages/test_device.py tests/engine/test_device.py"
[ -z "$mode" ] || tests="tests/training/test_device.py tests/engine/test_device.py"
"$PYTHON" -m pytest -q -n0 -p no:cacheprovider -m cuda $tests || [ $? -eq 5 ]

echo "2. pre-training of GPT-2 124M, one GPU"
"$PYTHON" benchmarks/gpu.py pretrain $mode | tee -a "$out"

count=$("$PYTHON" benchmarks/gpu.py count $mode)
if [ "$count" -gt 1 ]; then
  echo "3. pre-training of GPT-2 124M, $count GPUs"
  "$PYTHON" -m torch.distributed.run --standalone --nproc-per-node "$count" benchmarks/gpu.py pretrain $mode | tee -a "$out"
else
  echo "3. several GPUs: there is one, so this is left out"
fi

echo "4. the engine: one stream, 16 streams, 16 at 512, prefill"
if [ -z "$mode" ]; then "$PYTHON" -m ziggurat bench decode --no-peers --json | tee -a "$out"
else "$PYTHON" benchmarks/gpu.py engine $mode | tee -a "$out"; fi
echo "kept in $out"
