#include <doctest/doctest.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "plan.hpp"

namespace {

using Bytes = std::vector<std::uint8_t>;

void append(Bytes& bytes, const std::string& text) {
    bytes.insert(bytes.end(), text.begin(), text.end());
}

void append(Bytes& bytes, std::uint64_t number, int count) {
    for (int i = 0; i < count; ++i) {
        bytes.push_back(static_cast<std::uint8_t>(number >> (8 * i)));
    }
}

/// As trtexec reads it: the tag, the serialisation version, the library's version in bytes 24 to 27.
Bytes tensorrt_plan(std::uint8_t major, std::uint8_t minor, std::uint8_t patch, std::uint8_t build) {
    Bytes bytes;
    append(bytes, "ftrt");
    bytes.resize(24);
    for (const std::uint8_t number : {major, minor, patch, build}) {
        bytes.push_back(number);
    }
    bytes.resize(256);
    return bytes;
}

/// As TensorRT-RTX 1.4 to 1.7 write it.
Bytes rtx_plan(std::uint8_t minor, std::uint32_t mask) {
    Bytes bytes;
    append(bytes, "vtrt");
    append(bytes, 0, 4);
    append(bytes, 2, 8);
    append(bytes, 256, 8);
    for (const int number : {1, static_cast<int>(minor), 1, 116}) {
        bytes.push_back(static_cast<std::uint8_t>(number));
    }
    append(bytes, "vtrt");
    append(bytes, mask, 4);
    bytes.resize(256);
    return bytes;
}

espnet::FileFacts facts_of(const Bytes& bytes) {
    return espnet::read_file_facts(bytes);
}

std::optional<std::string> problem_of(const std::string& path, const Bytes& bytes,
                                      const std::optional<espnet::Manifest>& manifest,
                                      const espnet::EngineMachine& machine) {
    return espnet::engine_problem(path, bytes, manifest, machine);
}

std::string builder_of(const Bytes& bytes, const std::optional<espnet::Manifest>& manifest) {
    return espnet::builder_of(bytes, manifest);
}

espnet::EngineMachine l4(const std::string& version) {
    espnet::EngineMachine machine;
    machine.device = "NVIDIA L4";
    machine.compute_capability = "8.9";
    machine.version = espnet::parse_version(version);
    machine.library_answer = "it was built without TensorRT";
    return machine;
}

espnet::Manifest manifest_of(const std::string& version, const std::vector<std::string>& capabilities) {
    espnet::Manifest manifest;
    manifest.onnx_sha256 = std::string(64, '0');
    manifest.engine.emplace();
    manifest.engine->builder = "tensorrt";
    manifest.engine->builder_version = version;
    manifest.engine->precision = "fp16";
    manifest.engine->compute_capabilities = capabilities;
    return manifest;
}

}  // namespace

TEST_CASE("TensorRT's plans say their version") {
    const espnet::FileFacts facts = facts_of(tensorrt_plan(10, 3, 0, 26));
    CHECK(facts.kind == "an engine (plan) of TensorRT");
    CHECK(facts.plan->version == espnet::Version{10, 3, 0, 26});
    CHECK_FALSE(facts.plan->compute_capabilities);
    CHECK_FALSE(facts.problem);
}

TEST_CASE("TensorRT-RTX's plans say their GPUs where the layout was measured") {
    const espnet::FileFacts named = facts_of(rtx_plan(7, 0x0C));
    CHECK(*named.plan->compute_capabilities == std::vector<std::string>{"8.6", "8.9"});
    CHECK_FALSE(named.plan->and_later);
    const espnet::FileFacts portable = facts_of(rtx_plan(4, 0x3E));
    CHECK(*portable.plan->compute_capabilities == std::vector<std::string>{"8.0", "8.6", "8.9", "12.0"});
    CHECK(portable.plan->and_later);
    CHECK_FALSE(facts_of(rtx_plan(8, 0x0C)).plan->compute_capabilities);
    CHECK_FALSE(facts_of(rtx_plan(7, 0x80)).plan->compute_capabilities);
}

