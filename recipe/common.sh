# What setup.sh, test.sh and demo.sh share: where things are, and how they speak. Sourced, never run.
# shellcheck shell=bash

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
torch_pin='torch==2.13.0'
# packages of the user's own folder would shadow those that QIIME 2 was built with
export PYTHONNOUSERSITE=1 PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf '%s\n' "$@"; }

stop() {
    printf 'q2-aam: %s\n' "$*" >&2
    exit 1
}

# quietly WHAT COMMAND...: show what the command printed only if it fails
quietly() {
    local what="$1" log status=0
    shift
    log="$(mktemp)"
    "$@" > "$log" 2>&1 || status=$?
    if [ "$status" -ne 0 ]; then
        cat "$log" >&2
        rm -f "$log"
        stop "$what failed (its output stands above)."
    fi
    rm -f "$log"
}

# the folder of the environment: an active conda environment with QIIME 2, else .venv
conda_is_usable() {
    [ -n "${CONDA_PREFIX:-}" ] && [ -x "$CONDA_PREFIX/bin/python" ] && "$CONDA_PREFIX/bin/python" -c '
import importlib.util, sys
sys.exit(not any(importlib.util.find_spec(name) for name in ("qiime2", "rachis")))' 2> /dev/null
}

if conda_is_usable; then
    environment="$CONDA_PREFIX"
    route='conda'
else
    environment="$root/.venv"
    route='debian'
fi
python="$environment/bin/python"
qiime="$environment/bin/qiime"
constraints="$environment/q2-aam-constraints.txt"

# digest PYTHON FILE_OR_FOLDER...: one hash over contents (of a folder: its Python sources and its bibliography; of
# pyproject.toml: what stands before the settings of the tools)
digest() {
    "$1" - "$root" "${@:2}" << 'END'
import hashlib
import pathlib
import sys

total = hashlib.sha256(sys.argv[1].encode())
for name in sys.argv[2:]:
    path = pathlib.Path(name)
    files = [path] if path.is_file() else sorted(p for p in path.rglob('*') if p.suffix in ('.py', '.bib'))
    for file in files:
        content = file.read_bytes()
        if file.name == 'pyproject.toml':
            content = content.split(b'\n[tool.ruff]')[0]
        total.update(str(file).encode() + b'\0' + content)
print(total.hexdigest())
END
}

# stamped NAME HASH: was this done before, with this hash?  stamp NAME HASH: it is done now
stamped() { [ "$(cat "$environment/q2-aam-$1.stamp" 2> /dev/null)" = "$2" ]; }
stamp() { printf '%s\n' "$2" > "$environment/q2-aam-$1.stamp"; }
