#include <doctest/doctest.h>

#include <cstdlib>
#include <new>
#include <string>

#include <espnet/error.hpp>

#include "manifest.hpp"

// Clang's thread sanitizer has these operators itself, and allows no others: there no allocation fails.
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define ESPNET_TEST_FAILS_NOTHING
#endif
#endif

#ifndef ESPNET_TEST_FAILS_NOTHING

namespace {

thread_local long allocations_left = -1;  // -1: any number

void* allocated(std::size_t bytes) {
    if (allocations_left == 0) {
        throw std::bad_alloc();
    }
    allocations_left -= allocations_left > 0 ? 1 : 0;
    if (void* const memory = std::malloc(bytes == 0 ? 1 : bytes)) {
        return memory;
    }
    throw std::bad_alloc();
}

}  // namespace

void* operator new(std::size_t bytes) {
    return allocated(bytes);
}
void operator delete(void* memory) noexcept {
    std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
    std::free(memory);
}

#endif

namespace {

const std::string good = R"({
  "name": "seg", "task": "segmentation", "network": "espnetv2_seg", "width_mult": 2.0, "dataset": "cityscapes",
  "num_classes": 20, "classes": [{"name": "road", "colour": [128, 64, 255]}, {"name": "sky", "colour": null}],
  "io": "deploy", "precision": "fp32",
  "inputs": [{"name": "image", "dtype": "uint8", "shape": ["batch", 8, 16, 3], "layout": "NHWC", "meaning": ""}],
  "outputs": [{"name": "labels", "dtype": "uint8", "shape": ["batch", 8, 16], "layout": "NHW", "meaning": "m"}],
  "preprocessing": {"resize": "shorter_side_crop", "height": 8, "width": 16, "shorter_side": 9, "scale": 0.5,
                    "mean": [0.1, 0.2, 0.3], "std": [1, 2, 3], "normalise_in_graph": true},
  "postprocessing": {"kind": "labels", "score_threshold": 0.25, "max_per_class": 100000000000},
  "macs": {"conv": 1, "linear": 0}, "params": 3,
  "weights": {"source": "none", "sha256": null, "random": true},
  "onnx": {"sha256": "ab", "opset": 17, "ir_version": 8},
  "file": {"name": "seg.trt", "sha256": "cd", "bytes": 5000000000},
  "engine": {"builder": "tensorrt", "builder_version": "10.3.0.26", "precision": "fp16",
             "compute_capabilities": ["8.7"], "device": null, "profile": {"minimum": 1, "optimum": 2, "maximum": 4},
             "dla_core": 1, "compatible": ["ampere+"]},
  "from_a_newer_writer": [[{}]]
})";

/// `good` with the first `from` replaced.
std::string with(const std::string& from, const std::string& to) {
    std::string text = good;
    const std::size_t at = text.find(from);
    REQUIRE(at != std::string::npos);
    return text.replace(at, from.size(), to);
}

/// The text of the error, "" if there is none.
std::string problem_of(const std::string& json) {
    try {
        espnet::parse_manifest(json, "seg.trt.json");
    } catch (const espnet::Error& error) {
        CHECK(error.code() == espnet::ErrorCode::check);
        return error.what();
    }
    return "";
}

std::string not_a_manifest(const std::string& problem) {
    return "seg.trt.json: not a manifest, " + problem + "; export again";
}

}  // namespace