TEST_CASE("what is cut off or longer is damaged") {
    Bytes plan = rtx_plan(7, 0x0C);
    plan.pop_back();
    CHECK(*facts_of(plan).problem == "it is cut off: 255 bytes, by its header it had 256");
    plan.resize(257);
    CHECK(facts_of(plan).damaged);
    plan.resize(20);
    CHECK(*facts_of(plan).problem == "it is cut off: 20 bytes, the header alone has 36");
    CHECK(facts_of(Bytes{}).damaged);
}

TEST_CASE("an ONNX file is told by its outline") {
    Bytes onnx{0x08, 0x08, 0x12, 0x00, 0x3A, 0x02, 0x0A, 0x00};  // IR version 8, no producer, a graph of two bytes
    CHECK(facts_of(onnx).is_onnx);
    CHECK_FALSE(facts_of(onnx).problem);
    onnx.pop_back();
    CHECK(*facts_of(onnx).problem == "it is cut off: at byte 7, its last one, a field goes on");
    CHECK_FALSE(facts_of(Bytes{0x08, 0x08, 0x7F}).is_onnx);
}

TEST_CASE("an engine that fits is no problem") {
    const Bytes plan = tensorrt_plan(10, 3, 0, 26);
    CHECK_FALSE(problem_of("seg.trt", plan, manifest_of("10.3.0.26", {"8.9"}), l4("10.3.0.26")));
    CHECK_FALSE(problem_of("seg.trt", plan, std::nullopt, l4("10.3.0.26")));  // TensorRT itself will tell
}

TEST_CASE("an engine of another GPU and version is refused with both values and the command") {
    espnet::Manifest manifest = manifest_of("10.3.0.26", {"8.7"});
    manifest.engine->device = "Orin";
    CHECK(*problem_of("none/seg.trt", tensorrt_plan(10, 3, 0, 26), manifest, l4("10.13.3.9")) ==
          "none/seg.trt: built by TensorRT 10.3.0.26 for sm 8.7 (Orin); here is TensorRT 10.13.3.9 on sm 8.9 (NVIDIA "
          "L4): it is not for sm 8.9; TensorRT 10.13.3.9 runs only engines of 10.13.3.9; get the ONNX file that it was "
          "built from (sha256 0000000000000000...) with its manifest as none/seg.onnx and run: espnet-export "
          "none/seg.onnx --out none --engine tensorrt --precision fp16");
}

TEST_CASE("what a program without TensorRT is told") {
    const std::string problem =
        *problem_of("seg.trt", tensorrt_plan(10, 3, 0, 26), manifest_of("10.3.0.26", {"8.9"}), l4(""));
    CHECK(problem ==
          "seg.trt: built by TensorRT 10.3.0.26 for sm 8.9; here is no TensorRT (it was built without TensorRT) on sm "
          "8.9 (NVIDIA L4): TensorRT is not here (it was built without TensorRT); on a Jetson it comes with JetPack; "
          "elsewhere install TensorRT with its headers; then build this library again");
}

TEST_CASE("header and manifest must agree") {
    CHECK(*problem_of("seg.trt", tensorrt_plan(8, 6, 1, 6), manifest_of("10.3.0.26", {}), l4("8.6.1.6")) ==
          "seg.trt: by its header it was built by TensorRT 8.6.1.6, by its manifest by tensorrt 10.3.0.26; export it "
          "again");
}

TEST_CASE("which library an engine is for") {
    CHECK(builder_of(tensorrt_plan(10, 3, 0, 26), std::nullopt) == "tensorrt");
    CHECK(builder_of(rtx_plan(7, 4), std::nullopt) == "tensorrt-rtx");
    espnet::Manifest manifest = manifest_of("13.0.0.1", {});
    manifest.engine->builder = "trtexec";
    CHECK(builder_of(Bytes(100), manifest) == "tensorrt");
    CHECK(builder_of(Bytes(100), std::nullopt).empty());
}

TEST_CASE("versions are their leading numbers") {
    CHECK(espnet::parse_version("10.13.3.9+cuda12") == espnet::Version{10, 13, 3, 9});
    CHECK(espnet::parse_version("11.0rc1") == espnet::Version{11, 0});
    CHECK(espnet::parse_version("of unknown version").empty());
    CHECK(espnet::parse_version(std::string(5000, '9')).empty());
}
