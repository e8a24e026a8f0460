// Any bytes get an answer: what they are, and whether they run on a machine, with and without a manifest.

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "plan.hpp"

namespace {

void require(bool kept) {
    if (!kept) {
        std::abort();
    }
}

espnet::EngineMachine a_machine() {
    espnet::EngineMachine machine;
    machine.device = "NVIDIA L4";
    machine.compute_capability = "8.9";
    machine.version = {10, 13, 3, 9};
    return machine;
}

espnet::Manifest a_manifest(espnet::Span<const std::uint8_t> bytes) {
    espnet::Manifest manifest;
    manifest.engine.emplace();
    manifest.engine->builder = "tensorrt";
    manifest.engine->builder_version = std::string(bytes.begin(), bytes.end());
    return manifest;
}

}  // namespace

// NOLINTNEXTLINE(readability-identifier-naming): the name that libFuzzer calls.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const espnet::EngineMachine machine = a_machine();
    const espnet::Span<const std::uint8_t> bytes(data, size);
    const espnet::FileFacts facts = espnet::read_file_facts(bytes);
    require(facts.problem.has_value() == facts.way_out.has_value());
    require(facts.problem || facts.plan || facts.is_onnx);
    require(!facts.damaged || facts.problem);
    require(!facts.plan || !facts.is_onnx);
    // No folder is read: none has this name.
    const std::string path = "/dev/null/fuzz.trt";
    const std::optional<std::string> alone = espnet::engine_problem(path, bytes, std::nullopt, machine);
    require(!facts.problem || alone);
    espnet::engine_problem(path, bytes, a_manifest(bytes), machine);
    require(facts.plan.has_value() == !espnet::builder_of(bytes, std::nullopt).empty());
    return 0;
}
