# What ./demo and ./check share: install what is missing, make a private
# Python, build. Sourced by bash from the root of the project.
#
#   PRUNE_BUILD    the build folder (default: build)
#   PRUNE_PYTHON   a Python with scripts/requirements.txt, instead of our own
set -euo pipefail

BUILD=${PRUNE_BUILD:-build}
PYTHON=${PRUNE_PYTHON:-$(realpath -m "$BUILD")/venv/bin/python}
LOGS=$BUILD/logs
STEP=0
mkdir -p "$LOGS"

DEBIAN_PACKAGES=(
  gcc g++ libc6-dev cmake ninja-build python3 python3-venv
  llvm-19-dev llvm-19-tools libprotobuf-c-dev protobuf-c-compiler
  zlib1g-dev libxxhash-dev libjansson-dev libcmocka-dev universal-ctags
  libopenblas0)

# --help shows the comment at the head of the script
case ${1:-} in
-h | --help)
  sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
  exit
  ;;
esac

# say TEXT: a line of the step that is under way
say() { printf '      %s\n' "$*"; }

# step TITLE COMMAND…: one numbered step; its output goes to a log, whose end
# is shown if it fails. On a terminal the last line of the log shows progress.
step() {
  local title=$1 log start pid rc=0
  shift
  STEP=$((STEP + 1))
  log=$LOGS/$STEP.log
  start=$SECONDS
  printf '[%d/%d] %s\n' "$STEP" "$STEPS" "$title"
  set -m # a process group of its own, which Ctrl-C ends as a whole
  "$@" >"$log" 2>&1 </dev/null &
  pid=$!
  set +m
  trap 'kill -- -"$pid" 2>/dev/null; printf "\nstopped\n"; exit 130' INT TERM
  if [ -t 1 ]; then
    while kill -0 "$pid" 2>/dev/null; do
      printf '\r\033[K      %3d s  %.60s' $((SECONDS - start)) \
        "$(tail -n 1 "$log" | tr -d '\r' | tr '\t' ' ')"
      sleep 0.5
    done
    printf '\r\033[K'
  fi
  wait "$pid" || rc=$?
  trap - INT TERM
  if [ "$rc" -ne 0 ]; then
    tail -n 30 "$log" >&2
    printf 'error: this step failed (all of its output: %s)\n' "$log" >&2
    exit 1
  fi
  if [ $((SECONDS - start)) -gt 0 ]; then
    say "done in $((SECONDS - start)) s"
  fi
}

# The packages of DEBIAN_PACKAGES that are not installed.
missing_packages() {
  local p
  for p in "${DEBIAN_PACKAGES[@]}"; do
    dpkg-query -W -f '${Status}\n' "$p" 2>/dev/null |
      grep -q '^install ok installed' || printf '%s\n' "$p"
  done
}

install_packages() {
  local missing sudo=
  if ! command -v dpkg-query >/dev/null; then
    echo "not a Debian system: these must be there: ${DEBIAN_PACKAGES[*]}"
    return
  fi
  missing=$(missing_packages)
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "needs root to install:" $missing
      return 1
    fi
    sudo=sudo
  fi
  echo "installing" $missing
  $sudo dpkg --configure -a # after an interrupted installation
  $sudo apt-get update -q
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -q -y \
    --no-install-recommends $missing
}

# venv REQUIREMENTS…: build/venv with the pinned packages; made anew when a
# list has changed, left alone otherwise.
make_venv() {
  local venv=$BUILD/venv stamp=$BUILD/venv/requirements list
  if [ ! -x "$venv/bin/pip" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv"
  fi
  touch "$stamp"
  for list in "$@"; do
    grep -qF "$(sha256sum <"$list")" "$stamp" && continue
    # The lists are closed: every package is pinned, so none is resolved.
    "$venv/bin/pip" install --disable-pip-version-check --no-deps -r "$list"
    sha256sum <"$list" >>"$stamp"
  done
}

python_packages() {
  [ -n "${PRUNE_PYTHON:-}" ] || make_venv "$@"
}

# configure_and_build FOLDER [CMAKE OPTION…]
configure_and_build() {
  local folder=$1
  shift
  cmake -S . -B "$folder" -G Ninja -DPRUNE_PYTHON="$PYTHON" "$@"
  cmake --build "$folder"
}

prepare() {
  step "Debian packages" install_packages
  step "Python packages for tests and demo" python_packages "$@"
  step "Building the tools" configure_and_build "$BUILD"
}
