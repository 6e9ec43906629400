#!/bin/sh
# Install the course from this folder, without a network:  sh install.sh [FOLDER]
# FOLDER is where the course goes (default: gfm-course in your home). PYTHON=python3.12 names the Python to use.
here=$(cd "$(dirname "$0")" && pwd) || exit 1
good() {
    "$1" -c 'import sys; v = "%d.%d" % sys.version_info[:2]; sys.exit(v not in sys.argv[1:])' @PYTHONS@ 2>/dev/null
}
if [ -n "$PYTHON" ]; then
    good "$PYTHON" || { echo "PYTHON=$PYTHON does not run, or is none of: @PYTHONS@." >&2; exit 1; }
else
    for version in @PYTHONS@; do
        if good "python$version"; then PYTHON="python$version"; break; fi
    done
    [ -n "$PYTHON" ] || { good python3 && PYTHON=python3; }
    [ -n "$PYTHON" ] || { good python && PYTHON=python; }
fi
if [ -z "$PYTHON" ]; then
    echo "No Python of the versions @PYTHONS@ was found. This folder holds wheels for these only: install one, or" >&2
    echo "make the folder for the one you have: make wheelhouse ARGS=\"--pythons 3.N\"." >&2
    exit 1
fi
exec "$PYTHON" "$here/install.py" "$@"
