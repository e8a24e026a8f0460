#include <doctest/doctest.h>

#include <cstring>

#include <espnet/espnet.h>

#include "fixtures.hpp"

namespace {

/// A network of the C interface, closed at the end.
class Opened {
public:
    explicit Opened(const std::string& name) {
        espnet_error error;
        REQUIRE_MESSAGE(espnet_open(fixture(name).c_str(), nullptr, &network_, &error) == 0, error.message);
    }
    Opened(const Opened&) = delete;
    Opened& operator=(const Opened&) = delete;
    ~Opened() { espnet_close(network_); }

    operator espnet_network*() const { return network_; }

private:
    espnet_network* network_ = nullptr;
};

espnet_image image_of(const PlainPhoto& photo) {
    const espnet::ImageView view = photo.view();
    return {view.data, view.height, view.width, 0, 3, 0};
}

/// Whether a call failed for wrong input, with `text` in its message.
bool refused(int code, const espnet_error& error, const char* text) {
    CAPTURE(error.message);
    CHECK(code == 2);
    CHECK(error.code == code);
    return contains(error.message, text);
}

}  // namespace

TEST_CASE("C: what a network is") {
    const Opened net("seg");
    CHECK(std::string(espnet_task(net)) == "segmentation");
    CHECK(espnet_num_classes(net) == 3);
    CHECK(espnet_input_height(net) == 8);
    CHECK(espnet_input_width(net) == 12);
    CHECK(espnet_class_name(net, 0) == nullptr);
    CHECK(espnet_class_name(net, -1) == nullptr);
    CHECK(contains(espnet_manifest(net), "\"segmentation\""));
    CHECK(contains(espnet_backend(net), "openvino"));
    const espnet::Network same = espnet::Network::open(fixture("seg"));
    CHECK(espnet_name(net) == same.info().name);
    CHECK(espnet_network_name(net) == same.info().network);
    CHECK(espnet_dataset(net) == same.info().dataset);
    CHECK(espnet_precision(net) == same.info().precision);
    CHECK(espnet_random_weights(net) == (same.info().random_weights ? 1 : 0));
    CHECK(espnet_smallest_batch(net) == same.info().smallest_batch);
    CHECK(espnet_largest_batch(net) == same.info().largest_batch);
    CHECK(std::string(espnet_version()) == espnet::version());
    CHECK(std::string(espnet_backends()) == espnet::backends());
}

TEST_CASE("C: answers for each task") {
    espnet_error error;
    const PlainPhoto photo(green);
    const espnet_image image = image_of(photo);
    size_t count = 0;

    const Opened seg("seg");
    std::vector<std::uint8_t> map(96);
    const espnet_labels labels{map.data(), 8, 12, 0};
    REQUIRE(espnet_segment(seg, &image, &labels, 1, &error) == 0);
    CHECK(error.code == 0);
    CHECK(map == std::vector<std::uint8_t>(96, 1));

    const Opened cls("cls");
    std::array<espnet_class, 2> classes{};
    REQUIRE(espnet_classify(cls, &image, 1, classes.data(), classes.size(), &count, nullptr) == 0);
    CHECK(count == 5);
    CHECK(classes[0].class_index == 1);

    const Opened det("det");
    const PlainPhoto white({255, 255, 255});
    const espnet_image bright = image_of(white);
    std::array<espnet_box, 4> boxes{};
    REQUIRE(espnet_detect(det, &bright, 1, boxes.data(), boxes.size(), &count, &error) == 0);
    CHECK(count == 2);
    CHECK(boxes[1].class_index == 2);
    REQUIRE(espnet_detect(det, &bright, 1, nullptr, 0, &count, &error) == 0);
    CHECK(count == 2);

    const Opened lm("lm");
    const float* logits = nullptr;
    const int64_t three = 3;
    REQUIRE(espnet_step(lm, &three, 1, &logits, &count, &error) == 0);
    CHECK(count == 5);
    CHECK(logits[3] == 1);
    REQUIRE(espnet_reset(lm, &error) == 0);
    const int64_t zero = 0;
    REQUIRE(espnet_step(lm, &zero, 1, &logits, &count, &error) == 0);
    CHECK(logits[3] == 0);
}

