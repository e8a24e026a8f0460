#include <algorithm>
#include <limits>
#include <tuple>
#include <vector>

#include <doctest/doctest.h>

#include <espnet/error.hpp>

#include "postprocess.hpp"

namespace {

espnet::Manifest manifest_of(espnet::Task task, espnet::Kind kind, int num_classes, int height, int width) {
    espnet::Manifest manifest;
    manifest.task = task;
    manifest.num_classes = num_classes;
    manifest.preprocessing.emplace();
    manifest.preprocessing->height = height;
    manifest.preprocessing->width = width;
    manifest.postprocessing = {kind, 0.25, 0.5, 10};
    return manifest;
}

std::vector<espnet::ConstTensorView> view_of(const char* name, const espnet::Shape& shape,
                                             const std::vector<float>& values) {
    return {{name, espnet::DType::float32, shape, values.data()}};
}

}  // namespace

TEST_CASE("the lowest class wins a tie of logits") {
    const std::vector<float> logits{1, 2, 1, 3};
    const auto outputs = view_of("logits", {1, 2, 1, 2}, logits);
    std::vector<std::uint8_t> labels(2);
    espnet::Postprocessor(manifest_of(espnet::Task::segmentation, espnet::Kind::argmax, 2, 1, 2))
        .segmentation(outputs, 0, {labels.data(), 1, 2});
    CHECK(labels == std::vector<std::uint8_t>{0, 1});
}

TEST_CASE("logits that are not finite are refused") {
    const std::vector<float> logits{1, std::numeric_limits<float>::quiet_NaN()};
    const auto outputs = view_of("logits", {1, 2, 1, 1}, logits);
    std::vector<std::uint8_t> labels(1);
    espnet::Postprocessor processor(manifest_of(espnet::Task::segmentation, espnet::Kind::argmax, 2, 1, 1));
    CHECK_THROWS_WITH_AS(processor.segmentation(outputs, 0, {labels.data(), 1, 1}),
                         "output 'logits' holds values that are not finite; export with --precision fp32",
                         espnet::Error);
}

TEST_CASE("classes are ranked, the lower first on a tie, and a vector is overwritten") {
    const std::vector<float> logits{0, 5, 5};
    const auto outputs = view_of("logits", {1, 3}, logits);
    std::vector<espnet::ScoredClass> classes(9);
    espnet::Postprocessor(manifest_of(espnet::Task::classification, espnet::Kind::softmax_top5, 3, 1, 1))
        .classification(outputs, 0, classes);
    REQUIRE(classes.size() == 3);
    CHECK(classes[0].class_index == 1);
    CHECK(classes[1].class_index == 2);
    CHECK(classes[0].score == classes[1].score);
}

TEST_CASE("of two boxes on one another the better stays, in pixels of the photo") {
    const std::vector<float> corners{0, 0, 4, 4, 0, 0, 4, 5};
    const std::vector<float> scores{0.1F, 0.6F, 0.1F, 0.9F};
    std::vector<espnet::ConstTensorView> outputs = view_of("boxes", {1, 2, 4}, corners);
    outputs.push_back(view_of("scores", {1, 2, 2}, scores).front());
    std::vector<espnet::Box> boxes;
    espnet::Postprocessor(manifest_of(espnet::Task::detection, espnet::Kind::nms, 2, 8, 8))
        .detection(outputs, 0, 16, 8, boxes);
    REQUIRE(boxes.size() == 1);
    CHECK(boxes[0].class_index == 1);
    CHECK(boxes[0].score == 0.9F);
    CHECK(boxes[0].right == 4);
    CHECK(boxes[0].bottom == 10);
}

TEST_CASE("channels beyond the manifest's classes are let pass unless one of them wins") {
    std::vector<float> logits{1, 2, 0};
    const auto outputs = view_of("logits", {1, 3, 1, 1}, logits);
    std::vector<std::uint8_t> labels(1);
    for (const espnet::Kind kind : {espnet::Kind::argmax, espnet::Kind::upsample_argmax}) {
        espnet::Postprocessor processor(manifest_of(espnet::Task::segmentation, kind, 2, 1, 1));
        logits[2] = 0;
        processor.segmentation(outputs, 0, {labels.data(), 1, 1});
        CHECK(labels[0] == 1);
        logits[2] = 3;
        CHECK_THROWS_WITH_AS(processor.segmentation(outputs, 0, {labels.data(), 1, 1}),
                             "the network answered classes 2 to 2, its manifest has 0 to 1", espnet::Error);
    }
}

TEST_CASE("a label map goes into rows that lie apart") {
    const std::vector<float> logits{1, 2, 2, 1};
    const auto outputs = view_of("logits", {1, 2, 2, 1}, logits);
    std::vector<std::uint8_t> labels(4, 9);
    for (const espnet::Kind kind : {espnet::Kind::argmax, espnet::Kind::upsample_argmax}) {
        espnet::Postprocessor(manifest_of(espnet::Task::segmentation, kind, 2, 2, 1))
            .segmentation(outputs, 0, {labels.data(), 2, 1, 2});
        CHECK(labels == std::vector<std::uint8_t>{1, 9, 0, 9});
    }
}

TEST_CASE("thousands of boxes come the best first, equal scores by class and place") {
    constexpr int count = 3000;
    std::vector<float> corners;
    std::vector<float> scores;
    for (int i = 0; i < count; ++i) {
        const auto left = static_cast<float>(2 * i);
        corners.insert(corners.end(), {left, 0, left + 1, 1});
        scores.insert(scores.end(), {0, i % 2 == 0 ? 0.5F : 0.75F, 0.5F});
    }
    std::vector<espnet::ConstTensorView> outputs = view_of("boxes", {1, count, 4}, corners);
    outputs.push_back(view_of("scores", {1, count, 3}, scores).front());
    espnet::Manifest manifest = manifest_of(espnet::Task::detection, espnet::Kind::nms, 3, 8, 8);
    manifest.postprocessing.max_per_class = count;
    std::vector<espnet::Box> boxes;
    espnet::Postprocessor(manifest).detection(outputs, 0, 8, 8, boxes);
    REQUIRE(boxes.size() == 2 * count);
    CHECK(std::is_sorted(boxes.begin(), boxes.end(), [](const espnet::Box& one, const espnet::Box& other) {
        return std::tuple(-one.score, one.class_index, one.left) <
               std::tuple(-other.score, other.class_index, other.left);
    }));
}
