#!/usr/bin/env bash
# All figures, into docs/{performance,zeros,quality,oneshot}.md.
#
#   PRUNE_SHARED=… test/bench/run.sh [performance|zeros|quality|oneshot]
#
# Takes the tools of build/bin (or PRUNE_BIN). Let the machine rest meanwhile.
# PRUNE_PEERS: Pythons that have the runtimes to compare with (cpu.py --peers),
# separated by blanks; PRUNE_ONNXSIM: one that has onnxsim 0.8; PRUNE_GPU: what
# cuda.sh measured on a machine with a GPU. zeros makes 6 GB of models in
# PRUNE_BENCH_CACHE.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=${PRUNE_PYTHON:-build/venv/bin/python}
what=${1:-performance zeros quality oneshot}
onnxsim=${PRUNE_ONNXSIM:+ --peer $PRUNE_ONNXSIM}
peers=
for python_of_peer in ${PRUNE_PEERS:-}; do
  peers+=" --peers $python_of_peer"
done
# What the record has: not the single shapes (mm-…), nor the largest model.
cases='rotation|rotation16|row|conv.*|depthwise|chain.*|bert|minilm|resnet50|mobilenet2|decode-small'

# page FILE TITLE SCRIPT…
page() {
  local file=$1 title=$2 script
  shift 2
  {
    printf '# %s\n\nMade by `test/bench/run.sh`; do not edit.\n\n' "$title"
    for script in "$@"; do
      # shellcheck disable=SC2086
      "$python" test/bench/$script ||
        printf '**`test/bench/%s` missed a goal or did not finish.**\n\n' "$script"
    done
  } >"$file.new"
  mv "$file.new" "$file"
  printf '%s\n' "$file"
}

for page in $what; do
  case $page in
  performance)
    page docs/performance.md 'How fast, how large' \
      startup.py chain.py big.py external.py minilm.py memory.py same.py gpu.py
    ;;
  zeros)
    page docs/zeros.md 'What zeros pay' "cpu.py --only $cases$peers" \
      "cpu.py --threads 2 --engines none --only bert --seconds 1" \
      "cpu.py --prunec=--precision=bf16 --engines none --only bert --seconds 1" \
      winograd.py
    ;;
  quality) page docs/quality.md 'How exact, how good' 'agreement.py --metrics' \
    "structured.py$onnxsim" ;;
  oneshot) page docs/oneshot.md 'How good in one shot' \
    "oneshot.py$onnxsim" latency.py "peer_layers.py$onnxsim" observe.py \
    solve_cost.py ;;
  *) echo "no page called $page" >&2; exit 1 ;;
  esac
done
