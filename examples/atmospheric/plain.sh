#!/bin/sh
# The whole analysis as a plain shell loop, without Icefloe: plain.sh JOBS FOLDER [EVENTS]
set -eu
here=$(cd "$(dirname "$0")" && pwd)
jobs=$1 folder=$2 events=${3:-1500}
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
job=0
while [ "$job" -lt "$jobs" ]; do
    mkdir -p "$folder/in/$job"
    cd "$folder/in/$job"
    python3 "$here/generate.py" --seed $((1000 + job)) --events "$events"
    python3 "$here/leptons.py" events.npz --threshold 10
    python3 "$here/weight.py" selected.npz
    cd - >/dev/null
    job=$((job + 1))
done
cd "$folder"
python3 "$here/merge.py" in
