#include <doctest/doctest.h>

#include <cstdio>
#include <utility>

#include "fixtures.hpp"

using espnet::ConstTensorView;
using espnet::DType;
using espnet::ImageView;
using espnet::LabelView;
using espnet::Network;
using espnet::Options;
using espnet::Shape;
using espnet::Span;
using espnet::TensorView;

TEST_CASE("a network says what it is") {
    const Network net = Network::open(fixture("seg"));
    CHECK(net.info().name == "seg");
    CHECK(net.info().task == "segmentation");
    CHECK(net.info().num_classes == 3);
    CHECK(net.info().height == 8);
    CHECK(net.info().width == 12);
    CHECK(net.info().smallest_batch == 1);
    CHECK(net.info().largest_batch == 1);
    CHECK_FALSE(net.info().random_weights);
    CHECK(net.info().backend.rfind("openvino ", 0) == 0);
    CHECK(net.info().manifest_json == read_file(fixture("seg") + ".json"));
    REQUIRE(net.inputs().size() == 1);
    CHECK(net.inputs()[0].name == "image");
    CHECK(net.inputs()[0].dtype == DType::uint8);
    CHECK(net.inputs()[0].shape == Shape{1, 8, 12, 3});
    REQUIRE(net.outputs().size() == 1);
    CHECK(net.outputs()[0].shape == Shape{1, 8, 12});
}

TEST_CASE("a photo is segmented at its own size") {
    for (const char* name : {"seg", "seg_logits", "seg_free"}) {
        CAPTURE(name);
        Network net = Network::open(fixture(name));
        PlainPhoto photo(green);
        photo.set(2, 5, blue);
        const espnet::Segmentation answer = net.segment(photo.view());
        CHECK(answer.height == 8);
        CHECK(answer.width == 12);
        CHECK(answer.at(2, 5) == 2);
        CHECK(answer.at(2, 4) == 1);
        CHECK(answer.at(7, 11) == 1);

        const espnet::Segmentation large = net.segment(PlainPhoto(red, 16, 36).view());
        CHECK(large.labels == std::vector<std::uint8_t>(16 * 36, 0));
    }
}

TEST_CASE("labels go where the caller wants them and nowhere else") {
    Network net = Network::open(fixture("seg"));
    const PlainPhoto photo(blue);
    std::vector<std::uint8_t> place(8 * 20, 77);
    net.segment(photo.view(), LabelView{place.data(), 8, 12, 20});
    for (std::size_t i = 0; i < place.size(); ++i) {
        CHECK(place[i] == (i % 20 < 12 ? 2 : 77));
    }
}

TEST_CASE("a free batch takes any number of photos") {
    Network net = Network::open(fixture("seg_free"));
    CHECK(net.info().largest_batch == 0);
    const std::array photos{PlainPhoto(red), PlainPhoto(green), PlainPhoto(blue)};
    for (const std::size_t count : {3U, 1U, 2U}) {
        CAPTURE(count);
        std::vector<ImageView> views;
        std::vector<std::vector<std::uint8_t>> maps(count, std::vector<std::uint8_t>(96, 9));
        std::vector<LabelView> labels;
        for (std::size_t i = 0; i < count; ++i) {
            views.push_back(photos[i].view());
            labels.push_back({maps[i].data(), 8, 12, 0});
        }
        net.segment(views, labels);
        for (std::size_t i = 0; i < count; ++i) {
            CHECK(maps[i] == std::vector<std::uint8_t>(96, static_cast<std::uint8_t>(i)));
        }
    }
}

TEST_CASE("a fixed batch is filled with copies, and no more than it is taken") {
    Network net = Network::open(fixture("cls"));
    CHECK(net.info().smallest_batch == 2);
    const PlainPhoto first(green);
    const PlainPhoto second(blue);
    const auto alone = net.classify(first.view());
    REQUIRE(alone.size() == 5);
    CHECK(alone[0].class_index == 1);

    const std::array both{first.view(), second.view()};
    std::array<std::vector<espnet::ScoredClass>, 2> classes;
    net.classify(both, classes);
    CHECK(classes[0][0].class_index == 1);
    CHECK(classes[1][0].class_index == 2);

    const std::array three{first.view(), second.view(), first.view()};
    std::array<std::vector<espnet::ScoredClass>, 3> more;
    const Thrown thrown = thrown_by([&] { net.classify(three, more); });
    CHECK(thrown.code == 2);
    CHECK(contains(thrown.text, "3 photos given, cls.onnx takes 2 at once"));
    CHECK(net.classify(first.view())[0].class_index == 1);
}

TEST_CASE("boxes are in pixels of the photo") {
    Network net = Network::open(fixture("det"));
    const auto boxes = net.detect(PlainPhoto({255, 255, 255}, 16, 24).view());
    REQUIRE(boxes.size() == 2);
    CHECK(boxes[0].class_index == 1);
    CHECK(boxes[0].score == doctest::Approx(0.9));
    CHECK(boxes[0].right == doctest::Approx(12));
    CHECK(boxes[0].bottom == doctest::Approx(8));
    CHECK(boxes[1].class_index == 2);
    CHECK(boxes[1].left == doctest::Approx(12));
    CHECK(net.detect(PlainPhoto({0, 0, 0}).view()).empty());
}

