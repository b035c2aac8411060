#!/usr/bin/env bash
# Set up, then check everything: format, imports, types, the library on today's stack, and all tests.
#   bash recipe/test.sh          at most 15 minutes on two cores
#   bash recipe/test.sh --slow   also the tests marked slow, the coverage, and the benchmarks
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root"
export PYTHONPATH="$root"

slow=''
case "${1:-}" in
    '') ;;
    --slow) slow=yes ;;
    *) stop "recipe/test.sh knows only --slow, not $1." ;;
esac
marks=(-m 'not slow')
# counting lines makes the tests take half as long again
lines=()
[ -z "$slow" ] || { marks=(); lines=(--cov --cov-report=term); }
failed=()

# check NAME COMMAND...: run it, go on if it fails, and remember
check() {
    say "== $1"
    "${@:2}" || failed+=("$1")
}

install_tools() {
    local key
    key="$(digest "$python" "$constraints" recipe/requirements-test.txt)"
    stamped tools "$key" && return
    quietly 'pip install of the test tools' "$python" -m pip install -c "$constraints" -r recipe/requirements-test.txt
    stamp tools "$key"
}

fits() { "$1" -c 'import sys, venv; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2> /dev/null; }

python_for_today() {
    local candidate
    for candidate in python3 python3.12 python3.11 python3.10 /usr/bin/python3; do
        if fits "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    stop 'The tests on the newest stack need a Python 3.10 to 3.12 with venv.'
}

# Make .venv-today; returns 1 where packages cannot be fetched
make_today() {
    local key starter log
    starter="$(python_for_today)" || exit 1
    key="$(digest "$starter" recipe/requirements-today.txt)"
    [ "$(cat .venv-today/stamp 2> /dev/null)" = "$key" ] && return
    say 'Making .venv-today'
    quietly 'python3 -m venv' "$starter" -m venv --clear .venv-today
    log="$(mktemp)"
    if ! .venv-today/bin/python -m pip install -r recipe/requirements-today.txt > "$log" 2>&1; then
        # no answer for any package reads "(from versions: none)"
        if grep -qE 'from versions: none|Max retries exceeded' "$log"; then
            rm -f "$log"
            return 1
        fi
        cat "$log" >&2
        stop 'pip could not install recipe/requirements-today.txt (its output stands above).'
    fi
    rm -f "$log"
    printf '%s\n' "$key" > .venv-today/stamp
}

# Both stacks are tested at the same time, each in a process that computes with one thread
export OMP_NUM_THREADS=1

# The rooms of the library, and those of QIIME 2, of whose tests those that need q2-types are skipped with a line
rooms=(config stats data model bundle runtime objectives evaluation training inference estimators serve types actions docs)

# Of processes, sockets and files, in which stacks do not differ: on the newest stack alone, but on both with --slow
once=(
    tests/inference/test_export_graph.py tests/inference/test_export_onnx.py tests/runtime/test_run_kept.py tests/serve
    tests/training/test_divided.py tests/training/test_processes.py tests/training/test_ranks.py
    tests/training/test_search.py tests/training/test_side_by_side.py
)

# Runs in the background only, where it becomes pytest, so that it can be stopped
test_today() {
    exec .venv-today/bin/python -m pytest -q -rs -p no:cacheprovider ${marks[@]+"${marks[@]}"} "${rooms[@]/#/tests/}"
}

start_today() {
    today_log="$(mktemp)"
    test_today > "$today_log" 2>&1 &
    today="$!"
    trap 'kill "$today" 2> /dev/null; rm -f "$today_log"' EXIT
}

finish_today() {
    local status=0
    wait "$today" || status="$?"
    trap - EXIT
    cat "$today_log"
    rm -f "$today_log"
    return "$status"
}

run_benchmarks() {
    local script
    for script in tests/benchmarks/*.py; do
        case "$(basename "$script")" in
            __init__.py | conftest.py | test_*.py | '*.py') ;;
            # at full size it takes hours on two cores
            large_study.py) check "$script" "$python" "$script" --scale 0.01 --steps 20 --epochs 1 ;;
            *) check "$script" "$python" "$script" ;;
        esac
    done
}

bash recipe/setup.sh
install_tools
check 'ruff check' "$python" -m ruff check .
check 'ruff format' "$python" -m ruff format --check .
check 'mypy' "$python" -m mypy
today=''
elsewhere=()
if make_today; then
    start_today
    [ -n "$slow" ] || elsewhere=("${once[@]/#/--ignore=}")
else
    say "Skipped: the tests on today's stack, because no package registry could be reached."
fi
check 'pytest' "$python" -m pytest -rs ${lines[@]+"${lines[@]}"} ${elsewhere[@]+"${elsewhere[@]}"} ${marks[@]+"${marks[@]}"}
[ -z "$today" ] || check "tests on today's stack" finish_today
# last, so that nothing else runs beside them
[ -z "$slow" ] || run_benchmarks

if [ "${#failed[@]}" -gt 0 ]; then
    stop "failed: $(printf '%s; ' "${failed[@]}" | sed 's/; $//')."
fi
say 'All checks passed.'
