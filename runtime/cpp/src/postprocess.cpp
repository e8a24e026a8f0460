#include "postprocess.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <tuple>

#include <espnet/error.hpp>
#include <espnet/network.hpp>

#include "argmax.hpp"
#include "boxes.hpp"
#include "half.hpp"
#include "nearest.hpp"
#include "tensor_checks.hpp"
#include "texts.hpp"
#include "upsample.hpp"
#include "views.hpp"

namespace espnet {

namespace {

constexpr std::size_t ranks = 5;
constexpr int background = 0;

/// As Python prints it: "(1, 5)", "(5,)".
std::string tuple_text(const Shape& shape) {
    std::vector<std::string> sizes;
    for (const std::int64_t size : shape) {
        sizes.push_back(std::to_string(size));
    }
    return "(" + joined(sizes) + (shape.rank() == 1 ? ",)" : ")");
}

const ConstTensorView* find(Span<const ConstTensorView> outputs, std::string_view name) {
    const auto found =
        std::find_if(outputs.begin(), outputs.end(), [&](const ConstTensorView& view) { return view.name == name; });
    return found == outputs.end() ? nullptr : found;
}

[[noreturn]] void no_output(Span<const ConstTensorView> outputs, std::string_view name) {
    std::vector<std::string> names;
    for (const ConstTensorView& view : outputs) {
        names.emplace_back(view.name);
    }
    std::sort(names.begin(), names.end());
    throw Error(ErrorCode::check,
                "the network has no output '" + std::string(name) + "', only " + joined(names) + "; export it again");
}

/// The output `name` of so many dimensions, of a batch that has the image.
const ConstTensorView& output(Span<const ConstTensorView> outputs, std::string_view name, int rank, std::size_t image) {
    const ConstTensorView* found = find(outputs, name);
    if (found == nullptr) {
        no_output(outputs, name);
    }
    if (found->shape.rank() != rank) {
        throw Error(ErrorCode::check, "output '" + std::string(name) + "' has shape " + tuple_text(found->shape) +
                                          ", not " + std::to_string(rank) + " dimensions; export it again");
    }
    if (static_cast<std::int64_t>(image) >= found->shape[0]) {
        throw Error(ErrorCode::check, "output '" + std::string(name) + "' has " + std::to_string(found->shape[0]) +
                                          " images, not image " + std::to_string(image) + "; export it again");
    }
    return *found;
}

/// Values of one image of a batch.
std::size_t values_per_image(const ConstTensorView& tensor) {
    return tensor.shape.elements() / static_cast<std::size_t>(tensor.shape[0]);
}

/// The name of the output with a value for each class.
const char* of_all_classes(Span<const ConstTensorView> outputs) {
    return find(outputs, "probabilities") != nullptr ? "probabilities" : "logits";
}

[[noreturn]] void classes_out_of_range(std::int64_t lowest, std::int64_t highest, int limit) {
    throw Error(ErrorCode::check, "the network answered classes " + std::to_string(lowest) + " to " +
                                      std::to_string(highest) + ", its manifest has 0 to " + std::to_string(limit - 1));
}

template <typename T>
void check_classes(const T* classes, std::size_t count, int limit) {
    if (count == 0) {
        return;
    }
    // A minimum and a maximum: std::minmax_element has branches, which keep compilers from vectors.
    T lowest = *classes;
    T highest = *classes;
    for (std::size_t i = 1; i < count; ++i) {
        lowest = std::min(lowest, classes[i]);
        highest = std::max(highest, classes[i]);
    }
    if (static_cast<std::int64_t>(lowest) < 0 || static_cast<std::int64_t>(highest) >= limit) {
        classes_out_of_range(lowest, highest, limit);
    }
}

/// `work(pointer)` for the integers of one image, whatever their type.
template <typename Work>
void with_integers(const ConstTensorView& tensor, std::size_t image, Work work) {
    const std::size_t first = image * values_per_image(tensor);
    switch (tensor.dtype) {
        case DType::uint8:
            return work(tensor.as<std::uint8_t>() + first);
        case DType::int32:
            return work(tensor.as<std::int32_t>() + first);
        case DType::int64:
            return work(tensor.as<std::int64_t>() + first);
        case DType::float32:
        case DType::float16:
            break;
    }
    throw Error(ErrorCode::check, "output '" + std::string(tensor.name) + "' is " +
                                      text_of(tensor.dtype, tensor.shape) + ", not whole numbers; export it again");
}

float sigmoid(float logit) {
    // The same as 1 / (1 + exp(-x)), whose exponential could overflow.
    return static_cast<float>(0.5 + 0.5 * std::tanh(0.5 * static_cast<double>(logit)));
}

/// A box that stays after the suppression.
struct Found {
    float score;
    int label;
    std::size_t box;
};

}  // namespace

struct Postprocessor::Impl {
    Task task;
    Postprocessing rule;
    int num_classes;
    int height = 0;  // of the network's input
    int width = 0;
    std::vector<PriorBox> priors;