TEST_CASE("a language model remembers what it read until it is reset") {
    Network net = Network::open(fixture("lm"));
    const auto logits = [&](std::int64_t token) {
        const auto values = net.step(token);
        return std::vector<float>(values.begin(), values.end());
    };
    CHECK(logits(0) == std::vector<float>{1, 0, 0, 0, 0});
    CHECK(logits(1) == std::vector<float>{0.5F, 1, 0, 0, 0});
    CHECK(logits(1) == std::vector<float>{0.25F, 1.5F, 0, 0, 0});

    // A clone begins anew, a wrong token changes nothing.
    Network other = net.clone();
    CHECK(other.step(4)[4] == 1);
    const Thrown thrown = thrown_by([&] { net.step(5); });
    CHECK(thrown.code == 2);
    CHECK(contains(thrown.text, "token 5: lm.onnx knows 0 to 4"));
    CHECK(thrown_by([&] { net.step(-1); }).code == 2);
    CHECK(logits(2) == std::vector<float>{0.125F, 0.75F, 1, 0, 0});

    net.reset();
    CHECK(logits(3) == std::vector<float>{0, 0, 0, 1, 0});
}

TEST_CASE("several texts are read at once") {
    Network net = Network::open(fixture("lm"));
    const std::array<std::int64_t, 2> first{0, 1};
    const std::array<std::int64_t, 2> second{2, 2};
    net.step(first);
    const auto logits = net.step(second);
    CHECK(std::vector<float>(logits.begin(), logits.end()) == std::vector<float>{0.5F, 0, 1, 0, 0, 0, 0.5F, 1, 0, 0});
    CHECK(contains(thrown_by([&] { net.step(1); }).text, "1 tokens given, 2 texts are being read"));
    net.reset();
    CHECK(net.step(1).size() == 5);
}

TEST_CASE("a call for another task says which to use") {
    Network net = Network::open(fixture("det"));
    const PlainPhoto photo(red);
    const Thrown thrown = thrown_by([&] { net.segment(photo.view()); });
    CHECK(thrown.code == 2);
    CHECK(contains(thrown.text, "det.onnx: is for detection, which segment does not do; call detect"));
    CHECK(contains(thrown_by([&] { net.classify(photo.view()); }).text, "call detect"));
    CHECK(contains(thrown_by([&] { net.step(1); }).text, "call detect"));
    CHECK(contains(thrown_by([&] { net.reset(); }).text, "call detect"));
}

TEST_CASE("tensors go in and come out") {
    Network net = Network::open(fixture("seg_free"));
    std::vector<std::uint8_t> pixels(2 * 96 * 3, 0);
    for (std::size_t i = 0; i < 96; ++i) {
        pixels[i * 3 + 1] = 9;
        pixels[(96 + i) * 3 + 2] = 9;
    }
    const std::vector<std::uint8_t> before = pixels;
    const std::array inputs{ConstTensorView{"image", DType::uint8, {2, 8, 12, 3}, pixels.data()}};
    const auto results = net.infer(inputs);
    REQUIRE(results.size() == 1);
    CHECK(results[0].name == "labels");
    CHECK(results[0].shape == Shape{2, 8, 12});
    CHECK(results[0].as<std::uint8_t>()[0] == 1);
    CHECK(results[0].as<std::uint8_t>()[191] == 2);
    CHECK(pixels == before);

    std::vector<std::uint8_t> labels(192, 77);
    const std::array outputs{TensorView{"labels", DType::uint8, {2, 8, 12}, labels.data()}};
    net.infer(inputs, outputs);
    CHECK(labels[95] == 1);
    CHECK(labels[96] == 2);

    // The network's own memory again, with another batch.
    const std::array one{ConstTensorView{"image", DType::uint8, {1, 8, 12, 3}, pixels.data() + 96 * 3}};
    std::fill(labels.begin(), labels.end(), 77);
    CHECK(net.infer(one)[0].as<std::uint8_t>()[95] == 2);
    CHECK(labels == std::vector<std::uint8_t>(192, 77));
    const PlainPhoto photo(red);
    CHECK(net.segment(photo.view()).at(0, 0) == 0);
}

