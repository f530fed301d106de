#!/usr/bin/env bash
# A sweep over two machines without a scheduler: run `two-machines.sh 0` on the first and
# `two-machines.sh 1` on the second. DIR must be a folder that both see.
set -euo pipefail
first=${FIRST:-10.0.0.1} # address of the first machine, as the second sees it

gainjax sweep split-digits --coordinator "$first:12321" --processes 2 --process-id "$1" \
    --methods ngm-sgd sgd --seeds 5 --grid learning_rate=.1,.03,.01 \
    --out "${DIR:?set DIR to a folder that both machines see}"