    // Scratch.
    Upsampler upsampler;
    Nearest nearest;
    std::vector<std::uint8_t> labels;
    std::vector<float> values;
    std::vector<float> scores;
    std::vector<std::size_t> order;
    std::vector<Corners> corners;
    std::vector<Found> found;
    Suppressor suppressor;

    explicit Impl(const Manifest& manifest)
        : task(manifest.task), rule(manifest.postprocessing), num_classes(manifest.num_classes) {
        if (manifest.preprocessing) {
            height = manifest.preprocessing->height;
            width = manifest.preprocessing->width;
        }
        if (rule.kind == Kind::decode_nms) {
            priors = prior_boxes_in_pixels(height, width);
        }
        if (task == Task::detection && (!rule.score_threshold || !rule.iou_threshold || !rule.max_per_class)) {
            throw Error(ErrorCode::check, std::string("the manifest says ") + name_of(rule.kind) +
                                              ", but not all of its thresholds; export the network again");
        }
    }

    /// One image's values as float32, which are checked to be finite.
    Span<const float> floats(const ConstTensorView& tensor, std::size_t image, std::vector<float>& scratch) const {
        const std::size_t count = values_per_image(tensor);
        Span<const float> found;
        if (tensor.dtype == DType::float32) {
            found = {tensor.as<float>() + image * count, count};
        } else if (tensor.dtype == DType::float16) {
            scratch.resize(count);
            from_half(tensor.as<std::uint16_t>() + image * count, count, scratch.data());
            found = {scratch.data(), count};
        } else {
            throw Error(ErrorCode::check, "output '" + std::string(tensor.name) + "' is " +
                                              text_of(tensor.dtype, tensor.shape) +
                                              ", not real numbers; export it again");
        }
        if (!all_finite(found)) {
            throw Error(ErrorCode::check, "output '" + std::string(tensor.name) +
                                              "' holds values that are not finite; export with --precision fp32");
        }
        return found;
    }

    // Segmentation. --------------------------------------------------------------------------------------------------

    int label_limit() const { return std::min(num_classes, max_label_classes); }

    /// Let `write(bytes)` write a packed label map of this size straight to the caller, or to be resized.
    template <typename Write>
    void give_labels(int map_height, int map_width, const LabelView& to, Write write) {
        if (to.height == map_height && to.width == map_width && stride_of(to) == map_width) {
            write(to.data);
            return;
        }
        labels.resize(static_cast<std::size_t>(map_height) * static_cast<std::size_t>(map_width));
        write(labels.data());
        nearest.run({labels.data(), map_height, map_width}, to);
    }

    void given_labels(Span<const ConstTensorView> outputs, std::size_t image, const LabelView& to) {
        const ConstTensorView& tensor = output(outputs, "labels", 3, image);
        const std::size_t pixels = values_per_image(tensor);
        with_integers(tensor, image, [&](const auto* classes) {
            check_classes(classes, pixels, label_limit());
            give_labels(static_cast<int>(tensor.shape[1]), static_cast<int>(tensor.shape[2]), to,
                        [&](std::uint8_t* map) {
                            std::transform(classes, classes + pixels, map,
                                           [](auto label) { return static_cast<std::uint8_t>(label); });
                        });
        });
    }