TEST_CASE("a manifest is read") {
    const espnet::Manifest manifest = espnet::parse_manifest(good, "seg.trt.json");
    CHECK(manifest.name == "seg");
    CHECK(manifest.task == espnet::Task::segmentation);
    CHECK(manifest.num_classes == 20);
    REQUIRE(manifest.classes.size() == 2);
    CHECK(manifest.classes[0].colour->blue == 255);
    CHECK_FALSE(manifest.classes[1].colour);
    CHECK(manifest.inputs[0].shape == espnet::Shape{-1, 8, 16, 3});
    CHECK(manifest.outputs[0].dtype == espnet::DType::uint8);
    CHECK(manifest.preprocessing->resize == espnet::Resize::shorter_side_crop);
    CHECK(manifest.preprocessing->shorter_side == 9);
    CHECK(manifest.preprocessing->std[2] == 3);
    CHECK(manifest.postprocessing.score_threshold == 0.25);
    CHECK(manifest.postprocessing.max_per_class == 0x7fffffff);
    CHECK(manifest.random_weights);
    CHECK(manifest.file.bytes == 5'000'000'000);
    CHECK(manifest.engine->profile->maximum == 4);
    CHECK(manifest.engine->dla_core == 1);
    CHECK_FALSE(manifest.engine->device);
}

TEST_CASE("the first wrong field is named") {
    CHECK(problem_of(with("\"name\"", "\"nom\"")) == not_a_manifest("name: Field required"));
    CHECK(problem_of(with("20,", "0,")) == not_a_manifest("num_classes: Input should be greater than or equal to 1"));
    CHECK(problem_of(with("255]", "256]")) ==
          not_a_manifest("classes.0.colour.2: Input should be less than or equal to 255"));
    CHECK(problem_of(with("\"deploy\"", "7")) ==
          not_a_manifest("io: Input should be 'raw', 'deploy', 'deepstream' or 'lowres'"));
    CHECK(problem_of(with("seg.trt", "../seg.trt")) ==
          not_a_manifest("file.name: '../seg.trt' is not the name of a file beside it"));
    CHECK(problem_of(with("[\"8.7\"]", "[\"8.7\", \"8.7;\"]")) ==
          not_a_manifest(R"(engine.compute_capabilities.1: String should match pattern '^\d{1,2}\.\d{1,2}$')"));
}

TEST_CASE("fields that contradict each other are refused") {
    CHECK(problem_of(with("\"height\": 8", "\"height\": 9")) ==
          not_a_manifest("the whole file: preprocessing makes (9, 16), input image is ('batch', 8, 16, 3)"));
    CHECK(problem_of(with("\"kind\": \"labels\"", "\"kind\": \"nms\"")) ==
          not_a_manifest("the whole file: postprocessing 'nms' is not for segmentation, which has labels, argmax, "
                         "upsample_argmax"));
    CHECK(problem_of(with("\"NHWC\"", "\"-----N\"")) ==
          not_a_manifest("inputs.0: layout '-----N' has its batch beyond the 4 dimensions"));
    CHECK(problem_of(with("\"params\"", "\"states\": [{\"input\": \"image\", \"output\": \"labels\"}], \"params\"")) ==
          not_a_manifest("the whole file: state image cannot be fed with labels"));
}

TEST_CASE("another schema is told apart") {
    CHECK(problem_of(with("{", "{\"schema_version\": 2, ")) ==
          "seg.trt.json: schema version 2, this program reads 1; export again, or update espnet-edge");
    CHECK(problem_of(with("{", "{\"schema_version\": 1, ")).empty());
}

TEST_CASE("numbers are compared with their limits before they become smaller types") {
    for (const char* number : {"4294967297", "18446744073709551617", "1e300", "-4294967295"}) {
        CHECK(problem_of(with("\"num_classes\": 20", std::string("\"num_classes\": ") + number)) != "");
        CHECK(problem_of(with("\"width\": 16", std::string("\"width\": ") + number)) != "");
        CHECK(problem_of(with("\"minimum\": 1", std::string("\"minimum\": ") + number)) != "");
        CHECK(problem_of(with("[\"batch\", 8, 16]", std::string("[1, 8, ") + number + "]")) != "");
    }
}

TEST_CASE("what is nested too deeply or too large is refused before it is parsed") {
    const std::string deep(3'000'000, '[');
    CHECK(problem_of(deep) ==
          not_a_manifest("the whole file: Invalid JSON: recursion limit exceeded at line 1 column 202"));
    const std::string large(espnet::max_manifest_bytes + 1, ' ');
    CHECK(problem_of(large) == "seg.trt.json: 4194305 bytes, a manifest has at most 4194304; export again");
    CHECK(problem_of("").rfind("seg.trt.json: not a manifest, the whole file: Invalid JSON: ", 0) == 0);
}

TEST_CASE("tasks and kinds have the names that manifests use") {
    CHECK(espnet::name_of(espnet::Task::multi_label) == std::string("multi_label"));
    CHECK(espnet::name_of(espnet::Kind::upsample_argmax) == std::string("upsample_argmax"));
    CHECK(espnet::name_of(espnet::Kind::next_word) == std::string("next_word"));
}

TEST_CASE("messages are one line, whatever names a manifest holds") {
    CHECK(problem_of(with("\"height\": 8", "\"height\": 9")
                         .replace(good.find("\"image\""), 7, R"("im\n  age\u001b[2J\u202e")")) ==
          not_a_manifest(R"(the whole file: preprocessing makes (9, 16), input im age\x1b[2J\u202e is )"
                         "('batch', 8, 16, 3)"));
    CHECK(problem_of(with("seg.trt", R"(a/\u001b\n\u00a0\u2028 \u00e9)")) ==
          not_a_manifest(R"(file.name: 'a/\x1b\n\xa0\u2028 é' is not the name of a file beside it)"));
    CHECK(problem_of(with("seg.trt", R"(a/'\"\\)")) ==
          not_a_manifest(R"(file.name: 'a/\'"\\' is not the name of a file beside it)"));
    const std::string broken =
        espnet::Error(espnet::ErrorCode::check, "\xff \xe2\x80\xae \xed\xa0\x80 \xf0\x9f\x9b\xa3").what();
    CHECK(broken == "\\udcff \\u202e \\udced\\udca0\\udc80 \xf0\x9f\x9b\xa3");
}

#ifndef ESPNET_TEST_FAILS_NOTHING
TEST_CASE("whichever allocation fails, reading a manifest only throws") {
    const std::string nested =
        with("[[{}]]", "[[{\"a\": [1, 2.5, {\"b\": [true, null, \"a string of some length\"]}]}]]");
    for (const std::string& json : {nested, nested.substr(0, nested.size() - 3), with("20,", "0,")}) {
        long allowed = 0;
        bool ended = false;
        while (!ended) {
            allocations_left = allowed++;
            try {
                espnet::parse_manifest(json, "seg.trt.json");
                ended = true;
            } catch (const std::bad_alloc&) {
                ended = false;
            } catch (const espnet::Error&) {
                ended = true;
            }
            allocations_left = -1;
        }
        CHECK(allowed > 50);
    }
}
#endif
