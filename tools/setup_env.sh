#!/bin/sh
# Finds a Python that can run the course, then hands over to setup_env.py, which does the work.
# `make` calls it; it uses nothing but a POSIX shell until a Python is found.
#
#   PYTHON   the Python to make the environment with (default: the first suitable one found)
#   VENV     where the environment lies (default: .venv in the repository)
#   PIP_ARGS more arguments for pip, such as another package index

case $0 in */*) cd "${0%/*}/.." || exit 1 ;; *) cd .. || exit 1 ;; esac
script=tools/setup_env.py
venv=${VENV:-.venv}

fail() {
    printf '\nset-up stopped: %s\n' "$1" >&2
    exit 1
}

# The usual case, and fast: the environment is there and up to date.
if [ -z "$PYTHON" ] && [ -x "$venv/bin/python" ]; then
    "$venv/bin/python" -I -S "$script" --check 2>/dev/null && exit 0
fi

if [ -n "$PYTHON" ]; then
    command -v "$PYTHON" >/dev/null 2>&1 ||
        fail "there is no program PYTHON=$PYTHON; give the name or path of a Python, such as PYTHON=python3.12."
    candidates=
    found=$PYTHON
else
    candidates="python3 python3.13 python3.12 python3.11 python3.14 python3.10 python"
    found=
    # An environment made earlier with another Python keeps its Python.
    "$venv/bin/python" -I "$script" --usable >/dev/null 2>&1 && found=$venv/bin/python
fi

other=
for candidate in $candidates; do
    [ -z "$found" ] || break
    command -v "$candidate" >/dev/null 2>&1 || continue
    if "$candidate" -I "$script" --usable >/dev/null 2>&1; then
        found=$candidate
    elif [ -z "$other" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 6))' >/dev/null 2>&1; then
        other=$candidate
    fi
done

# A Python that is too old or too new says so itself (setup_env.py runs on 3.6); older ones are as good as none.
found=${found:-$other}
[ -n "$found" ] || fail "no Python 3 was found on PATH; install Python 3.12 (python.org, your system's package \
manager, or conda) and run the same command again, or say where it is with PYTHON=/path/to/python3."
"$found" -c 'import sys; sys.exit(sys.version_info < (3, 6))' >/dev/null 2>&1 ||
    fail "$found does not run or is older than Python 3.6; install Python 3.12 and run the same command again, \
or say where it is with PYTHON=/path/to/python3."
exec "$found" "$script"