    void best_labels(Span<const ConstTensorView> outputs, std::size_t image, const LabelView& to) {
        const ConstTensorView& tensor = output(outputs, of_all_classes(outputs), 4, image);
        const Span<const float> logits = floats(tensor, image, values);
        const std::size_t classes = channels_of(tensor);
        const std::size_t pixels = logits.size() / classes;
        give_labels(static_cast<int>(tensor.shape[2]), static_cast<int>(tensor.shape[3]), to, [&](std::uint8_t* map) {
            argmax(logits.data(), classes, pixels, map);
            check_winners(map, pixels, classes);
        });
    }

    void upsampled_labels(Span<const ConstTensorView> outputs, std::size_t image, const LabelView& to) {
        const ConstTensorView& tensor = output(outputs, "logits", 4, image);
        const int from_height = static_cast<int>(tensor.shape[2]);
        const int from_width = static_cast<int>(tensor.shape[3]);
        if (from_height > height || from_width > width) {
            throw Error(ErrorCode::check, "logits of " + size_text(from_height, from_width) +
                                              " are larger than the image of " + size_text(height, width) +
                                              "; export it again");
        }
        const Span<const float> logits = floats(tensor, image, values);
        const std::size_t classes = channels_of(tensor);
        give_labels(height, width, to, [&](std::uint8_t* map) {
            upsampler.run(logits.data(), static_cast<int>(classes), from_height, from_width, {map, height, width});
            check_winners(map, static_cast<std::size_t>(height) * static_cast<std::size_t>(width), classes);
        });
    }

    /// Only channels that the manifest does not have can give what is out of range.
    void check_winners(const std::uint8_t* map, std::size_t pixels, std::size_t classes) const {
        if (classes > static_cast<std::size_t>(label_limit())) {
            check_classes(map, pixels, label_limit());
        }
    }

    /// Classes of (N, classes, H, W); more than a label map of bytes can tell are refused. Of more than the manifest
    /// has, none of the others may win.
    std::size_t channels_of(const ConstTensorView& tensor) const {
        if (tensor.shape[1] < 1 || tensor.shape[1] > max_label_classes) {
            throw Error(ErrorCode::check, "output '" + std::string(tensor.name) + "' has " +
                                              std::to_string(tensor.shape[1]) + " classes, a label map holds 1 to " +
                                              std::to_string(max_label_classes) + "; export it again");
        }
        return static_cast<std::size_t>(tensor.shape[1]);
    }

    // Classification. ------------------------------------------------------------------------------------------------

    void top5(Span<const ConstTensorView> outputs, std::size_t image, std::vector<ScoredClass>& classes) {
        const ConstTensorView& tensor = output(outputs, "classes", 2, image);
        const ConstTensorView& of_scores = output(outputs, "scores", 2, image);
        const Span<const float> given = floats(of_scores, image, scores);
        if (of_scores.shape != tensor.shape) {
            throw Error(ErrorCode::check, "classes of shape " + tuple_text(tensor.shape) + " with scores of " +
                                              tuple_text(of_scores.shape) + "; export it again");
        }
        with_integers(tensor, image, [&](const auto* numbers) {
            check_classes(numbers, given.size(), num_classes);
            for (std::size_t i = 0; i < given.size(); ++i) {
                classes.push_back({static_cast<int>(numbers[i]), given[i]});
            }
        });
    }

    void ranked(Span<const ConstTensorView> outputs, std::size_t image, std::vector<ScoredClass>& classes) {
        const char* name = of_all_classes(outputs);
        const Span<const float> given = floats(output(outputs, name, 2, image), image, values);
        // Ranked before the softmax, whose rounding could make ties of its own.
        best_first(given, std::min(ranks, given.size()));
        Span<const float> probabilities = given;
        if (std::strcmp(name, "logits") == 0) {
            scores.resize(given.size());
            softmax(given, scores.data());
            probabilities = {scores.data(), scores.size()};
        }
        for (std::size_t i = 0; i < std::min(ranks, given.size()); ++i) {
            if (static_cast<int>(order[i]) >= num_classes) {
                classes_out_of_range(0, static_cast<std::int64_t>(given.size()) - 1, num_classes);
            }
            classes.push_back({static_cast<int>(order[i]), probabilities[order[i]]});
        }
    }

