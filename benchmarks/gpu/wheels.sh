#!/usr/bin/env bash
# Wheels of SGLang for a GPU machine without network that has Python 3.12 and torch 2.11 for CUDA 13,
# with triton, torchvision, numpy, pillow, requests, tqdm, einops, uvloop and psutil.
#   wheels.sh OUT [MIB]   makes OUT/part1, OUT/part2 …, each of at most MIB (36), to travel in pieces
#   wheels.sh --install PART SITE   there, for every part; then PYTHONPATH=SITE
# Of the kernels (383 MB) what a Hopper GPU loads at import is kept, 15 MB: FlashAttention-3 is not.
set -euo pipefail

if [ "${1:-}" = --install ]; then
    part=${2:?the folder of a part} site=${3:?the folder to install to}
    python3 -m pip install --quiet --no-index --no-deps --no-compile --target "$site" "$part"/*.whl
    for archive in "$part"/*.zip; do
        [ -e "$archive" ] && python3 -m zipfile -e "$archive" "$site"
    done
    exit 0
fi

out=${1:?usage: wheels.sh OUT [MIB]} limit=${2:-36}
rm -rf "$out" && mkdir -p "$out/all" "$out/kernel"
platforms=(--platform manylinux2014_x86_64 --platform manylinux1_x86_64)
for n in 17 24 27 28 31 34 35; do platforms+=(--platform "manylinux_2_${n}_x86_64"); done
get() {
    python3 -m pip download --quiet --no-deps --only-binary=:all: --python-version 3.12 \
        --implementation cp --abi cp312 --abi abi3 --abi none "${platforms[@]}" -d "$@"
}

# The last SGLang for torch 2.11, what it asks for by version, and what else it imports.
get "$out/all" sglang==0.5.17 transformers==5.12.1 tokenizers==0.22.2 huggingface_hub==1.33.0 \
    apache-tvm-ffi==0.1.11 openai==2.6.1 openai-harmony==0.0.4 soundfile==0.13.1 gguf==0.19.0 \
    llguidance==1.7.6 xgrammar==0.2.1 pydantic==2.12.5 pydantic-core==2.41.5 \
    annotated-doc annotated-types attrs cffi compressed-tensors dill distro fastapi interegular \
    jiter jsonschema jsonschema-specifications loguru msgspec orjson partial_json_parser pybase64 \
    pycparser python-multipart pyzmq referencing rich rpds-py setproctitle sniffio starlette \
    torch_memory_saver typing-inspection uvicorn watchfiles zstandard
get "$out/kernel" sglang-kernel==0.4.5

cd "$out"
python3 - "$limit" <<'END'
import shutil
import sys
import zipfile
from pathlib import Path

everything, limit = Path("all"), int(sys.argv[1]) << 20
(wheel,) = Path("kernel").glob("*.whl")
with zipfile.ZipFile(wheel) as full:
    with zipfile.ZipFile(everything / "kernel.zip", "w", zipfile.ZIP_DEFLATED) as kept:
        for name in full.namelist():
            if not name.endswith(".so") or "/sm90/" in name:
                kept.writestr(name, full.read(name))
with zipfile.ZipFile(everything / "notebook.zip", "w") as stub:  # imported, never called
    stub.writestr("IPython/__init__.py", "")
    stub.writestr("IPython/display.py", "HTML = display = None\n")
part, room = 0, 0
for file in sorted(everything.iterdir(), key=lambda file: -file.stat().st_size):
    if file.stat().st_size > room:
        part, room = part + 1, limit
        Path(f"part{part}").mkdir()
    shutil.move(file, f"part{part}/{file.name}")
    room -= Path(f"part{part}/{file.name}").stat().st_size
for folder in sorted(Path().glob("part*")):
    files = list(folder.iterdir())
    print(folder, sum(file.stat().st_size for file in files) >> 20, "MiB,", len(files), "files")
END
rm -rf all kernel
