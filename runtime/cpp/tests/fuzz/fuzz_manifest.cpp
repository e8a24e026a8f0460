// Any bytes are either a manifest that keeps its promises, or give espnet::Error.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include <espnet/error.hpp>

#include "manifest.hpp"

namespace {

void require(bool kept) {
    if (!kept) {
        std::abort();
    }
}

/// What the rest of the library takes for granted.
void check_promises(const espnet::Manifest& manifest) {
    require(!manifest.inputs.empty());
    for (const auto* tensors : {&manifest.inputs, &manifest.outputs}) {
        for (const espnet::TensorInfo& tensor : *tensors) {
            require(tensor.shape.rank() == 0 || tensor.batch_axis() < tensor.shape.rank());
            for (const std::int64_t size : tensor.shape) {
                require(size == -1 || size >= 1);
            }
        }
    }
    require(manifest.preprocessing.has_value() == (manifest.task != espnet::Task::language_modelling));
    require(!manifest.preprocessing || (manifest.preprocessing->height >= 1 && manifest.preprocessing->std[0] > 0));
    require(manifest.num_classes >= 1);
    require(!manifest.postprocessing.max_per_class || *manifest.postprocessing.max_per_class >= 1);
    require(manifest.file.name.find('/') == std::string::npos);
}

}  // namespace

// NOLINTNEXTLINE(readability-identifier-naming): the name that libFuzzer calls.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view json(reinterpret_cast<const char*>(data), size);
    try {
        check_promises(espnet::parse_manifest(json, "fuzz.json"));
    } catch (const espnet::Error& error) {
        require(error.code() == espnet::ErrorCode::check);
    }
    return 0;
}
