# Sourced by local.sh and test.sh: makes .venv if it is missing or stale.
#   set_up [DEV]     DEV=1 adds what the tests need
# PYTHON=python3.12 chooses the interpreter; EXTRA=cuda or EXTRA=tpu brings JAX for an accelerator.

set_up() {
  local python=${PYTHON:-python3} dev=${1:-} version stamp
  version=$("$python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])') || {
    echo "error: PYTHON=$python does not run; name an interpreter of Python 3.11 or newer" >&2
    return 1
  }
  if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "error: $python is Python $version; 3.11 or newer is needed (set PYTHON)" >&2
    return 1
  fi
  stamp="$version extra=${EXTRA:-} dev=$dev $(cat requirements.txt pyproject.toml | cksum)"
  if [ "$(cat .venv/stamp 2>/dev/null)" = "$stamp" ] && .venv/bin/python -c '' 2>/dev/null; then
    return 0
  fi
  # A venv that tests have used serves a run as well.
  if [ -z "$dev" ] && [ "$(cat .venv/stamp 2>/dev/null)" = "${stamp/dev=/dev=1}" ] &&
    .venv/bin/python -c '' 2>/dev/null; then
    return 0
  fi
  echo "setting up .venv with Python $version ..."
  rm -rf .venv
  local wanted=(-r requirements.txt)
  if [ -n "${EXTRA:-}" ]; then wanted+=(-e ".[$EXTRA]"); fi
  if [ -n "$dev" ]; then wanted+=(-e ".[dev]"); fi
  if command -v uv >/dev/null; then
    uv venv --quiet --python "$python" .venv
    uv pip install --quiet --python .venv/bin/python "${wanted[@]}"
  else
    "$python" -m venv .venv
    .venv/bin/python -m pip install --quiet --disable-pip-version-check "${wanted[@]}"
  fi
  echo "$stamp" >.venv/stamp # last, so that an installation cut short is begun again
}
