# shellcheck shell=bash
# Sourced by local.sh and test.sh: makes .venv if it is missing or stale.
#   set_up [DEV]     DEV=1 adds what the tests need
# PYTHON=python3.12 chooses the interpreter; EXTRA=cuda or EXTRA=tpu brings JAX for an accelerator,
# which a .venv keeps until EXTRA=cpu takes it back.

# Large pages for the large buffers of a step, one twentieth of its time on a CPU: where the kernel
# gives them only to who asks, as most do (benchmarks/README.md).
export GLIBC_TUNABLES=${GLIBC_TUNABLES:-glibc.malloc.hugetlb=1}

set_up() {
  local python=${PYTHON:-python3} dev=${1:-} extra=${EXTRA:-} version stamp found
  found=$(cat .venv/stamp 2>/dev/null || true)
  if [ -z "$extra" ] && [[ $found =~ extra=([a-z]+) ]]; then extra=${BASH_REMATCH[1]}; fi
  # An installer only warns of an extra it does not know, and would bring JAX for the CPU.
  case ${extra:=cpu} in
    cpu | cuda | tpu) ;;
    *) echo "error: EXTRA=$extra is unknown; choose cuda, tpu or cpu" >&2; return 1 ;;
  esac
  version=$("$python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null) || {
    echo "error: PYTHON=$python does not run; name an interpreter of Python 3.11 or newer" >&2
    return 1
  }
  if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "error: $python is Python $version; 3.11 or newer is needed (set PYTHON)" >&2
    return 1
  fi
  # Of two starts at once one sets up and the other waits.
  if command -v flock >/dev/null; then exec 9>.venv.lock && flock 9; fi
  stamp="$version extra=$extra dev=$dev $(cat requirements.txt pyproject.toml | cksum)"
  found=$(cat .venv/stamp 2>/dev/null || true)
  # A venv that tests have used serves a run as well.
  if { [ "$found" = "$stamp" ] || [ "$found" = "${stamp/dev= /dev=1 }" ]; } &&
    .venv/bin/python -c '' 2>/dev/null; then
    exec 9>&- # a run must not hold the lock
    return 0
  fi
  # The interpreter itself: uv looks a mere name up in its own way and may find another. Where .venv
  # is activated, the one that made it: it is still there when .venv is gone.
  python=$("$python" -c 'import sys; print(sys._base_executable)')
  echo "setting up .venv with Python $version; this takes some minutes"
  # What is there may be the user's own or in use by a run: where it can be added to, it is kept.
  case $found in
    "" | "$version extra=$extra "*) .venv/bin/python -c '' 2>/dev/null || rm -rf .venv ;;
    *) rm -rf .venv ;;
  esac
  rm -f .venv/stamp
  # A sleep that outlives the dots must hold neither the lock nor a pipe that somebody reads to its
  # end.
  (while sleep 5 >/dev/null 2>&1 9>&- && kill -0 $$ 2>/dev/null; do printf . >&2; done) &
  local dots=$! failed=0
  # Editable: the package of this checkout, wherever Python is started, and requirements.txt with it.
  install_into_venv "$python" -e ".[$extra${dev:+,dev}]" || failed=$?
  kill "$dots" 2>/dev/null || true
  echo >&2
  if [ "$failed" -ne 0 ]; then return "$failed"; fi
  echo "$stamp" >.venv/stamp # last, so that an installation cut short is begun again
  exec 9>&-
}

install_into_venv() {
  local python=$1
  shift
  if command -v uv >/dev/null; then
    { [ -d .venv ] || uv venv --quiet --seed --python "$python" .venv; } &&
      uv pip install --quiet --python .venv/bin/python "$@"
  else
    "$python" -m venv .venv && # of a venv that is there it sees to pip
      .venv/bin/python -m pip install --quiet --disable-pip-version-check "$@"
  fi
}