TEST_CASE("C: answers of an earlier call are not taken for those of a failed one") {
    const Opened lm("lm");
    const Opened cls("cls");
    espnet_error error;
    const float wrong = 0;
    const float* logits = &wrong;
    const int64_t unknown = 99;
    size_t count = 7;
    CHECK(refused(espnet_step(lm, &unknown, 1, &logits, &count, &error), error, "token 99"));
    CHECK(logits == nullptr);
    CHECK(count == 0);
    espnet_image nothing{};
    count = 7;
    CHECK(refused(espnet_classify(cls, &nothing, 1, nullptr, 0, &count, &error), error, ""));
    CHECK(count == 0);
    count = 7;
    CHECK(refused(espnet_detect(cls, &nothing, 1, nullptr, 0, &count, &error), error, ""));
    CHECK(count == 0);
}

TEST_CASE("C: batches") {
    espnet_error error;
    const Opened lm("lm");
    const std::array<int64_t, 2> tokens{1, 4};
    const float* logits = nullptr;
    size_t words = 0;
    REQUIRE_MESSAGE(espnet_step(lm, tokens.data(), 2, &logits, &words, &error) == 0, error.message);
    REQUIRE(words == 5);
    CHECK(logits[1] == 1);
    CHECK(logits[5 + 4] == 1);
    CHECK(refused(espnet_step(lm, nullptr, 0, &logits, &words, &error), error, "no token is given"));

    const Opened cls("cls");
    REQUIRE(espnet_largest_batch(cls) != 1);
    const PlainPhoto first(green);
    const PlainPhoto second(blue);
    const std::array<espnet_image, 2> photos{image_of(first), image_of(second)};
    std::array<espnet_class, 6> classes{};
    std::array<size_t, 2> found{};
    REQUIRE_MESSAGE(espnet_classify(cls, photos.data(), 2, classes.data(), 3, found.data(), &error) == 0,
                    error.message);
    CHECK(found == std::array<size_t, 2>{5, 5});
    CHECK(classes[0].class_index == 1);
    CHECK(classes[3].class_index == 2);
}

TEST_CASE("C: a network from memory") {
    const std::string bytes = read_file(fixture("seg"));
    const std::string manifest = read_file(fixture("seg") + ".json");
    espnet_network* net = nullptr;
    espnet_error error;
    REQUIRE_MESSAGE(espnet_open_memory("seg.onnx", bytes.data(), bytes.size(), manifest.data(), manifest.size(),
                                       nullptr, &net, &error) == 0,
                    error.message);
    CHECK(std::string(espnet_task(net)) == "segmentation");
    espnet_close(net);
    CHECK(espnet_open_memory("seg.onnx", bytes.data(), bytes.size(), nullptr, 0, nullptr, &net, &error) == 4);
    CHECK(contains(error.message, "seg.onnx: no manifest was given with it"));
    CHECK(net == nullptr);
    espnet_options options;
    espnet_init_options(&options, sizeof options);
    options.trust = 1;
    REQUIRE(espnet_open_memory("seg.onnx", bytes.data(), bytes.size(), nullptr, 0, &options, &net, &error) == 0);
    CHECK(std::string(espnet_manifest(net)).empty());
    espnet_close(net);
}

