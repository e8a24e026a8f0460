#include "backend.hpp"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <thread>

namespace espnet {

namespace {

/// "float32 (1,3,224,224)"; a free size is "batch", as in manifests.
std::string text_of(const TensorInfo& tensor) {
    std::string sizes;
    for (const std::int64_t size : tensor.shape) {
        sizes += (sizes.empty() ? "" : ",") + (size < 0 ? std::string("batch") : std::to_string(size));
    }
    return tensor.name + " " + name_of(tensor.dtype) + " (" + sizes + ")";
}

bool same_sizes(const Shape& left, const Shape& right) {
    // Names of free sizes differ from library to library.
    return std::equal(left.begin(), left.end(), right.begin(), right.end(),
                      [](std::int64_t a, std::int64_t b) { return a == b || (a < 0 && b < 0); });
}

template <typename Text>
std::string joined(const std::vector<const TensorInfo*>& tensors, Text text) {
    std::string list;
    for (const TensorInfo* tensor : tensors) {
        list += (list.empty() ? "" : ", ") + text(*tensor);
    }
    return list;
}

}  // namespace

Shape at_batch(const TensorInfo& tensor, int batch) {
    Shape shape = tensor.shape;
    for (int axis = 0; axis < shape.rank(); ++axis) {
        if (shape[axis] < 0) {
            shape[axis] = batch;
        }
    }
    return shape;
}

int usable_cores() {
    cpu_set_t cores;
    if (sched_getaffinity(0, sizeof cores, &cores) == 0) {
        return CPU_COUNT(&cores);
    }
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

std::string file_name(const std::string& path) {
    return path.substr(path.find_last_of('/') + 1);
}

std::string onnx_beside(const std::string& path) {
    const std::size_t name = path.find_last_of('/') + 1;
    const std::size_t dot = path.find_last_of('.');
    const std::string onnx = (dot == std::string::npos || dot < name ? path : path.substr(0, dot)) + ".onnx";
    if (std::ifstream(onnx).is_open()) {
        return "run the ONNX file beside it: --engine " + onnx;
    }
    return "run the ONNX file that it was built from, espnet-export writes both";
}

std::vector<TensorInfo> agreed_tensors(const std::vector<TensorInfo>* described, const std::vector<TensorInfo>& actual,
                                       const std::string& source) {
    if (described == nullptr) {
        return actual;
    }
    std::vector<const TensorInfo*> left;
    for (const TensorInfo& tensor : actual) {
        left.push_back(&tensor);
    }
    const std::vector<const TensorInfo*> all = left;
    for (const TensorInfo& tensor : *described) {
        const auto found =
            std::find_if(left.begin(), left.end(), [&](const TensorInfo* other) { return other->name == tensor.name; });
        if (found == left.end() || (*found)->dtype != tensor.dtype || !same_sizes((*found)->shape, tensor.shape)) {
            throw Error(ErrorCode::check, source + ": its manifest says " + text_of(tensor) + ", the file has " +
                                              joined(all, text_of) + "; export it again");
        }
        left.erase(found);
    }
    if (!left.empty()) {
        const std::string names = joined(left, [](const TensorInfo& tensor) { return tensor.name; });
        throw Error(ErrorCode::check,
                    source + ": it has " + names + ", which its manifest does not name; export it again");
    }
    return *described;
}

}  // namespace espnet