    /// The first `count` of `order`: indices of the highest values, the lower index on a tie.
    void best_first(Span<const float> of, std::size_t count) {
        order.resize(of.size());
        for (std::size_t i = 0; i < order.size(); ++i) {
            order[i] = i;
        }
        std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count), order.end(),
                          [&](std::size_t left, std::size_t right) {
                              return of[left] != of[right] ? of[left] > of[right] : left < right;
                          });
    }

    void present(Span<const ConstTensorView> outputs, std::size_t image, std::vector<ScoredClass>& classes) {
        const bool are_logits = rule.kind == Kind::sigmoid_threshold;
        Span<const float> given = floats(output(outputs, are_logits ? "logits" : "scores", 2, image), image, values);
        if (given.size() != static_cast<std::size_t>(num_classes)) {
            throw Error(ErrorCode::check, "the network scored " + std::to_string(given.size()) +
                                              " classes, its manifest has " + std::to_string(num_classes) +
                                              "; export it again");
        }
        if (are_logits) {
            scores.resize(given.size());
            std::transform(given.begin(), given.end(), scores.begin(), sigmoid);
            given = {scores.data(), scores.size()};
        }
        best_first(given, given.size());
        const auto threshold = static_cast<float>(*rule.score_threshold);
        for (const std::size_t index : order) {
            if (given[index] > threshold) {
                classes.push_back({static_cast<int>(index), given[index]});
            }
        }
    }

    // Detection. -----------------------------------------------------------------------------------------------------

    /// Scores of all boxes and classes of an image, (boxes, classes), and `corners`.
    Span<const float> boxes_and_scores(Span<const ConstTensorView> outputs, std::size_t image) {
        return rule.kind == Kind::decode_nms ? decode(outputs, image) : take_boxes(outputs, image);
    }

    Span<const float> take_boxes(Span<const ConstTensorView> outputs, std::size_t image) {
        const ConstTensorView& of_boxes = output(outputs, "boxes", 3, image);
        const ConstTensorView& of_scores = output(outputs, "scores", 3, image);
        const Span<const float> edges = floats(of_boxes, image, values);
        const Span<const float> given = floats(of_scores, image, scores);
        check_detection_shapes(of_boxes.shape, of_scores.shape);
        corners.resize(edges.size() / 4);
        for (std::size_t i = 0; i < corners.size(); ++i) {
            corners[i] = {edges[4 * i], edges[4 * i + 1], edges[4 * i + 2], edges[4 * i + 3]};
        }
        return given;
    }

    Span<const float> decode(Span<const ConstTensorView> outputs, std::size_t image) {
        const ConstTensorView& of_confidences = output(outputs, "confidences", 3, image);
        const ConstTensorView& of_locations = output(outputs, "locations", 3, image);
        const Span<const float> confidences = floats(of_confidences, image, values);
        const auto classes = static_cast<std::size_t>(of_confidences.shape[2]);
        scores.resize(confidences.size());
        for (std::size_t first = 0; first < confidences.size(); first += classes) {
            softmax({confidences.data() + first, classes}, scores.data() + first);
        }
        if (of_locations.shape[1] != static_cast<std::int64_t>(priors.size()) || of_locations.shape[2] != 4) {
            throw Error(ErrorCode::check, "output 'locations' has shape " + tuple_text(of_locations.shape) + ", not (" +
                                              std::to_string(priors.size()) + ", 4) for each image");
        }
        check_detection_shapes(of_locations.shape, of_confidences.shape);
        const Span<const float> locations = floats(of_locations, image, values);
        corners.resize(priors.size());
        for (std::size_t i = 0; i < priors.size(); ++i) {
            corners[i] = decoded(locations.data() + 4 * i, priors[i]);
        }
        // Corners is four floats.
        if (!all_finite({&corners.front().left, corners.size() * 4})) {
            throw Error(ErrorCode::check,
                        "output 'locations' gives boxes without end; the weights cannot be right: export again");
        }
        return {scores.data(), scores.size()};
    }

    void check_detection_shapes(const Shape& of_boxes, const Shape& of_scores) const {
        const bool fit = of_boxes[0] == of_scores[0] && of_boxes[1] == of_scores[1] && of_boxes[2] == 4;
        if (!fit || of_scores[2] != num_classes) {
            throw Error(ErrorCode::check, "boxes of shape " + tuple_text(of_boxes) + " with scores of " +
                                              tuple_text(of_scores) + ", its manifest has " +
                                              std::to_string(num_classes) + " classes; export it again");
        }
    }

    void detect(Span<const ConstTensorView> outputs, std::size_t image, double along, double down,
                std::vector<Box>& boxes) {
        const Span<const float> given = boxes_and_scores(outputs, image);
        const auto classes = static_cast<std::size_t>(num_classes);
        const auto threshold = static_cast<float>(*rule.score_threshold);
        found.clear();
        for (int label = background + 1; label < num_classes; ++label) {
            const auto score_of = [&](std::size_t box) {
                return given[box * classes + static_cast<std::size_t>(label)];
            };
            order.clear();
            for (std::size_t box = 0; box < corners.size(); ++box) {
                if (score_of(box) > threshold) {
                    order.push_back(box);
                }
            }
            for (const std::size_t box :
                 suppressor.run(corners, order, score_of, static_cast<float>(*rule.iou_threshold),
                                static_cast<std::size_t>(*rule.max_per_class))) {
                found.push_back({score_of(box), label, box});
            }
        }
        // All fields decide, for std::stable_sort allocates: equal scores stay in the order of classes and boxes.
        std::sort(found.begin(), found.end(), [](const Found& left, const Found& right) {
            return std::tuple(-left.score, left.label, left.box) < std::tuple(-right.score, right.label, right.box);
        });
        for (const Found& one : found) {
            const Corners& edges = corners[one.box];
            boxes.push_back({one.label, one.score, static_cast<double>(edges.left) * along,
                             static_cast<double>(edges.top) * down, static_cast<double>(edges.right) * along,
                             static_cast<double>(edges.bottom) * down});
        }
    }
};

