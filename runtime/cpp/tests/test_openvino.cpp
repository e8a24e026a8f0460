#include <doctest/doctest.h>

#include <cstdio>

#include "artefact.hpp"
#include "fixtures.hpp"

using espnet::DType;
using espnet::Network;
using espnet::Options;

namespace {

/// A copy of a fixture with other bytes, or another manifest; gone at the end.
std::string replaced(std::string text, const std::string& from, const std::string& to) {
    const std::size_t at = text.find(from);
    REQUIRE(at != std::string::npos);
    return text.replace(at, from.size(), to);
}

/// The manifest of a fixture for other bytes.
std::string manifest_for(const std::string& name, const std::string& bytes) {
    const std::string old_bytes = read_file(fixture(name));
    const auto sum = [](const std::string& of) {
        return espnet::sha256_of({reinterpret_cast<const std::uint8_t*>(of.data()), of.size()});
    };
    std::string manifest = read_file(fixture(name) + ".json");
    for (int i = 0; i < 2; ++i) {
        manifest = replaced(manifest, sum(old_bytes), sum(bytes));
    }
    return replaced(manifest, "\"bytes\": " + std::to_string(old_bytes.size()),
                    "\"bytes\": " + std::to_string(bytes.size()));
}

Thrown opening(const CopiedFile& file) {
    return thrown_by([&] { Network::open(file.path()); });
}

}  // namespace

TEST_CASE("the backend says its version and its threads") {
    Options options;
    options.threads = 2;
    const Network net = Network::open(fixture("seg"), options);
    CHECK(net.info().backend.rfind("openvino 20", 0) == 0);
    CHECK(contains(net.info().backend, ", cpu, 2 threads"));
    CHECK(contains(espnet::backends(), "openvino 20"));
}

TEST_CASE("a file that is no network is refused in a line") {
    const std::string bytes = read_file(fixture("seg")).substr(0, 60);
    const CopiedFile file("test_openvino_cut.onnx", bytes, manifest_for("seg", bytes));
    const Thrown thrown = opening(file);
    CHECK(thrown.code == 2);
    CHECK(contains(thrown.text, "test_openvino_cut.onnx: openvino cannot read it ("));
    CHECK(contains(thrown.text, "export it again"));
    CHECK_FALSE(contains(thrown.text, "\n"));
}

TEST_CASE("another SHA-256 is found before the file is parsed") {
    const std::string bytes = read_file(fixture("seg")) + "x";
    const CopiedFile file("test_openvino_sum.onnx", bytes, read_file(fixture("seg") + ".json"));
    const Thrown thrown = opening(file);
    CHECK(thrown.code == 4);
    CHECK_FALSE(contains(thrown.text, "openvino cannot"));
}

TEST_CASE("the manifest's tensors are compared with the file's") {
    const std::string bytes = read_file(fixture("seg"));
    const std::string manifest =
        replaced(read_file(fixture("seg") + ".json"), "\"name\": \"labels\"", "\"name\": \"classes\"");
    const CopiedFile file("test_openvino_names.onnx", bytes, manifest);
    const Thrown thrown = opening(file);
    CHECK(thrown.code == 4);
    CHECK(contains(thrown.text,
                   "its manifest says classes uint8 (1,8,12), the file has labels uint8 (1,8,12); "
                   "export it again"));
}

TEST_CASE("without a manifest tensors are what the file says") {
    Options options;
    options.trust = true;
    const CopiedFile file("test_openvino_trusted.onnx", read_file(fixture("seg_free")), "");
    std::remove((file.path() + ".json").c_str());
    const Network net = Network::open(file.path(), options);
    REQUIRE(net.inputs().size() == 1);
    CHECK(net.inputs()[0].name == "image");
    CHECK(net.inputs()[0].dtype == DType::uint8);
    CHECK(net.inputs()[0].shape == espnet::Shape{-1, 8, 12, 3});
    CHECK(net.info().manifest_json.empty());
    CHECK(net.info().task.empty());

    // The one free size is the batch, wherever it stands.
    const CopiedFile words("test_openvino_words.onnx", read_file(fixture("lm")), "");
    std::remove((words.path() + ".json").c_str());
    Network model = Network::open(words.path(), options);
    const std::vector<std::int64_t> tokens{1, 2};
    const std::vector<float> hidden(10);
    const auto outputs =
        model.infer(std::vector<espnet::ConstTensorView>{{"token", espnet::DType::int64, {2}, tokens.data()},
                                                         {"hidden", espnet::DType::float32, {1, 2, 5}, hidden.data()}});
    CHECK(outputs.size() == 2);
}

TEST_CASE("a picture network that wants more than a picture is refused") {
    const Thrown thrown = thrown_by([] { Network::open(fixture("seg_two_inputs")); });
    CHECK(thrown.code == 4);
    CHECK(contains(thrown.text, "takes one picture, this has 2 inputs; export it again"));
}

TEST_CASE("outputs of another size than the batch gives are refused") {
    for (const int threads : {1, 2}) {
        Options options;
        options.threads = threads;
        Network net = Network::open(fixture("cls_loose"), options);
        const PlainPhoto some_red(red);
        const PlainPhoto no_red({0, 30, 200});
        CHECK(net.classify(some_red.view()).front().class_index == 0);
        const std::vector<espnet::ImageView> photos{some_red.view(), no_red.view()};
        std::vector<std::vector<espnet::ScoredClass>> classes(2);
        const Thrown thrown = thrown_by([&] { net.classify(photos, classes); });
        CHECK(thrown.code == 4);
        CHECK(contains(thrown.text, "output logits has 3 values, (2,3) has 6; export it again"));
        CHECK(net.classify(some_red.view()).front().class_index == 0);
    }
}
