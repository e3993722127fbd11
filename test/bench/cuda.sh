#!/usr/bin/env bash
# The benchmark of the CUDA backend.
#
#   cuda.sh prepare DIR     builds what a machine with a GPU needs, into DIR
#   cuda.sh run DIR PART    there: measures, into $OUT (DIR/outPART)
#   cuda.sh selftest BUILD PYTHON   all of it on the mocks, in an emulator
#
# Parts, each of which ends within nine minutes:
#   1  versions, what the machine does at best, every kernel against sums in
#      double precision, what the libraries say (transcript.txt, for
#      test/cuda/calibrate.py)
#   2  the table, and the goals
#   3  whole models
#   4  the table for weights in blocks, and its goals
#
# What is timed or checked has a process of its own where it might hang, and a
# limit. PRUNE_BENCH_SKIP: kernels that part 2 leaves out, separated by blanks;
# PRUNE_BENCH_SMALL: small shapes, and few of them.
#
# prepare takes nvcc and a build (PRUNE_BUILD, build) whose Python has onnx and
# onnxruntime. run takes a driver and
# python3; cuBLASLt, cuSPARSELt, cuSPARSE and cuDNN are looked for where pip puts
# them.
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
                                            "libcu*.so.*"), recursive=True)):
        if any(n in so for n in ("Lt.so", "cusparse.so", "cudnn.so")):
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

# part FILE SECONDS COMMAND…: rows to $OUT/FILE.jsonl, behind what is there; goes
# on where it fails, as long as there is time.
LIMIT=520
failed=0
part() {
  local name=$1 seconds=$2 status=0 left=$((LIMIT - SECONDS))
  shift 2
  [ "$seconds" -le "$left" ] || seconds=$left
  if [ "$seconds" -lt 5 ]; then
    printf 'no time is left for: %s\n' "${*##*/}"
    failed=1
    return
  fi
  printf '%s: %s\n' "$(date +%T)" "${*##*/}"
  timeout -k 5 "$seconds" "$@" ${PRUNE_BENCH_SMALL:+-s} \
    >"$OUT/last.rows" 2>"$OUT/last.log" || status=$?
  # not the row in which a process ended
  sed -n '/}$/p' "$OUT/last.rows" >>"$OUT/$name.jsonl"
  cat "$OUT/last.log" >>"$OUT/log.txt"
  [ "$status" -eq 0 ] && return
  printf '  exit status %d\n' "$status"
  tail -n 5 "$OUT/last.log"
  failed=1
}

# Every kernel by itself: one that hangs or faults is one that is missing.
check() {
  local bench=$1 type format way
  for type in bf16 f16; do
    while read -r format way; do
      part check 25 "$bench" check -t "$type" -f "$format" -k "$way"
    done < <("$bench" ways)
  done
}

# Reads and writes that go astray, in small products, where the tool is.
sanitize() {
  local bench=$1 tool
  [ -z "${PRUNE_BENCH_SMALL:-}" ] || return 0
  tool=$(PATH=$PATH:/usr/local/cuda/bin command -v compute-sanitizer) || return 0
  part sanitizer 60 "$tool" --error-exitcode 3 --log-file "$OUT/sanitizer.txt" \
    "$bench" check -s -t bf16
}

table() {
  local bench=$1 type way skip=()
  for way in ${PRUNE_BENCH_SKIP:-}; do
    skip+=(-x "$way")
  done
  for type in bf16 f16; do
    part table 52 "$bench" table -l 36 -t "$type" -f nk "${skip[@]}"
    part table 90 "$bench" table -l 74 -t "$type" -f nm24 "${skip[@]}" \
      -x linear_nm24_sm90
    part table 45 "$bench" table -l 32 -t "$type" -f nm24 "${skip[@]}" \
      -k linear_nm24_sm90
    part table 80 "$bench" table -l 66 -t "$type" -f bitmap "${skip[@]}"
  done
}

# Dense by the library beside what is in blocks.
blocks() {
  local bench=$1 type
  for type in bf16 f16; do
    part table 40 "$bench" table -l 30 -t "$type" -f nk -k cuBLASLt
    part table 200 "$bench" table -l 180 -t "$type" -f bsr
  done
}

