#include "tensor_checks.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>

#include <espnet/error.hpp>

#include "texts.hpp"

namespace espnet {

namespace {

template <typename View>
const View* find(Span<View> views, const std::string& name) {
    const auto found = std::find_if(views.begin(), views.end(), [&](const View& view) { return view.name == name; });
    return found == views.end() ? nullptr : found;
}

std::vector<std::string> names_of(const std::vector<TensorInfo>& tensors) {
    std::vector<std::string> names;
    for (const TensorInfo& tensor : tensors) {
        names.push_back(tensor.name);
    }
    return names;
}

/// The given names that `tensors` do not have; of two of one name the second.
template <typename View>
std::vector<std::string> unknown_names(Span<View> given, const std::vector<TensorInfo>& tensors) {
    std::vector<std::string> left = names_of(tensors);
    std::vector<std::string> unknown;
    for (const View& view : given) {
        const auto found = std::find(left.begin(), left.end(), view.name);
        if (found == left.end()) {
            unknown.emplace_back(view.name);
        } else {
            left.erase(found);
        }
    }
    return unknown;
}

template <typename View>
bool has_unknown(Span<View> given, const std::vector<TensorInfo>& tensors) {
    for (const View& view : given) {
        const auto same_name = [&](const auto& other) { return other.name == view.name; };
        if (std::none_of(tensors.begin(), tensors.end(), same_name) ||
            std::count_if(given.begin(), given.end(), same_name) > 1) {
            return true;
        }
    }
    return false;
}

/// Whether `shape` is `described` with any positive numbers in place of free sizes.
bool fits(const Shape& shape, const Shape& described) {
    return std::equal(
        shape.begin(), shape.end(), described.begin(), described.end(),
        [](std::int64_t size, std::int64_t wanted) { return size == wanted || (wanted < 0 && size > 0); });
}

std::string mismatch(DType dtype, const Shape& shape, const TensorInfo& tensor, const std::string& source) {
    Shape any_batch = tensor.shape;
    if (any_batch.rank() > 0) {
        any_batch[tensor.batch_axis()] = -1;
    }
    const bool only_batch = dtype == tensor.dtype && any_batch != tensor.shape && fits(shape, any_batch);
    const char* way_out =
        only_batch ? "export with --batch for other batch sizes" : "prepare it as the manifest says of this input";
    return tensor.name + ": " + text_of(dtype, shape) + " given, " + source + " takes " +
           text_of(tensor.dtype, tensor.shape) + "; " + way_out;
}

void check_pointer(const void* data, DType dtype, const std::string& name) {
    if (data == nullptr) {
        throw Error(ErrorCode::input, name + ": a null pointer was given; give its data");
    }
    if (reinterpret_cast<std::uintptr_t>(data) % size_of(dtype) != 0) {
        throw Error(ErrorCode::input, name + ": its data is not aligned to " + std::to_string(size_of(dtype)) +
                                          " bytes, which " + name_of(dtype) + " needs; move it");
    }
}

/// The one batch that all inputs of a free batch have; the network's own where none is free.
int common_batch(Span<const ConstTensorView> given, const std::vector<TensorInfo>& inputs, const NetworkInfo& info,
                 const std::string& source) {
    std::int64_t batch = info.smallest_batch;
    const TensorInfo* first = nullptr;
    for (const TensorInfo& tensor : inputs) {
        if (tensor.shape.rank() == 0 || tensor.shape[tensor.batch_axis()] >= 0) {
            continue;
        }
        const std::int64_t own = find(given, tensor.name)->shape[tensor.batch_axis()];
        if (first != nullptr && own != batch) {
            throw Error(ErrorCode::input, tensor.name + ": a batch of " + std::to_string(own) + " given, that of " +
                                              first->name + " is " + std::to_string(batch) + "; give equal ones");
        }
        first = first == nullptr ? &tensor : first;
        batch = own;
    }
    const int largest = info.largest_batch > 0 ? info.largest_batch : max_batch;
    if (first != nullptr && (batch < info.smallest_batch || batch > largest)) {
        throw Error(ErrorCode::input, first->name + ": a batch of " + std::to_string(batch) + " given, " + source +
                                          " takes " + std::to_string(info.smallest_batch) + " to " +
                                          std::to_string(largest) + "; export with --batch for other batch sizes");
    }
    return static_cast<int>(batch);
}

}  // namespace

std::string text_of(DType dtype, const Shape& shape) {
    std::string sizes;
    for (const std::int64_t size : shape) {
        sizes += (sizes.empty() ? "" : ",") + (size < 0 ? std::string("batch") : std::to_string(size));
    }
    return std::string(name_of(dtype)) + " (" + sizes + ")";
}

int check_inputs(Span<const ConstTensorView> given, const std::vector<TensorInfo>& inputs, const NetworkInfo& info,
                 const std::string& source) {
    if (has_unknown(given, inputs)) {
        throw Error(ErrorCode::input, joined(unknown_names(given, inputs)) + ": no such input, " + source + " takes " +
                                          joined(names_of(inputs)) + "; rename it");
    }
    std::vector<std::string> missing;
    for (const TensorInfo& tensor : inputs) {
        const ConstTensorView* view = find(given, tensor.name);
        if (view == nullptr) {
            missing.push_back(tensor.name);
            continue;
        }
        if (view->dtype != tensor.dtype || !fits(view->shape, tensor.shape)) {
            throw Error(ErrorCode::input, mismatch(view->dtype, view->shape, tensor, source));
        }
        check_pointer(view->data, view->dtype, tensor.name);
    }
    if (!missing.empty()) {
        throw Error(ErrorCode::input,
                    joined(missing) + ": not given, " + source + " takes " + joined(names_of(inputs)) + "; add it");
    }
    return common_batch(given, inputs, info, source);
}

void check_outputs(Span<const TensorView> given, const std::vector<TensorInfo>& outputs, int batch,
                   const std::string& source) {
    if (has_unknown(given, outputs)) {
        throw Error(ErrorCode::input, joined(unknown_names(given, outputs)) + ": no such output, " + source +
                                          " gives " + joined(names_of(outputs)) + "; rename it");
    }
    for (const TensorInfo& tensor : outputs) {
        const TensorView* view = find(given, tensor.name);
        if (view == nullptr) {
            continue;
        }
        Shape written = tensor.shape;
        for (int axis = 0; axis < written.rank(); ++axis) {
            written[axis] = written[axis] < 0 ? batch : written[axis];
        }
        if (view->dtype != tensor.dtype || view->shape != written) {
            throw Error(ErrorCode::input, tensor.name + ": " + text_of(view->dtype, view->shape) + " given, " + source +
                                              " writes " + text_of(tensor.dtype, written));
        }
        check_pointer(view->data, view->dtype, tensor.name);
    }
}

bool all_finite(Span<const float> values) noexcept {
    // Infinities and NaN have all bits of the exponent set. Without branches, so that it is computed many at a time.
    constexpr std::uint32_t exponent = 0x7F800000;
    std::uint32_t found = 0;
    for (const float& value : values) {
        std::uint32_t bits = 0;
        std::memcpy(&bits, &value, sizeof bits);
        found |= static_cast<std::uint32_t>((bits & exponent) == exponent);
    }
    return found == 0;
}

}  // namespace espnet
