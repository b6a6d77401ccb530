#!/usr/bin/env bash
# Stock SGLang from PyPI for a machine without a GPU, in a virtual environment of its own, for tests.
#   install.sh VENV [PYTHON]
# What is not SGLang's own stands in shim/: never put it beside an SGLang that has a GPU.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=${1:?usage: install.sh VENV [PYTHON]}
python=${2:-python3}
index=${TORCH_INDEX:-https://download.pytorch.org/whl/cpu}

if [ "$(uname -s)" != Linux ]; then
    echo "SGLang's server runs on Linux only, this is $(uname -s)" >&2
    exit 1
fi
"$python" -m venv --clear "$venv"
pip() { "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; }

pip torch==2.13.0+cpu numpy 2>/dev/null || pip torch==2.13.0+cpu numpy --extra-index-url "$index"
pip -r "$here/requirements.txt"
# These name GPU packages among their dependencies, which a server on the CPU never imports.
pip --no-deps -r "$here/requirements-no-deps.txt"

packages=$("$venv/bin/python" -c 'import site; print(site.getsitepackages()[0])')
cp -r "$here"/shim/* "$packages/"
SGLANG_USE_CPU_ENGINE=1 "$venv/bin/python" -c '
import sglang.srt.entrypoints.http_server, sglang
print("sglang", sglang.__version__, "is ready on the CPU")'