TEST_CASE("C: names and colours of the data set") {
    const std::string bytes = read_file(fixture("seg"));
    std::string manifest = read_file(fixture("seg") + ".json");
    const std::string none = "\"classes\": []";
    const std::string three = R"("classes": [{"name": "road", "colour": [1, 2, 3]}, {"name": "sky", "colour": null},
                                            {"name": "tree", "colour": [7, 8, 9]}])";
    manifest.replace(manifest.find(none), none.size(), three);
    espnet_network* net = nullptr;
    espnet_error error;
    REQUIRE_MESSAGE(espnet_open_memory("seg.onnx", bytes.data(), bytes.size(), manifest.data(), manifest.size(),
                                       nullptr, &net, &error) == 0,
                    error.message);
    CHECK(std::string(espnet_class_name(net, 2)) == "tree");
    CHECK(espnet_class_name(net, -1) == nullptr);
    CHECK(espnet_class_name(net, 3) == nullptr);
    std::array<std::uint8_t, 3> rgb{};
    espnet_class_colour(net, 2, rgb.data());
    CHECK(rgb == std::array<std::uint8_t, 3>{7, 8, 9});
    std::array<std::uint8_t, 3> own{};
    for (const int index : {-1, 1, 3}) {
        espnet_class_colour(net, index, rgb.data());
        espnet_own_colour(index, own.data());
        CHECK(rgb == own);
    }
    espnet_close(net);
}

TEST_CASE("C: what a network takes and gives") {
    const Opened net("lm");
    const espnet::Network same = espnet::Network::open(fixture("lm"));
    REQUIRE(espnet_num_inputs(net) == same.inputs().size());
    REQUIRE(espnet_num_outputs(net) == same.outputs().size());
    espnet_error error;
    for (size_t i = 0; i < same.inputs().size(); ++i) {
        espnet_tensor tensor;
        REQUIRE(espnet_input(net, i, &tensor, &error) == 0);
        const espnet::TensorInfo& described = same.inputs()[i];
        CHECK(tensor.name == described.name);
        CHECK(static_cast<int>(tensor.dtype) == static_cast<int>(described.dtype));
        REQUIRE(tensor.rank == described.shape.rank());
        CHECK(std::equal(described.shape.begin(), described.shape.end(), tensor.shape));
        CHECK(tensor.data == nullptr);
        CHECK(tensor.on_device == 0);
    }
    espnet_tensor tensor;
    REQUIRE(espnet_output(net, 0, &tensor, &error) == 0);
    CHECK(tensor.name == same.outputs()[0].name);
    CHECK(refused(espnet_output(net, 9, &tensor, &error), error, "tensor 9: the network has"));
    CHECK(espnet_num_inputs(nullptr) == 0);
    CHECK(espnet_num_outputs(nullptr) == 0);
}

TEST_CASE("C: colours, painting and probabilities") {
    const Opened net("seg");
    espnet_error error;
    for (const int index : {-1, 0, 2, 300}) {
        const espnet::Colour own = espnet::own_colour(index);
        std::array<std::uint8_t, 3> rgb{};
        espnet_own_colour(index, rgb.data());
        CHECK(rgb == std::array<std::uint8_t, 3>{own.red, own.green, own.blue});
        // These classes have no names and no colours.
        std::array<std::uint8_t, 3> of_class{};
        espnet_class_colour(net, index, of_class.data());
        CHECK(of_class == rgb);
        espnet_class_colour(nullptr, index, of_class.data());
        CHECK(of_class == rgb);
    }

    const PlainPhoto photo(red);
    const espnet_image image = image_of(photo);
    std::vector<std::uint8_t> map(96, 1);
    const espnet_labels labels{map.data(), 8, 12, 0};
    std::vector<std::uint8_t> painted(288);
    std::vector<std::uint8_t> expected(288);
    REQUIRE(espnet_paint_labels(net, &image, &labels, 0.5, painted.data(), &error) == 0);
    espnet::paint_labels(photo.view(), {map.data(), 8, 12, 0}, {}, 0.5, expected.data());
    CHECK(painted == expected);
    const espnet_box box{1, 0.9F, 1, 1, 6, 6};
    REQUIRE(espnet_paint_boxes(net, &box, 1, 8, 12, painted.data(), &error) == 0);
    const std::array<espnet::Box, 1> same{{{1, 0.9F, 1, 1, 6, 6}}};
    espnet::paint_boxes(same, {}, 8, 12, expected.data());
    CHECK(painted == expected);

    std::array<float, 2> values{0, 0};
    REQUIRE(espnet_softmax(values.data(), values.size(), values.data(), &error) == 0);
    CHECK(values[0] == 0.5F);
}

