#!/usr/bin/env bash
# On a GPU machine without network: installs the wheels that are here, then measures.
#   offline.sh WHEELS [OPTIONS]     WHEELS is what wheels.sh made, OPTIONS are those of trees.py
# Goes to SITE (/tmp/site), which may be filled in several calls, with some of the parts in each.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

wheels=${1:?usage: offline.sh WHEELS [OPTIONS]} site=${SITE:-/tmp/site}
shift
for part in "$wheels"/part*; do
    [ -d "$part" ] || { echo "no part1, part2 … in $wheels: make them with benchmarks/gpu/wheels.sh" >&2; exit 2; }
    [ -e "$site/.$(basename "$part")" ] && continue
    benchmarks/gpu/wheels.sh --install "$part" "$site"
    touch "$site/.$(basename "$part")"
done
export PYTHONPATH=$site
python3 -c 'import sglang' 2>/dev/null || { echo "SGLang is not complete in $site: bring the other parts" >&2; exit 2; }
exec python3 -m benchmarks.gpu.trees "$@"
