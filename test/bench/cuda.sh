#!/usr/bin/env bash
# The benchmark of the CUDA backend.
#
#   cuda.sh prepare DIR     builds what a machine with a GPU needs, into DIR
#   cuda.sh run DIR PART    there: measures, into $OUT (DIR/out)
#   cuda.sh selftest BUILD PYTHON   all of it on the mocks, in an emulator
#
# Parts, each of which ends within nine minutes:
#   1  versions, what the machine does at best, every kernel against sums in
#      double precision, what the libraries say (transcript.jsonl, for
#      test/cuda/calibrate.py)
#   2  the table, and the goals
#   3  whole models
#
# prepare takes nvcc and a build (PRUNE_BUILD, build) whose Python has onnx and
# onnxruntime. run takes a driver and
# python3; cuBLASLt and cuSPARSELt are looked for where pip puts them.
set -euo pipefail

fail() {
  printf 'cuda.sh: %s\n' "$*" >&2
  exit 1
}

# The folders of libraries that came with pip, such as PyTorch's.
library_folders() {
  python3 - <<'END'
import glob
import os
import sys
for path in sys.path:
    for so in sorted(glob.glob(os.path.join(path, "nvidia", "**",
                                            "libcu*Lt.so.*"), recursive=True)):
        print(os.path.dirname(so), end=":")
END
}

prepare() {
  local dir=$1 root build python size
  root=$(cd "$(dirname "$0")/../.." && pwd)
  build=${PRUNE_BUILD:-$root/build}
  python=$(sed -n 's/^PRUNE_PYTHON:[A-Z]*=//p' "$build/CMakeCache.txt")
  cmake --build "$build" --target prune-bench-cuda prunec
  mkdir -p "$dir"
  cp "$root/test/bench/cuda.sh" "$root/test/bench/cuda/report.py" "$dir"
  strip -o "$dir/prune-bench-cuda" "$build/test/bench/cuda/prune-bench-cuda"
  "$python" "$root/test/bench/cuda/models.py" "$build/bin" "$dir"
  size=$(du -sm "$dir" | cut -f 1)
  [ "$size" -lt 60 ] || fail "$dir has $size MB, more than is carried"
  printf '%s: %d MB\n' "$dir" "$size"
}

# part NAME SECONDS COMMAND…: rows to $OUT/NAME.jsonl; goes on where it fails.
failed=0
part() {
  local name=$1 seconds=$2
  shift 2
  printf '%s: %s\n' "$(date +%T)" "$name"
  timeout "$seconds" "$@" >"$OUT/$name.jsonl" 2>"$OUT/$name.log" || {
    printf '%s: exit status %d\n' "$name" $?
    tail -n 5 "$OUT/$name.log"
    failed=1
  }
}

run() {
  local dir bench
  dir=$(cd "$1" && pwd)
  bench=$dir/prune-bench-cuda
  OUT=${OUT:-$dir/out}
  mkdir -p "$OUT"
  LD_LIBRARY_PATH=$(library_folders)${LD_LIBRARY_PATH:-}
  export OUT LD_LIBRARY_PATH
  case $2 in
  1)
    part machine 150 "$bench" machine -o "$OUT/transcript.jsonl"
    part check 300 "$bench" check
    ;;
  2) part table 540 "$bench" table -l 440 ;;
  3)
    for model in minilm_24 minilm_dense; do
      part "$model" 120 "$dir/$model-bench" "$dir/$model".{blob,out.bin,in.bin}
    done
    ;;
  *) fail "no part is called '$2'" ;;
  esac
  python3 "$dir/report.py" "$OUT"/[a-z]*.jsonl >"$OUT/report.txt" || failed=1
  cat "$OUT/report.txt"
  return $failed
}

# expect TEXT FILE: FILE has it.
expect() {
  grep -q -- "$1" "$2" || {
    tail -n 20 "$2" >&2
    fail "'$1' is not in what was said"
  }
}

# say FILE PART…: rows of a part on the mocks.
say() {
  local to=$1
  shift
  "$bench" "$@" -s >"$dir/$to" 2>"$dir/log" || {
    cat "$dir/log" >&2
    fail "$* did not go through"
  }
}