TEST_CASE("C: tensors into the network's memory or the caller's") {
    const Opened net("seg");
    espnet_error error;
    const PlainPhoto photo(blue);
    espnet_tensor input{};
    input.name = "image";
    input.dtype = ESPNET_UINT8;
    input.rank = 4;
    const std::array<std::int64_t, 4> sizes{1, 8, 12, 3};
    std::copy(sizes.begin(), sizes.end(), input.shape);
    input.data = const_cast<std::uint8_t*>(photo.view().data);
    espnet_tensor output{};
    output.name = "labels";
    REQUIRE(espnet_infer(net, &input, 1, &output, 1, nullptr, &error) == 0);
    CHECK(output.dtype == ESPNET_UINT8);
    REQUIRE(output.rank == 3);
    CHECK(output.shape[2] == 12);
    CHECK(static_cast<std::uint8_t*>(output.data)[95] == 2);
    espnet_tensor unknown{};
    unknown.name = "labels2";
    CHECK(refused(espnet_infer(net, &input, 1, &unknown, 1, nullptr, &error), error,
                  "labels2: no such output, the network gives labels; rename it"));

    std::vector<std::uint8_t> map(96);
    output.data = map.data();
    REQUIRE(espnet_infer(net, &input, 1, &output, 1, nullptr, &error) == 0);
    CHECK(map[0] == 2);

    CHECK(refused(espnet_infer(net, &input, 1, &output, 1, &output, &error), error, "has no CUDA streams"));
    output.rank = 9;
    CHECK(refused(espnet_infer(net, &input, 1, &output, 1, nullptr, &error), error, "labels: rank 9"));
    input.dtype = static_cast<espnet_dtype>(7);
    CHECK(refused(espnet_infer(net, &input, 1, &output, 1, nullptr, &error), error, "image: dtype 7"));
    input.name = nullptr;
    CHECK(refused(espnet_infer(net, &input, 1, &output, 1, nullptr, &error), error, "the name of a tensor"));
}

TEST_CASE("C: a clone") {
    espnet_network* clone = nullptr;
    {
        const Opened net("lm");
        REQUIRE(espnet_clone(net, &clone, nullptr) == 0);
    }
    const float* logits = nullptr;
    size_t count = 0;
    const int64_t two = 2;
    CHECK(espnet_step(clone, &two, 1, &logits, &count, nullptr) == 0);
    CHECK(logits[2] == 1);
    espnet_close(clone);
}

