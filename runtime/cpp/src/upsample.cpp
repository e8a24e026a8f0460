#include "upsample.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include <espnet/error.hpp>

#include "texts.hpp"
#include "views.hpp"

namespace espnet {

namespace {

constexpr int lanes = 8;

using Floats = float __attribute__((vector_size(32)));
using Ints = int __attribute__((vector_size(32)));
using Bytes = std::uint8_t __attribute__((vector_size(8)));

/// A row of logits of all classes, blended, and how its pixels are spread.
struct Row {
    const float* values;  // classes x pitch
    int pitch;
    int classes;
    int width;  // of the output
    const int* behind;
    const int* before;
    const float* share;
};

// Vectors are handed over by reference: how they are passed by value depends on the processor.
ESPNET_INLINE void load(const float* from, Floats& to) {
    std::memcpy(&to, from, sizeof to);
}

/// {a0, a0, a1, a1, ...} of the lower and of the upper half.
ESPNET_INLINE void double_lanes(const Floats& from, Floats& lower, Floats& upper) {
#if defined(__clang__)
    lower = __builtin_shufflevector(from, from, 0, 0, 1, 1, 2, 2, 3, 3);
    upper = __builtin_shufflevector(from, from, 4, 4, 5, 5, 6, 6, 7, 7);
#else
    lower = __builtin_shuffle(from, Ints{0, 0, 1, 1, 2, 2, 3, 3});
    upper = __builtin_shuffle(from, Ints{4, 4, 5, 5, 6, 6, 7, 7});
#endif
}

ESPNET_INLINE void keep_better(const Floats& value, int label, Floats& best, Ints& labels) {
    const Ints better = value > best;  // not on a tie: the lowest class stays
    best = better ? value : best;
    labels = better ? Ints{} + label : labels;
}

ESPNET_INLINE void store(const Ints& labels, std::uint8_t* to) {
    const Bytes bytes = __builtin_convertvector(labels, Bytes);
    std::memcpy(to, &bytes, sizeof bytes);
}

ESPNET_INLINE std::uint8_t label_of_pixel(const Row& row, int column) {
    const int behind = row.behind[column];
    const int before = row.before[column];
    const float share = row.share[column];
    float best = 0;
    int label = 0;
    for (int i = 0; i < row.classes; ++i) {
        const float* values = row.values + static_cast<std::ptrdiff_t>(i) * row.pitch;
        const float value = values[behind] + share * (values[before] - values[behind]);
        if (i == 0 || value > best) {
            best = value;
            label = i;
        }
    }
    return static_cast<std::uint8_t>(label);
}

/// The labels of a row whose outputs 2k+1 and 2k+2 lie between inputs k and k+1, sixteen at a time.
ESPNET_INLINE void doubled_row(const Row& row, std::uint8_t* labels) {
    labels[0] = label_of_pixel(row, 0);
    int column = 1;
    for (int k = 0; column + 2 * lanes <= row.width && k + lanes < row.pitch; k += lanes, column += 2 * lanes) {
        Floats lower_share;
        Floats upper_share;
        load(row.share + column, lower_share);
        load(row.share + column + lanes, upper_share);
        Floats lower_best;
        Floats upper_best;
        Ints lower_labels = {};
        Ints upper_labels = {};
        for (int i = 0; i < row.classes; ++i) {
            const float* values = row.values + static_cast<std::ptrdiff_t>(i) * row.pitch + k;
            Floats behind;
            Floats before;
            load(values, behind);
            load(values + 1, before);
            Floats lower;
            Floats upper;
            Floats lower_step;
            Floats upper_step;
            double_lanes(behind, lower, upper);
            double_lanes(before - behind, lower_step, upper_step);
            lower = lower + lower_share * lower_step;
            upper = upper + upper_share * upper_step;
            if (i == 0) {
                lower_best = lower;
                upper_best = upper;
            } else {
                keep_better(lower, i, lower_best, lower_labels);
                keep_better(upper, i, upper_best, upper_labels);
            }
        }
        store(lower_labels, labels + column);
        store(upper_labels, labels + column + lanes);
    }
    for (; column < row.width; ++column) {
        labels[column] = label_of_pixel(row, column);
    }
}

ESPNET_INLINE void any_row(const Row& row, std::uint8_t* labels) {
    for (int column = 0; column < row.width; ++column) {
        labels[column] = label_of_pixel(row, column);
    }
}

/// a + t (b - a), for a row of each class; the value behind the last is the last again.
ESPNET_INLINE void blend(const float* behind, const float* before, float share, int width, float* to) {
    for (int i = 0; i < width; ++i) {
        to[i] = behind[i] + share * (before[i] - behind[i]);
    }
    to[width] = to[width - 1];
}

ESPNET_FOR_AVX2 void doubled_row_avx2(const Row& row, std::uint8_t* labels) {
    doubled_row(row, labels);
}

void doubled_row_any(const Row& row, std::uint8_t* labels) {
    doubled_row(row, labels);
}

void any_row_any(const Row& row, std::uint8_t* labels) {
    any_row(row, labels);
}

ESPNET_FOR_AVX2 void blend_avx2(const float* behind, const float* before, float share, int width, float* to) {
    blend(behind, before, share, width, to);
}

void blend_any(const float* behind, const float* before, float share, int width, float* to) {
    blend(behind, before, share, width, to);
}

}  // namespace

void Upsampler::Axis::plan(int from_size, int to_size) {
    if (from == from_size && to == to_size) {
        return;
    }
    from = to = 0;  // no plan, should memory run out before there is a new one
    const auto count = static_cast<std::size_t>(to_size);
    behind.resize(count);
    before.resize(count);
    share.resize(count);
    doubles = true;
    for (int i = 0; i < to_size; ++i) {
        const double position =
            to_size == 1 ? 0.0 : static_cast<double>(static_cast<std::int64_t>(i) * (from_size - 1)) / (to_size - 1);
        const int floor = std::min(static_cast<int>(position), from_size - 1);
        behind[static_cast<std::size_t>(i)] = floor;
        before[static_cast<std::size_t>(i)] = std::min(floor + 1, from_size - 1);
        share[static_cast<std::size_t>(i)] = static_cast<float>(position - floor);
        doubles = doubles && (i == 0 || floor == (i - 1) / 2);
    }
    from = from_size;
    to = to_size;
}

void Upsampler::run(const float* logits, int classes, int height, int width, const LabelView& labels) {
    down_.plan(height, labels.height);
    across_.plan(width, labels.width);
    const int pitch = width + 1;
    row_.resize(static_cast<std::size_t>(classes) * static_cast<std::size_t>(pitch));
    const Row row{row_.data(),         pitch, classes, labels.width, across_.behind.data(), across_.before.data(),
                  across_.share.data()};
    const auto blend_row = avx2_ ? blend_avx2 : blend_any;
    const auto label_row = !across_.doubles ? any_row_any : avx2_ ? doubled_row_avx2 : doubled_row_any;
    const std::ptrdiff_t plane = static_cast<std::ptrdiff_t>(height) * width;
    for (int i = 0; i < labels.height; ++i) {
        const auto index = static_cast<std::size_t>(i);
        for (int c = 0; c < classes; ++c) {
            const float* of_class = logits + c * plane;
            blend_row(of_class + static_cast<std::ptrdiff_t>(down_.behind[index]) * width,
                      of_class + static_cast<std::ptrdiff_t>(down_.before[index]) * width, down_.share[index], width,
                      row_.data() + static_cast<std::ptrdiff_t>(c) * pitch);
        }
        label_row(row, labels.data + i * stride_of(labels));
    }
}

void upsample_argmax(const float* logits, int classes, int height, int width, const LabelView& labels) {
    check_labels(labels);
    if (classes < 1 || classes > max_label_classes) {
        throw Error(ErrorCode::input, std::to_string(classes) + " classes; a label map of bytes holds 1 to " +
                                          std::to_string(max_label_classes) + ", give logits of so many");
    }
    if (height < 1 || width < 1 || height > labels.height || width > labels.width) {
        throw Error(ErrorCode::input, "logits of " + size_text(height, width) + " for labels of " +
                                          size_text(labels.height, labels.width) +
                                          "; give labels as large as the logits or larger");
    }
    if (logits == nullptr) {
        throw Error(ErrorCode::input, "logits at a null pointer; give their data");
    }
    thread_local Upsampler upsampler;  // keeps its memory for the next call
    upsampler.run(logits, classes, height, width, labels);
}

}  // namespace espnet
