#!/bin/sh
# Checks the TensorRT backend against NVIDIA's own headers, which are no part of this project: for each folder the
# sources are compiled (nothing is linked or run), and so is tests/shim/signatures.cpp, which holds that the members
# that our tests imitate have the real signatures.
#
#     tests/check_real_headers.sh /usr/include/x86_64-linux-gnu
#     CUDA_INCLUDE=/usr/local/cuda-12.6/include tests/check_real_headers.sh TensorRT-8.5/include TensorRT-10.3/include
#
# CXX: the compiler. CUDA_INCLUDE: where cuda_runtime_api.h is.
set -eu

if [ $# -eq 0 ]; then
    echo "usage: $0 FOLDER_WITH_NvInfer.h..." >&2
    exit 2
fi
cpp=$(cd "$(dirname "$0")/.." && pwd)
cuda=${CUDA_INCLUDE:-/usr/local/cuda/include}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/espnet"
echo '#define ESPNET_API' > "$work/espnet/export.h"

failed=0
for folder in "$@"; do
    version=$(printf '#include <NvInfer.h>\nversion NV_TENSORRT_MAJOR NV_TENSORRT_MINOR NV_TENSORRT_PATCH NV_TENSORRT_BUILD\n' |
        ${CXX:-c++} -std=c++17 -E -P -x c++ -isystem "$folder" -isystem "$cuda" - 2> "$work/errors" |
        sed -n 's/^version //p' | tr ' ' .)
    verdict=ok
    for source in "$cpp"/src/tensorrt_*.cpp "$cpp"/tests/shim/signatures.cpp; do
        ${CXX:-c++} -fsyntax-only -std=c++17 -Wall -Wextra -Werror -I "$work" -I "$cpp/include" -I "$cpp/src" \
            -isystem "$folder" -isystem "$cuda" "$source" 2>> "$work/errors" || verdict=failed
    done
    echo "TensorRT ${version:-of unknown version} in $folder: $verdict"
    if [ $verdict = failed ]; then
        cat "$work/errors" >&2
        failed=1
    fi
    : > "$work/errors"
done
exit $failed