TEST_CASE("C: NULL is named, and nothing crashes") {
    const Opened net("seg");
    espnet_error error;
    const PlainPhoto photo(red);
    const espnet_image image = image_of(photo);
    std::vector<std::uint8_t> map(96);
    const espnet_labels labels{map.data(), 8, 12, 0};
    const float* logits = nullptr;
    size_t count = 0;
    espnet_network* other = nullptr;
    CHECK(refused(espnet_open(nullptr, nullptr, &other, &error), error, "path: NULL"));
    CHECK(refused(espnet_open("seg.onnx", nullptr, nullptr, &error), error, "network: NULL"));
    CHECK(refused(espnet_clone(nullptr, &other, &error), error, "network: NULL"));
    CHECK(refused(espnet_clone(net, nullptr, &error), error, "clone: NULL"));
    CHECK(refused(espnet_segment(nullptr, &image, &labels, 1, &error), error, "network: NULL"));
    CHECK(refused(espnet_segment(net, nullptr, &labels, 1, &error), error, "photos: NULL"));
    CHECK(refused(espnet_segment(net, &image, nullptr, 1, &error), error, "labels: NULL"));
    CHECK(refused(espnet_classify(net, &image, 1, nullptr, 3, &count, &error), error, "classes: NULL"));
    CHECK(refused(espnet_detect(net, &image, 1, nullptr, 0, nullptr, &error), error, "found: NULL"));
    const int64_t token = 1;
    CHECK(refused(espnet_step(net, &token, 1, nullptr, &count, &error), error, "logits: NULL"));
    CHECK(refused(espnet_step(net, &token, 1, &logits, nullptr, &error), error, "words: NULL"));
    CHECK(refused(espnet_step(net, nullptr, 1, &logits, &count, &error), error, "tokens: NULL"));
    CHECK(refused(espnet_step(nullptr, &token, 1, &logits, &count, &error), error, "network: NULL"));
    espnet_tensor tensor;
    CHECK(refused(espnet_input(nullptr, 0, &tensor, &error), error, "network: NULL"));
    CHECK(refused(espnet_output(net, 0, nullptr, &error), error, "tensor: NULL"));
    CHECK(refused(espnet_softmax(nullptr, 1, nullptr, &error), error, "logits: NULL"));
    CHECK(refused(espnet_paint_labels(nullptr, &image, &labels, 1, nullptr, &error), error, "rgb: NULL"));
    CHECK(refused(espnet_paint_boxes(nullptr, nullptr, 1, 8, 12, map.data(), &error), error, "boxes: NULL"));
    CHECK(refused(espnet_open_memory("a.onnx", nullptr, 1, nullptr, 0, nullptr, &other, &error), error, "bytes: NULL"));
    CHECK(refused(espnet_reset(nullptr, &error), error, "network: NULL"));
    CHECK(refused(espnet_infer(net, nullptr, 1, nullptr, 0, nullptr, &error), error, "inputs: NULL"));
    CHECK(refused(espnet_infer(net, nullptr, 0, nullptr, 1, nullptr, &error), error, "outputs: NULL"));
    CHECK(refused(espnet_upsample_argmax(nullptr, 1, 1, 1, &labels, &error), error, "logits: NULL"));
    CHECK(espnet_open(nullptr, nullptr, nullptr, nullptr) == 2);
    CHECK(std::string(espnet_task(nullptr)).empty());
    CHECK(std::string(espnet_manifest(nullptr)).empty());
    CHECK(std::string(espnet_backend(nullptr)).empty());
    CHECK(espnet_num_classes(nullptr) == 0);
    CHECK(espnet_class_name(nullptr, 0) == nullptr);
    CHECK(espnet_input_height(nullptr) == 0);
    CHECK(espnet_input_width(nullptr) == 0);
    espnet_close(nullptr);
}

TEST_CASE("C: options of an older and of a newer program") {
    struct Newer {
        espnet_options known;
        int64_t added;
    } options;
    std::memset(&options, 255, sizeof options);
    espnet_init_options(&options.known, sizeof options);
    CHECK(options.known.size == sizeof options);
    CHECK(options.known.cuda_graphs == 1);
    CHECK(options.added == 0);
    espnet_network* net = nullptr;
    espnet_error error;
    const std::string path = fixture("seg");
    CHECK(espnet_open(path.c_str(), &options.known, &net, &error) == 0);
    espnet_close(net);
    options.added = 1;
    CHECK(refused(espnet_open(path.c_str(), &options.known, &net, &error), error, "does not know"));
    CHECK(net == nullptr);

    // What lies behind the smaller options of an older program is not touched.
    options.added = 77;
    espnet_init_options(&options.known, sizeof options.known);
    CHECK(options.added == 77);
    CHECK(espnet_open(path.c_str(), &options.known, &net, &error) == 0);
    espnet_close(net);
    for (const size_t size : {size_t{4}, size_t{1} << 40}) {
        options.known.size = size;
        CHECK(
            refused(espnet_open(path.c_str(), &options.known, &net, &error), error, "begin with espnet_init_options"));
    }
    espnet_init_options(nullptr, sizeof options);
}

TEST_CASE("C: a long message is cut between characters") {
    // Of two bytes each, from an odd and an even place.
    for (const char* start : {"", "x"}) {
        std::string path = start;
        for (int i = 0; i < 600; ++i) {
            path += "\xC3\xA4";
        }
        espnet_network* net = nullptr;
        espnet_error error;
        CHECK(espnet_open(path.c_str(), nullptr, &net, &error) != 0);
        const std::string message = error.message;
        CHECK(message.size() < sizeof error.message);
        CHECK(message.size() >= sizeof error.message - 2);
        CHECK(static_cast<unsigned char>(message.back()) == 0xA4);
    }
}
