#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include <espnet/span.hpp>

#include "manifest.hpp"

namespace espnet {

// What a file is, told by its first bytes, and whether an engine runs here: runtime/plan.py and
// runtime/compatibility.py say where each fact comes from. Nothing is deserialised.

using Version = std::vector<int>;

struct PlanHeader {
    std::string builder;  ///< "tensorrt" or "tensorrt-rtx"
    Version version;      ///< empty where the plan does not say
    std::optional<std::uint64_t> stated_bytes;
    std::optional<std::vector<std::string>> compute_capabilities;
    bool and_later = false;
};

/// What a file is. `problem` and `way_out` are set where it cannot be used as it is.
struct FileFacts {
    std::string kind;
    std::optional<PlanHeader> plan;
    bool is_onnx = false;
    std::optional<std::string> problem;
    std::optional<std::string> way_out;
    bool damaged = false;
};

/// What the library and the GPU here are; filled by the TensorRT backend, or by a test.
struct EngineMachine {
    std::optional<std::string> device;  ///< name of the GPU; none: there is none, and `gpu_reason` says why
    std::string gpu_reason;
    std::optional<std::string> compute_capability;
    Version version;             ///< of the library for `builder`; empty: it is not here
    std::string library_answer;  ///< why not
};

FileFacts read_file_facts(Span<const std::uint8_t> bytes);

/// Why the engine does not run here, in one line with the way out: the text of `engine_problem` in runtime/doctor.py.
/// None if nothing certain speaks against it.
std::optional<std::string> engine_problem(const std::string& path, Span<const std::uint8_t> bytes,
                                          const std::optional<Manifest>& manifest, const EngineMachine& machine);

/// Which library an engine is for: "tensorrt" or "tensorrt-rtx"; empty where neither the plan nor the manifest says.
std::string builder_of(Span<const std::uint8_t> bytes, const std::optional<Manifest>& manifest);

/// The leading numbers of a version: "10.3.0+x" -> {10, 3, 0}.
Version parse_version(const std::string& text);

}  // namespace espnet