run() {
  local dir bench
  dir=$(cd "$1" && pwd)
  bench=$dir/prune-bench-cuda
  OUT=${OUT:-$dir/out$2}
  mkdir -p "$OUT"
  rm -f "$OUT"/*.jsonl "$OUT"/log.txt
  LD_LIBRARY_PATH=$(library_folders)${LD_LIBRARY_PATH:-}
  export OUT LD_LIBRARY_PATH
  case $2 in
  1)
    part machine 120 "$bench" machine -o "$OUT/transcript.txt"
    check "$bench"
    sanitize "$bench"
    ;;
  2) table "$bench" ;;
  3)
    for model in minilm_24 minilm_dense mobilenet; do
      [ -e "$dir/$model-bench" ] || continue
      # The kernels are the mock driver's, where that is what there is.
      PRUNE_MOCK_KERNELS=$dir/$model.so \
        part models 120 "$dir/$model-bench" "$dir/$model".{blob,out.bin,in.bin}
    done
    ;;
  4) blocks "$bench" ;;
  *) fail "no part is called '$2'" ;;
  esac
  rm -f "$OUT"/last.*
  python3 "$dir/report.py" "$OUT"/*.jsonl >"$OUT/report.txt" || failed=1
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

selftest() {
  local build=$1 python=$2 here bench mocks dir part
  here=$(cd "$(dirname "$0")" && pwd)
  bench=$build/test/bench/cuda/prune-bench-cuda-mocked
  mocks=$build/test/cuda/mock
  dir=$(mktemp -d)
  # shellcheck disable=SC2064
  trap "rm -rf '$dir'" EXIT
  export LD_LIBRARY_PATH=$mocks
  export PRUNE_MOCK_KERNELS=$build/test/bench/cuda/kernels.so
  if "$bench" check -s -t f16 -w >"$dir/wrong"; then
    fail "a wrong expectation was met"
  fi
  expect '"ok": false' "$dir/wrong"
  "$bench" table -s -l 0 >"$dir/late"
  expect '"row": "late"' "$dir/late"
  cp "$here/cuda/report.py" "$dir"
  cp "$bench" "$dir/prune-bench-cuda"
  export PRUNE_BENCH_SMALL=1
  for part in 1 2 4; do
    OUT=$dir/out$part "$here/cuda.sh" run "$dir" "$part" >"$dir/said" || {
      cat "$dir/said" >&2
      fail "part $part did not go through"
    }
    cp "$dir/said" "$dir/said$part"
  done
  unset LD_LIBRARY_PATH
  expect ' 0 wrong, ' "$dir/said1"
  expect '^G5 *bf16 .* \(met\|MISSED\)$' "$dir/said2"
  if grep -q WRONG "$dir/said2"; then
    fail "a product of the table is wrong"
  fi
  expect '^G11 *f16 .* \(met\|MISSED\)$' "$dir/said2"
  if grep -q WRONG "$dir/said4"; then
    fail "a product of blocks is wrong"
  fi
  expect '^ *64x128 *16 bsr32 90 % *cuSPARSE by the runtime' "$dir/said4"
  expect '^G10 *bf16 .* not measured$' "$dir/said4" # not so many rows
  selftest_goals "$python" "$here" "$dir"
  selftest_transcript "$python" "$here" "$dir" "$mocks"
  selftest_model "$build" "$python" "$here" "$dir"
  printf 'the benchmark works where there is no GPU\n'
}

# Times from which the ratios are known.
selftest_goals() {
  local python=$1 here=$2 dir=$3 row block
  row='{"row": "product", "n": 64, "k": 64, "m": %d, "type": "bf16", "format": "%s", "zeros": %d, "way": "%s", "us": %s, "error": %s, "bytes": 8192, "spread": 0, "mhz": 0}\n'
  {
    # shellcheck disable=SC2059
    printf "$row" 1 nk 0 cuBLASLt 12 0 1 nm24 50 few_nm24 8 1e-3 \
      1 nm24 50 linear_nm24 9 0 1 nm24 50 linear_nm24_sm90 1 0.5 \
      16 nk 0 cuBLASLt 12 0 16 nm24 50 few_nm24 6 0 16 nm24 50 cuSPARSELt 3 0
    block='{"row": "product", "n": 64, "k": 64, "m": 2048, "type": "bf16", "format": "bsr", "block": %d, "zeros": %d, "way": "%s", "us": %s, "error": 0, "bytes": 8192, "spread": 0, "mhz": 0}\n'
    # shellcheck disable=SC2059
    printf "$row" 2048 nk 0 cuBLASLt 12 0
    # shellcheck disable=SC2059
    printf "$block" 64 80 linear_bsr 4 64 80 "cuSPARSE by the runtime" 6 \
      32 80 linear_bsr 6 64 90 linear_bsr_small 2
  } >"$dir/known.jsonl"
  "$python" "$here/cuda/report.py" "$dir/known.jsonl" >"$dir/known"
  expect '^G5 .* 1.732   1.45  1.500   1.30   2  met$' "$dir/known"
  expect '^G6 .* 0.500   1.20  0.500   1.00   1  MISSED$' "$dir/known"
  expect '^G7 .* not measured$' "$dir/known"
  expect 'linear_nm24_sm90 .* WRONG$' "$dir/known"
  expect '^G10 .* 80 % in blocks of 64.* 3.000   2.50  3.000   2.00   1  met$' \
    "$dir/known"
  expect '^G10 .* 80 % in blocks of 32.* 2.000   2.50 .* MISSED$' "$dir/known"
  expect '^G10 .* 90 % in blocks of 64.* 6.000   4.00 .* met$' "$dir/known"
  expect '^G10 .*cuSPARSE.* 1.500   1.00  1.500   1.00   1  met$' "$dir/known"
}

# The mocks say what they said; a line that is not theirs is found.
selftest_transcript() {
  local python=$1 here=$2 dir=$3 mocks=$4
  local calibrate=("$python" "$here/../cuda/calibrate.py" "$mocks")
  "${calibrate[@]}" "$dir/out1/transcript.txt" >"$dir/same" ||
    fail "the mocks do not say again what they said"
  expect ' 0 differences, 0 calls left out' "$dir/same"
  # As if a library needed another workspace, once.
  sed '0,/"cusparseLtMatmulGetWorkspace"/s/\(GetWorkspace".*\), [0-9]*\]/\1, 12345]/' \
    "$dir/out1/transcript.txt" >"$dir/altered"
  if "${calibrate[@]}" "$dir/altered" >"$dir/differs"; then
    fail "an altered transcript went through"
  fi
  expect 'cusparseLtMatmulGetWorkspace: argument 2 differs 1 times' \
    "$dir/differs"
  expect ' 1 differences, 0 calls left out' "$dir/differs"
}

# A whole model, small.
selftest_model() {
  local build=$1 python=$2 here=$3 dir=$4
  "$python" "$here/cuda/models.py" "$build/bin" "$dir" \
    --emulator="$here/../cuda/emulator"
  OUT=$dir/out3 LD_LIBRARY_PATH=$build/test/cuda/mock \
    "$here/cuda.sh" run "$dir" 3 >"$dir/said3" ||
    fail "a model is wrong: $(cat "$dir/said3")"
  expect '^G12 .* \(met\|MISSED\)$' "$dir/said3"
  expect 'linear_nm24' "$dir/out3/log.txt"
  expect '(mem.attention): cuDNN' "$dir/out3/log.txt"
  expect '(mem.conv): .*; not cuDNN: was slower' "$dir/out3/log.txt"
  expect '^mobilenet_cuda: .* our kernels alone' "$dir/said3"
}

case "${1:-} $#" in
'prepare 2') prepare "$2" ;;
'run 3') run "$2" "$3" ;;
'selftest 3') selftest "$2" "$3" ;;
*) fail 'usage: cuda.sh prepare DIR | run DIR PART | selftest BUILD PYTHON' ;;
esac