selftest() {
  local build=$1 python=$2 here bench mocks dir
  here=$(cd "$(dirname "$0")" && pwd)
  bench=$build/test/bench/cuda/prune-bench-cuda-mocked
  mocks=$build/test/cuda/mock
  dir=$(mktemp -d)
  # shellcheck disable=SC2064
  trap "rm -rf '$dir'" EXIT
  export LD_LIBRARY_PATH=$mocks
  export PRUNE_MOCK_KERNELS=$build/test/bench/cuda/kernels.so
  say check.jsonl check
  if "$bench" check -s -t f16 -w >"$dir/wrong"; then
    fail "a wrong expectation was met"
  fi
  expect '"ok": false' "$dir/wrong"
  say machine.jsonl machine -o "$dir/transcript"
  say table-bf16.jsonl table -t bf16
  say table-f16.jsonl table -t f16
  say late.jsonl table -l 0
  expect '"row": "late"' "$dir/late.jsonl"
  unset LD_LIBRARY_PATH
  "$python" "$here/cuda/report.py" "$dir"/{check,machine,table*}.jsonl \
    >"$dir/report"
  expect ' 0 wrong, ' "$dir/report"
  expect '^G5 *bf16 .* \(met\|MISSED\)$' "$dir/report"
  selftest_goals "$python" "$here" "$dir"
  selftest_transcript "$python" "$here" "$dir" "$mocks"
  selftest_model "$build" "$python" "$here" "$dir"
  printf 'the benchmark works where there is no GPU\n'
}

# Times from which the ratios are known.
selftest_goals() {
  local python=$1 here=$2 dir=$3 row
  row='{"row": "product", "n": 64, "k": 64, "m": %d, "type": "bf16", "format": "%s", "zeros": %d, "way": "%s", "us": %s, "bytes": 8192, "spread": 0, "mhz": 0}\n'
  {
    # shellcheck disable=SC2059
    printf "$row" 1 nk 0 cuBLASLt 12 1 nm24 50 few_nm24 8 \
      1 nm24 50 linear_nm24 9 16 nk 0 cuBLASLt 12 16 nm24 50 few_nm24 6 \
      16 nm24 50 cuSPARSELt 3
  } >"$dir/known.jsonl"
  "$python" "$here/cuda/report.py" "$dir/known.jsonl" >"$dir/known"
  expect '^G5 .* 1.732   1.45  1.500   1.30   2  met$' "$dir/known"
  expect '^G6 .* 0.500   1.20  0.500   1.00   1  MISSED$' "$dir/known"
  expect '^G7 .* not measured$' "$dir/known"
}

# The mocks say what they said; a line that is not theirs is found.
selftest_transcript() {
  local python=$1 here=$2 dir=$3 mocks=$4
  local calibrate=("$python" "$here/../cuda/calibrate.py" "$mocks")
  "${calibrate[@]}" "$dir/transcript" >"$dir/same" ||
    fail "the mocks do not say again what they said"
  expect ' 0 differences, 0 calls left out' "$dir/same"
  # As if a library needed another workspace, once.
  sed '0,/"cusparseLtMatmulGetWorkspace"/s/\(GetWorkspace".*\), [0-9]*\]/\1, 12345]/' \
    "$dir/transcript" >"$dir/altered"
  if "${calibrate[@]}" "$dir/altered" >"$dir/differs"; then
    fail "an altered transcript went through"
  fi
  expect 'cusparseLtMatmulGetWorkspace: argument 2 differs 1 times' \
    "$dir/differs"
  expect ' 1 differences, 0 calls left out' "$dir/differs"
}

# A whole model, small.
selftest_model() {
  local build=$1 python=$2 here=$3 model=$4/minilm_24
  "$python" "$here/cuda/models.py" "$build/bin" "$4" \
    --emulator="$here/../cuda/emulator"
  LD_LIBRARY_PATH=$build/test/cuda/mock PRUNE_MOCK_KERNELS=$model.so \
    "$model-bench" "$model".{blob,out.bin,in.bin} -s >"$model.jsonl" \
    2>"$model.log" || fail "a model is wrong: $(cat "$model.jsonl")"
  "$python" "$here/cuda/report.py" "$model.jsonl" >"$4/report"
  expect '^G12 .* \(met\|MISSED\)$' "$4/report"
  expect 'linear_nm24' "$model.log"
}

case "${1:-} $#" in
'prepare 2') prepare "$2" ;;
'run 3') run "$2" "$3" ;;
'selftest 3') selftest "$2" "$3" ;;
*) fail 'usage: cuda.sh prepare DIR | run DIR PART | selftest BUILD PYTHON' ;;
esac
