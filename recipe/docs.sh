#!/usr/bin/env bash
# Make the documentation site; a warning is a fault.
#   bash recipe/docs.sh           writes docs/_build/html; open its index.html
#   bash recipe/docs.sh --links   also asks whether what links outside lead to is there
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$root"

links=''
case "${1:-}" in
    '') ;;
    --links) links=yes ;;
    *) stop "recipe/docs.sh knows only --links, not $1." ;;
esac
# QIIME 2 is not needed: the environment of the newest stack has what Sphinx reads
python="${DOCS_PYTHON:-.venv-today/bin/python}"
"$python" -c 'import sphinx, myst_nb, furo' 2> /dev/null || stop \
    "$python has no Sphinx: run bash recipe/test.sh once, or python -m pip install -r recipe/requirements-today.txt in an environment of your own and name its Python in DOCS_PYTHON."

"$python" -m sphinx -q -W --keep-going -b html -d docs/_build/doctrees docs docs/_build/html
[ -z "$links" ] || "$python" -m sphinx -q -W --keep-going -b linkcheck -d docs/_build/doctrees docs docs/_build/links
say "Open docs/_build/html/index.html"