TEST_CASE("tensors that do not fit are named with both values") {
    Network net = Network::open(fixture("seg"));
    std::vector<std::uint8_t> data(8 * 12 * 3 * 4);
    const auto text = [&](const ConstTensorView& tensor) {
        const Thrown thrown = thrown_by([&] { net.infer(Span<const ConstTensorView>(&tensor, 1)); });
        CHECK(thrown.code == 2);
        return thrown.text;
    };
    CHECK(contains(text({"image", DType::float32, {1, 8, 12, 3}, data.data()}),
                   "image: float32 (1,8,12,3) given, seg.onnx takes uint8 (1,8,12,3)"));
    CHECK(contains(text({"image", DType::uint8, {2, 8, 12, 3}, data.data()}), "export with --batch"));
    CHECK(contains(text({"picture", DType::uint8, {1, 8, 12, 3}, data.data()}),
                   "picture: no such input, seg.onnx takes image"));
    CHECK(contains(text({"image", DType::uint8, {1, 8, 12, 3}, nullptr}), "image: a null pointer was given"));
    CHECK(contains(text({"image", DType::uint8, {1, 8, 12, 3}, data.data(), espnet::Memory::device}),
                   "openvino computes on the CPU"));
    CHECK(contains(thrown_by([&] { net.infer({}); }).text, "image: not given"));
}

TEST_CASE("streams need a GPU") {
    Network net = Network::open(fixture("seg"));
    const PlainPhoto photo(red);
    std::vector<std::uint8_t> labels(96);
    const std::array inputs{ConstTensorView{"image", DType::uint8, {1, 8, 12, 3}, photo.view().data}};
    const std::array outputs{TensorView{"labels", DType::uint8, {1, 8, 12}, labels.data()}};
    const Thrown thrown = thrown_by([&] { net.infer(inputs, outputs, espnet::CudaStream{}); });
    CHECK(thrown.code == 2);
    CHECK(contains(thrown.text, "has no CUDA streams"));
}

TEST_CASE("photos and label maps that do not fit are refused, and the network lives on") {
    Network net = Network::open(fixture("seg"));
    const PlainPhoto photo(green);
    CHECK(thrown_by([&] { net.segment(ImageView{nullptr, 8, 12}); }).code == 2);
    CHECK(thrown_by([&] { net.segment(ImageView{photo.view().data, 0, 12}); }).code == 2);
    CHECK(thrown_by([&] { net.segment(photo.view(), LabelView{nullptr, 8, 12}); }).code == 2);
    CHECK(thrown_by([&] { net.segment(Span<const ImageView>(), Span<const LabelView>()); }).code == 2);
    CHECK(net.segment(photo.view()).at(0, 0) == 1);
}

TEST_CASE("a network that was moved away is refused") {
    Network net = Network::open(fixture("seg"));
    Network taken = std::move(net);
    const PlainPhoto photo(green);
    CHECK(contains(thrown_by([&] { net.segment(photo.view()); }).text, "was moved away"));
    CHECK(thrown_by([&] { net.clone(); }).code == 2);
    CHECK(thrown_by([&] { net.reset(); }).code == 2);
    CHECK(net.inputs().empty());
    CHECK(net.outputs().empty());
    CHECK(net.info().name.empty());
    CHECK(taken.segment(photo.view()).at(0, 0) == 1);
}

TEST_CASE("a clone outlives the network that it came from") {
    auto net = std::make_unique<Network>(Network::open(fixture("seg")));
    Network clone = net->clone();
    net.reset();
    const PlainPhoto photo(blue);
    CHECK(clone.segment(photo.view()).at(3, 3) == 2);
    CHECK(clone.info().name == "seg");
}

TEST_CASE("a file inside of the program runs as one on the disk") {
    const std::string bytes = read_file(fixture("seg"));
    const std::string manifest = read_file(fixture("seg") + ".json");
    const espnet::EmbeddedFile file{
        "seg.onnx", {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()}, manifest};
    Network net = Network::open(file);
    CHECK(net.segment(PlainPhoto(green).view()).at(0, 0) == 1);
}

TEST_CASE("what cannot be opened says why") {
    const auto text = [](const std::string& path, const char* backend, int code) {
        Options options;
        options.backend = backend;
        const Thrown thrown = thrown_by([&] { Network::open(path, options); });
        CHECK(thrown.code == code);
        return thrown.text;
    };
    CHECK(contains(text(fixture("none"), "auto", 2), "none.onnx"));
    CHECK(contains(text(fixture("seg"), "onnxruntime", 2), "backend 'onnxruntime' is unknown"));
    CHECK(contains(text(fixture("seg"), "tensorrt", 2), "tensorrt runs engines (.trt)"));
    Options options;
    options.threads = -1;
    CHECK(contains(thrown_by([&] { Network::open(fixture("seg"), options); }).text, "threads -1"));
}

TEST_CASE("a file without its manifest is run when it is trusted, by infer alone") {
    const std::string path = "test_network_trusted.onnx";
    std::ofstream(path, std::ios::binary) << read_file(fixture("seg"));
    CHECK(thrown_by([&] { Network::open(path); }).code == 4);
    Options options;
    options.trust = true;
    Network net = Network::open(path, options);
    const PlainPhoto photo(green);
    CHECK(contains(thrown_by([&] { net.segment(photo.view()); }).text, "has no manifest"));
    const std::array inputs{ConstTensorView{"image", DType::uint8, {1, 8, 12, 3}, photo.view().data}};
    CHECK(net.infer(inputs)[0].as<std::uint8_t>()[0] == 1);
    std::remove(path.c_str());
}
