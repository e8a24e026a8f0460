// Photos in and answers out behind a C interface, so that tests/runtime/cpp/test_processing.py can compare them with
// the Python package on the same memory. Functions return 0, or the code of the error whose line is in `text`.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <vector>

#include <espnet/error.hpp>
#include <espnet/image.hpp>

#include "nearest.hpp"
#include "postprocess.hpp"
#include "preprocess.hpp"

namespace {

constexpr std::size_t text_bytes = 512;

template <typename Work>
int guarded(char* text, Work work) {
    try {
        work();
        return 0;
    } catch (const espnet::Error& error) {
        std::snprintf(text, text_bytes, "%s", error.what());
        return static_cast<int>(error.code());
    }
}

}  // namespace

extern "C" {

struct TestPhoto {
    const std::uint8_t* data;
    int height;
    int width;
    std::ptrdiff_t row_stride;
    int pixel_stride;
    int bgr;
};

struct TestTensor {
    const char* name;
    int dtype;
    int rank;
    std::int64_t shape[8];
    const void* data;
};

/// The fields of a manifest that answers depend on; `task` and `kind` count as the enumerations do.
struct TestRule {
    int task;
    int kind;
    int num_classes;
    int height;
    int width;
    double score_threshold;
    double iou_threshold;
    int max_per_class;
};
}

namespace {

espnet::ImageView view_of(const TestPhoto& photo) {
    return {photo.data,       photo.height,       photo.width,
            photo.row_stride, photo.pixel_stride, photo.bgr != 0 ? espnet::PixelOrder::bgr : espnet::PixelOrder::rgb};
}

espnet::Manifest manifest_of(const TestRule& rule) {
    espnet::Manifest manifest;
    manifest.task = static_cast<espnet::Task>(rule.task);
    manifest.num_classes = rule.num_classes;
    manifest.preprocessing.emplace();
    manifest.preprocessing->height = rule.height;
    manifest.preprocessing->width = rule.width;
    manifest.postprocessing = {static_cast<espnet::Kind>(rule.kind), rule.score_threshold, rule.iou_threshold,
                               rule.max_per_class};
    return manifest;
}

std::vector<espnet::ConstTensorView> views_of(const TestTensor* tensors, int count) {
    std::vector<espnet::ConstTensorView> views;
    for (const TestTensor* tensor = tensors; tensor != tensors + count; ++tensor) {
        espnet::Shape shape;
        std::for_each(tensor->shape, tensor->shape + tensor->rank, [&](std::int64_t size) { shape.push_back(size); });
        views.push_back({tensor->name, static_cast<espnet::DType>(tensor->dtype), shape, tensor->data});
    }
    return views;
}

}  // namespace

extern "C" {

/// `shorter_side` 0 stretches; `mean_std` is null where the graph normalises, else three means and three deviations.
int test_preprocess(const TestPhoto* photo, int height, int width, int shorter_side, const double* mean_std, void* to,
                    char* text) {
    return guarded(text, [&] {
        espnet::Preprocessing rule;
        rule.height = height;
        rule.width = width;
        rule.scale = 1.0 / 255;
        rule.normalise_in_graph = mean_std == nullptr;
        if (shorter_side != 0) {
            rule.resize = espnet::Resize::shorter_side_crop;
            rule.shorter_side = shorter_side;
        }
        espnet::TensorInfo input{"image", espnet::DType::uint8, {-1, height, width, 3}, "NHWC", ""};
        if (mean_std != nullptr) {
            std::copy_n(mean_std, 3, rule.mean.begin());
            std::copy_n(mean_std + 3, 3, rule.std.begin());
            input = {"image", espnet::DType::float32, {-1, 3, height, width}, "NCHW", ""};
        }
        espnet::Preprocessor(rule, input).run(view_of(*photo), to);
    });
}

void test_nearest(const std::uint8_t* from, int height, int width, std::uint8_t* to, int to_height, int to_width) {
    espnet::Nearest().run({const_cast<std::uint8_t*>(from), height, width, 0}, {to, to_height, to_width, 0});
}

int test_segmentation(const TestRule* rule, const TestTensor* tensors, int count, int image, std::uint8_t* labels,
                      int height, int width, char* text) {
    return guarded(text, [&] {
        const auto views = views_of(tensors, count);
        espnet::Postprocessor(manifest_of(*rule))
            .segmentation(views, static_cast<std::size_t>(image), {labels, height, width, 0});
    });
}

/// Rows of class, score, left, top, right, bottom; `capacity` of them fit, `found` is how many there were.
int test_scored(const TestRule* rule, const TestTensor* tensors, int count, int image, double (*rows)[6], int capacity,
                int* found, char* text) {
    return guarded(text, [&] {
        const auto views = views_of(tensors, count);
        espnet::Postprocessor processor(manifest_of(*rule));
        std::vector<espnet::Box> boxes;
        if (static_cast<espnet::Task>(rule->task) == espnet::Task::detection) {
            processor.detection(views, static_cast<std::size_t>(image), rule->height, rule->width, boxes);
        } else {
            std::vector<espnet::ScoredClass> classes;
            processor.classification(views, static_cast<std::size_t>(image), classes);
            for (const espnet::ScoredClass& scored : classes) {
                boxes.push_back({scored.class_index, scored.score, 0, 0, 0, 0});
            }
        }
        *found = static_cast<int>(boxes.size());
        for (std::size_t i = 0; i < boxes.size() && i < static_cast<std::size_t>(capacity); ++i) {
            const espnet::Box& box = boxes[i];
            const double row[6] = {
                static_cast<double>(box.class_index), box.score, box.left, box.top, box.right, box.bottom};
            std::copy(row, row + 6, rows[i]);
        }
    });
}

int test_paint(const TestPhoto* photo, const std::uint8_t* labels, const std::uint8_t* colours, int count,
               double opacity, std::uint8_t* rgb, char* text) {
    return guarded(text, [&] {
        std::vector<espnet::Colour> palette;
        for (int i = 0; i < count; ++i) {
            palette.push_back({colours[3 * i], colours[3 * i + 1], colours[3 * i + 2]});
        }
        const espnet::LabelView map{const_cast<std::uint8_t*>(labels), photo->height, photo->width, 0};
        espnet::paint_labels(view_of(*photo), map, palette, opacity, rgb);
    });
}

void test_own_colour(int class_index, std::uint8_t* rgb) {
    const espnet::Colour colour = espnet::own_colour(class_index);
    rgb[0] = colour.red;
    rgb[1] = colour.green;
    rgb[2] = colour.blue;
}
}
