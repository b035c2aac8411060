#!/usr/bin/env bash
# Install q2-aam where QIIME 2 is, without replacing anything that QIIME 2 brings; a second run takes seconds.
# Inside an active conda environment with QIIME 2 it installs there; on Debian or Ubuntu it installs QIIME 2 from the
# distribution's packages and makes .venv on top of them.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

debian_packages=(qiime q2cli q2-types q2-metadata q2-feature-table q2-diversity-lib q2-sample-classifier python3-venv)

install_debian_packages() {
    local package missing=() as_root=()
    for package in "${debian_packages[@]}"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2> /dev/null)" = installed ] || missing+=("$package")
    done
    [ "${#missing[@]}" -gt 0 ] || return 0
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo > /dev/null || stop \
            "The packages ${missing[*]} are missing: install them as root, then run this again."
        as_root=(sudo)
    fi
    say "Installing QIIME 2 from the distribution's packages: ${missing[*]}"
    quietly 'apt-get update' ${as_root[@]+"${as_root[@]}"} apt-get update
    apt-cache show qiime > /dev/null 2>&1 || stop \
        'This release has no package named qiime: use Debian 12, or activate a conda environment with QIIME 2.'
    quietly 'apt-get install' ${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y --no-install-recommends "${missing[@]}"
}

# Debian's own /usr/bin/qiime never sees .venv, so .venv gets a qiime of its own
write_qiime_command() {
    cat > "$qiime" << END
#!/bin/sh
# QIIME 2's command line in this environment; packages of the user's own folder, and of that where it is called, stay
# out of it.
export PYTHONNOUSERSITE=1
exec "$python" -c 'import sys; sys.path[:] = filter(None, sys.path); from q2cli.__main__ import qiime; qiime(prog_name="qiime")' "\$@"
END
    chmod +x "$qiime"
}

# Each pin must still be true; setuptools alone may rise, within its bounds, and packages may have come
pins_hold() {
    ! grep -v '^setuptools' "$constraints" | grep -vxFf <("$python" "$root/recipe/constraints.py") | grep -q .
}

make_environment() {
    local packages=('setuptools>=77.0.3')
    if [ "$route" = debian ]; then
        say "Making $environment"
        quietly 'python3 -m venv' /usr/bin/python3 -m venv --clear --system-site-packages "$environment"
        packages+=("$torch_pin")
    fi
    "$python" "$root/recipe/constraints.py" > "$constraints"
    say 'Installing q2-aam and PyTorch (a large download the first time)'
    # the build backend must be here already: an isolated build would fetch one of its own
    quietly 'pip install' "$python" -m pip install -c "$constraints" "${packages[@]}" wheel
    quietly 'pip install' "$python" -m pip install -c "$constraints" --no-build-isolation -e "$root"
    # setuptools alone may rise, within its bounds
    pins_hold || stop \
        "pip changed a package that QIIME 2 brings: compare $constraints with what recipe/constraints.py prints now."
    [ "$route" = conda ] || write_qiime_command
}

environment_works() {
    [ -x "$qiime" ] && "$python" -c '
import importlib.metadata, importlib.util, sys
importlib.metadata.version("q2-aam")
sys.exit(not all(importlib.util.find_spec(name) for name in ("torch", "safetensors", "altair", "vl_convert", "q2_aam", "q2cli")))
' 2> /dev/null
}

if [ "$route" = debian ]; then
    command -v apt-get > /dev/null && command -v dpkg-query > /dev/null || stop \
        'QIIME 2 was not found: activate a conda environment with QIIME 2, or use Debian or Ubuntu with apt-get.'
    install_debian_packages
    starter=/usr/bin/python3
else
    starter="$python"
fi
"$starter" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' || stop \
    "q2-aam needs Python 3.10 to 3.12, but $starter is $("$starter" -V 2>&1)."

key="$(digest "$starter" "$root"/{setup.py,pyproject.toml} "$root"/recipe/{setup.sh,common.sh,constraints.py})"
if ! { stamped setup "$key" && environment_works; }; then
    make_environment
    stamp setup "$key"
fi

# QIIME 2 remembers what each plugin offers by its version alone, so new actions would stay invisible
key="$(digest "$python" "$root/q2_aam")"
if ! stamped cache "$key"; then
    quietly 'qiime dev refresh-cache' "$qiime" dev refresh-cache
    stamp cache "$key"
fi

information="$("$qiime" info)" || stop "$qiime info failed (its output stands above)."
grep -q '^aam\b' <<< "$information" || { say "$information" >&2; stop "$qiime info does not list the plugin aam."; }
say "Ready: $qiime ($(grep '^aam\b' <<< "$information"))"