Postprocessor::Postprocessor(const Manifest& manifest) : impl_(std::make_unique<Impl>(manifest)) {}
Postprocessor::~Postprocessor() = default;
Postprocessor::Postprocessor(Postprocessor&&) noexcept = default;

void Postprocessor::segmentation(Span<const ConstTensorView> outputs, std::size_t image, const LabelView& labels) {
    switch (impl_->rule.kind) {
        case Kind::labels:
            return impl_->given_labels(outputs, image, labels);
        case Kind::argmax:
            return impl_->best_labels(outputs, image, labels);
        case Kind::upsample_argmax:
            return impl_->upsampled_labels(outputs, image, labels);
        default:
            throw Error(ErrorCode::check, std::string("a segmentation network with postprocessing ") +
                                              name_of(impl_->rule.kind) + "; export it again");
    }
}

void Postprocessor::classification(Span<const ConstTensorView> outputs, std::size_t image,
                                   std::vector<ScoredClass>& classes) {
    classes.clear();
    switch (impl_->rule.kind) {
        case Kind::top5:
            return impl_->top5(outputs, image, classes);
        case Kind::softmax_top5:
        case Kind::rank_top5:
            return impl_->ranked(outputs, image, classes);
        case Kind::threshold:
        case Kind::sigmoid_threshold:
            return impl_->present(outputs, image, classes);
        default:
            throw Error(ErrorCode::check, std::string("a classifier with postprocessing ") + name_of(impl_->rule.kind) +
                                              "; export it again");
    }
}

void Postprocessor::detection(Span<const ConstTensorView> outputs, std::size_t image, int photo_height, int photo_width,
                              std::vector<Box>& boxes) {
    boxes.clear();
    impl_->detect(outputs, image, static_cast<double>(photo_width) / impl_->width,
                  static_cast<double>(photo_height) / impl_->height, boxes);
}

}  // namespace espnet
