#pragma once

#include <optional>
#include <string>
#include <vector>

#include "plan.hpp"

namespace espnet {

// Whether an engine runs on a machine: NVIDIA's rules on facts alone, as in runtime/compatibility.py.

// Builders.
constexpr const char* tensorrt = "tensorrt";
constexpr const char* tensorrt_rtx = "tensorrt-rtx";

/// How an engine was built, as far as its header and its manifest say. `compute_capabilities`: of the GPUs that it is
/// for, none if not known. `compatible`: TensorRT's modes, in the words of the manifest.
struct BuiltEngine {
    std::string builder;
    Version version;
    std::optional<std::vector<std::string>> compute_capabilities;
    bool and_later = false;
    std::optional<std::string> device;
    std::vector<std::string> compatible;

    /// Such as "TensorRT 10.3.0.26 for sm 8.7 (Orin)".
    std::string text() const;
};

/// Why an engine does not run here; `certain` false: why that cannot be told, and TensorRT itself would have to.
struct Problem {
    enum class Kind { gpu, library, version, capability };

    Kind kind;
    std::string text;
    bool certain = true;
};

std::vector<Problem> problems_of(const BuiltEngine& engine, const EngineMachine& machine);

/// What a TensorRT-RTX engine runs on that was built for no GPU in particular: these "and later", without Turing.
std::vector<std::string> rtx_portable();

/// Whether TensorRT-RTX has nothing for the GPU here, which TensorRT has.
bool needs_other_builder(const BuiltEngine& engine, const EngineMachine& machine);

/// Those of the engine if they hold the GPU here, else that GPU's; none for a portable engine.
std::vector<std::string> capabilities_to_build(const BuiltEngine& engine, const EngineMachine& machine);

/// Such as "TensorRT 10.13.3.9 on sm 8.9 (NVIDIA L4)".
std::string text_of(const EngineMachine& machine, const std::string& builder);

/// "TensorRT" or "TensorRT-RTX".
std::string title_of(const std::string& builder);

/// {10, 3, 0} -> "10.3.0".
std::string dotted(const Version& version);

}  // namespace espnet
