#include <espnet/espnet.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <exception>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include <espnet/espnet.hpp>

struct espnet_network {
    explicit espnet_network(espnet::Network opened) : network(std::move(opened)) {
        for (const espnet::ClassInfo& one : network.info().classes) {
            colours.push_back(one.colour.value_or(espnet::own_colour(static_cast<int>(colours.size()))));
        }
    }

    espnet::Network network;
    std::vector<espnet::Colour> colours;  // by class
    // Kept from call to call, so that a call allocates nothing.
    std::vector<espnet::ImageView> photos;
    std::vector<espnet::LabelView> labels;
    std::vector<std::vector<espnet::ScoredClass>> classes;
    std::vector<std::vector<espnet::Box>> boxes;
    std::vector<espnet::ConstTensorView> inputs;
    std::vector<espnet::TensorView> outputs;
};

namespace {

using espnet::Error;
using espnet::ErrorCode;

/// Copy as much of `message` as fits, without half of a character at its end.
void write_message(const char* message, char* to, std::size_t capacity) noexcept {
    std::size_t length = std::strlen(message);
    if (length >= capacity) {
        length = capacity - 1;
        while (length > 0 && (static_cast<unsigned char>(message[length]) & 0xC0U) == 0x80U) {
            --length;
        }
    }
    std::memcpy(to, message, length);
    to[length] = '\0';
}

int failed(ErrorCode code, const char* message, espnet_error* error) noexcept {
    if (error != nullptr) {
        error->code = static_cast<int>(code);
        write_message(message, error->message, sizeof error->message);
    }
    return static_cast<int>(code);
}

/// `work()`; what it throws becomes a code and a text.
template <typename Work>
int guarded(espnet_error* error, Work work) noexcept {
    try {
        work();
        if (error != nullptr) {
            error->code = 0;
            error->message[0] = '\0';
        }
        return 0;
    } catch (const Error& thrown) {
        return failed(thrown.code(), thrown.what(), error);
    } catch (const std::bad_alloc&) {
        return failed(ErrorCode::unavailable, "not enough memory; free some, or use a smaller network or batch", error);
    } catch (const std::exception& thrown) {
        return failed(ErrorCode::internal, thrown.what(), error);
    } catch (...) {
        return failed(ErrorCode::internal, "an unknown exception; this is a fault of the library", error);
    }
}

template <typename T>
T& required(T* pointer, const char* name) {
    if (pointer == nullptr) {
        throw Error(ErrorCode::input, std::string(name) + ": NULL was given; give a pointer");
    }
    return *pointer;
}

template <typename T>
void require_array(const T* pointer, std::size_t count, const char* name) {
    if (count > 0) {
        required(pointer, name);
    }
}

// Options of the first version end here; later members stand behind.
constexpr std::size_t smallest_options = offsetof(espnet_options, cuda_graphs) + sizeof(int);
constexpr std::size_t largest_options = 1024;  // more was never initialised

/// What `given`, of this version, an older or a newer one, says of the members that there are here.
espnet_options known_options(const espnet_options& given) {
    if (given.size < smallest_options || given.size > largest_options) {
        throw Error(ErrorCode::input, "options.size is " + std::to_string(given.size) +
                                          "; begin with espnet_init_options(&options, sizeof options)");
    }
    espnet_options known;
    espnet_init_options(&known, sizeof known);
    const std::size_t common = std::min(given.size, sizeof known);
    const auto* bytes = reinterpret_cast<const unsigned char*>(&given);
    if (std::any_of(bytes + common, bytes + given.size, [](unsigned char byte) { return byte != 0; })) {
        throw Error(ErrorCode::input, std::string("options has members set that version ") + espnet::version() +
                                          " of this library does not know; leave them 0, or take a newer library");
    }
    std::memcpy(&known, &given, common);
    return known;
}

espnet::Options options_of(const espnet_options* given) {
    espnet::Options options;
    if (given == nullptr) {
        return options;
    }
    const espnet_options known = known_options(*given);
    options.backend = known.backend == nullptr ? "auto" : known.backend;
    options.threads = known.threads;
    options.trust = known.trust != 0;
    options.device = known.device;
    options.cuda_graphs = known.cuda_graphs != 0;
    return options;
}

espnet::ImageView view_of(const espnet_image& image) {
    return {image.data,         image.height,
            image.width,        image.row_stride,
            image.pixel_stride, image.is_bgr != 0 ? espnet::PixelOrder::bgr : espnet::PixelOrder::rgb};
}

espnet::LabelView view_of(const espnet_labels& labels) {
    return {labels.data, labels.height, labels.width, labels.row_stride};
}

espnet::DType dtype_of(espnet_dtype dtype, const char* name) {
    switch (dtype) {
        case ESPNET_FLOAT32:
            return espnet::DType::float32;
        case ESPNET_FLOAT16:
            return espnet::DType::float16;
        case ESPNET_UINT8:
            return espnet::DType::uint8;
        case ESPNET_INT32:
            return espnet::DType::int32;
        case ESPNET_INT64:
            return espnet::DType::int64;
    }
    throw Error(ErrorCode::input, std::string(name) + ": dtype " + std::to_string(static_cast<int>(dtype)) +
                                      " is unknown; there are 0 to 4");
}

espnet_dtype dtype_of(espnet::DType dtype) {
    switch (dtype) {
        case espnet::DType::float32:
            return ESPNET_FLOAT32;
        case espnet::DType::float16:
            return ESPNET_FLOAT16;
        case espnet::DType::uint8:
            return ESPNET_UINT8;
        case espnet::DType::int32:
            return ESPNET_INT32;
        case espnet::DType::int64:
            return ESPNET_INT64;
    }
    throw Error(ErrorCode::internal, "a tensor of an unknown dtype; this is a fault of the library");
}

espnet::Shape shape_of(const espnet_tensor& tensor) {
    if (tensor.rank < 0 || tensor.rank > espnet::Shape::max_rank) {
        throw Error(ErrorCode::input, std::string(tensor.name) + ": rank " + std::to_string(tensor.rank) +
                                          ", tensors have 0 to " + std::to_string(espnet::Shape::max_rank));
    }
    espnet::Shape shape;
    for (int axis = 0; axis < tensor.rank; ++axis) {
        shape.push_back(tensor.shape[axis]);
    }
    return shape;
}

template <typename View>
View view_of(const espnet_tensor& tensor) {
    required(tensor.name, "the name of a tensor");
    return {tensor.name, dtype_of(tensor.dtype, tensor.name), shape_of(tensor), tensor.data,
            tensor.on_device != 0 ? espnet::Memory::device : espnet::Memory::host};
}

void set_shape(espnet_tensor& tensor, const espnet::Shape& shape) {
    tensor.rank = shape.rank();
    std::copy(shape.begin(), shape.end(), tensor.shape);
}

/// Let `tensor` be what the network has computed.
void fill(espnet_tensor& tensor, const espnet::ConstTensorView& result) {
    tensor.dtype = dtype_of(result.dtype);
    set_shape(tensor, result.shape);
    tensor.data = const_cast<void*>(result.data);
    tensor.on_device = result.memory == espnet::Memory::device ? 1 : 0;
}

/// Let `tensor` be the one at `index` of those that the network describes.
void describe(espnet::Span<const espnet::TensorInfo> tensors, size_t index, espnet_tensor& tensor) {
    if (index >= tensors.size()) {
        throw Error(ErrorCode::input, "tensor " + std::to_string(index) + ": the network has " +
                                          std::to_string(tensors.size()) + ", counted from 0; give a smaller index");
    }
    tensor = {};
    tensor.name = tensors[index].name.c_str();
    tensor.dtype = dtype_of(tensors[index].dtype);
    set_shape(tensor, tensors[index].shape);
}

std::size_t index_of_output(const espnet::Network& network, const char* name) {
    const auto outputs = network.outputs();
    const auto found = std::find_if(outputs.begin(), outputs.end(), [&](const auto& one) { return one.name == name; });
    if (found != outputs.end()) {
        return static_cast<std::size_t>(found - outputs.begin());
    }
    std::string names;
    for (const espnet::TensorInfo& output : outputs) {
        names += (names.empty() ? "" : ", ") + output.name;
    }
    throw Error(ErrorCode::input, std::string(name) + ": no such output, the network gives " + names + "; rename it");
}

void infer_to_own(espnet_network& network, espnet_tensor* outputs, std::size_t num_outputs) {
    for (std::size_t i = 0; i < num_outputs; ++i) {
        index_of_output(network.network, outputs[i].name);
    }
    const auto results = network.network.infer(network.inputs);
    for (std::size_t i = 0; i < num_outputs; ++i) {
        fill(outputs[i], results[index_of_output(network.network, outputs[i].name)]);
    }
}

void infer(espnet_network& network, const espnet_tensor* inputs, std::size_t num_inputs, espnet_tensor* outputs,
           std::size_t num_outputs, void* cuda_stream) {
    network.inputs.clear();
    for (std::size_t i = 0; i < num_inputs; ++i) {
        network.inputs.push_back(view_of<espnet::ConstTensorView>(inputs[i]));
    }
    std::size_t own = 0;
    for (std::size_t i = 0; i < num_outputs; ++i) {
        required(outputs[i].name, "the name of a tensor");
        own += outputs[i].data == nullptr ? 1 : 0;
    }
    if (own > 0 && own < num_outputs) {
        throw Error(ErrorCode::input, "some outputs have data and some have NULL; give data for all, or for none");
    }
    if (own == num_outputs && cuda_stream == nullptr) {
        infer_to_own(network, outputs, num_outputs);
        return;
    }
    network.outputs.clear();
    for (std::size_t i = 0; i < num_outputs; ++i) {
        network.outputs.push_back(view_of<espnet::TensorView>(outputs[i]));
    }
    if (cuda_stream == nullptr) {
        network.network.infer(network.inputs, network.outputs);
    } else {
        network.network.infer(network.inputs, network.outputs, espnet::CudaStream{cuda_stream});
    }
}

espnet_class plain(const espnet::ScoredClass& scored) {
    return {scored.class_index, scored.score};
}

espnet_box plain(const espnet::Box& box) {
    return {box.class_index, box.score, box.left, box.top, box.right, box.bottom};
}

espnet::Span<const espnet::ImageView> views_of(espnet_network& network, const espnet_image* photos, size_t count) {
    require_array(photos, count, "photos");
    network.photos.clear();
    for (size_t i = 0; i < count; ++i) {
        network.photos.push_back(view_of(photos[i]));
    }
    return network.photos;
}

/// Copy as many answers for each photo as fit, and say how many there are.
template <typename From, typename To>
void give(const std::vector<std::vector<From>>& answers, To* to, size_t capacity, size_t* found) {
    for (std::size_t i = 0; i < answers.size(); ++i) {
        found[i] = answers[i].size();
        const std::size_t fitting = std::min(capacity, answers[i].size());
        for (std::size_t place = 0; place < fitting; ++place) {
            to[i * capacity + place] = plain(answers[i][place]);
        }
    }
}

/// Before anything can fail: nobody reads answers that are not there.
void set_none(size_t* found, size_t count) {
    require_array(found, count, "found");
    std::fill_n(found, count, size_t{0});
}

espnet::Span<const espnet::Colour> colours_of(const espnet_network* network) {
    return network == nullptr ? espnet::Span<const espnet::Colour>() : network->colours;
}

/// Of a network that may be NULL.
const espnet::NetworkInfo& info_of(const espnet_network* network) noexcept {
    static const espnet::NetworkInfo none{};
    return network == nullptr ? none : network->network.info();
}

void write(espnet::Colour colour, uint8_t* rgb) {
    rgb[0] = colour.red;
    rgb[1] = colour.green;
    rgb[2] = colour.blue;
}

}  // namespace

extern "C" {

void espnet_init_options(espnet_options* options, size_t size) {
    if (options == nullptr || size < smallest_options) {
        return;
    }
    const espnet_options defaults{size, nullptr, 0, 0, 0, 1};
    std::memset(options, 0, size);
    std::memcpy(options, &defaults, std::min(size, sizeof defaults));
}

const char* espnet_version(void) {
    return espnet::version();
}

const char* espnet_backends(void) {
    return espnet::backends();
}

int espnet_open(const char* path, const espnet_options* options, espnet_network** network, espnet_error* error) {
    return guarded(error, [&] {
        required(network, "network") = nullptr;
        required(path, "path");
        *network = new espnet_network(espnet::Network::open(path, options_of(options)));
    });
}

int espnet_open_memory(const char* name, const void* bytes, size_t size, const char* manifest, size_t manifest_size,
                       const espnet_options* options, espnet_network** network, espnet_error* error) {
    return guarded(error, [&] {
        required(network, "network") = nullptr;
        required(name, "name");
        require_array(static_cast<const uint8_t*>(bytes), size, "bytes");
        require_array(manifest, manifest_size, "manifest");
        const espnet::EmbeddedFile file{name, {static_cast<const uint8_t*>(bytes), size}, {manifest, manifest_size}};
        *network = new espnet_network(espnet::Network::open(file, options_of(options)));
    });
}

int espnet_clone(const espnet_network* network, espnet_network** clone, espnet_error* error) {
    return guarded(error, [&] {
        required(clone, "clone") = nullptr;
        *clone = new espnet_network(required(network, "network").network.clone());
    });
}

void espnet_close(espnet_network* network) {
    delete network;
}

const char* espnet_name(const espnet_network* network) {
    return info_of(network).name.c_str();
}

const char* espnet_task(const espnet_network* network) {
    return info_of(network).task.c_str();
}

const char* espnet_network_name(const espnet_network* network) {
    return info_of(network).network.c_str();
}

const char* espnet_dataset(const espnet_network* network) {
    return info_of(network).dataset.c_str();
}

const char* espnet_precision(const espnet_network* network) {
    return info_of(network).precision.c_str();
}

const char* espnet_manifest(const espnet_network* network) {
    return info_of(network).manifest_json.c_str();
}

const char* espnet_backend(const espnet_network* network) {
    return info_of(network).backend.c_str();
}

int espnet_random_weights(const espnet_network* network) {
    return info_of(network).random_weights ? 1 : 0;
}

int espnet_input_height(const espnet_network* network) {
    return info_of(network).height;
}

int espnet_input_width(const espnet_network* network) {
    return info_of(network).width;
}

int espnet_smallest_batch(const espnet_network* network) {
    return network == nullptr ? 0 : info_of(network).smallest_batch;
}

int espnet_largest_batch(const espnet_network* network) {
    return network == nullptr ? 0 : info_of(network).largest_batch;
}

int espnet_num_classes(const espnet_network* network) {
    return info_of(network).num_classes;
}

const char* espnet_class_name(const espnet_network* network, int class_index) {
    const auto& classes = info_of(network).classes;
    // A negative index becomes one that is beyond them.
    const auto index = static_cast<std::size_t>(class_index);
    return index < classes.size() ? classes[index].name.c_str() : nullptr;
}

void espnet_class_colour(const espnet_network* network, int class_index, uint8_t rgb[3]) {
    const auto colours = colours_of(network);
    const auto index = static_cast<std::size_t>(class_index);
    write(index < colours.size() ? colours[index] : espnet::own_colour(class_index), rgb);
}

void espnet_own_colour(int class_index, uint8_t rgb[3]) {
    write(espnet::own_colour(class_index), rgb);
}

size_t espnet_num_inputs(const espnet_network* network) {
    return network == nullptr ? 0 : network->network.inputs().size();
}

size_t espnet_num_outputs(const espnet_network* network) {
    return network == nullptr ? 0 : network->network.outputs().size();
}

int espnet_input(const espnet_network* network, size_t index, espnet_tensor* tensor, espnet_error* error) {
    return guarded(error,
                   [&] { describe(required(network, "network").network.inputs(), index, required(tensor, "tensor")); });
}

int espnet_output(const espnet_network* network, size_t index, espnet_tensor* tensor, espnet_error* error) {
    return guarded(
        error, [&] { describe(required(network, "network").network.outputs(), index, required(tensor, "tensor")); });
}

int espnet_segment(espnet_network* network, const espnet_image* photos, const espnet_labels* labels, size_t count,
                   espnet_error* error) {
    return guarded(error, [&] {
        espnet_network& net = required(network, "network");
        const auto views = views_of(net, photos, count);
        require_array(labels, count, "labels");
        net.labels.clear();
        for (size_t i = 0; i < count; ++i) {
            net.labels.push_back(view_of(labels[i]));
        }
        net.network.segment(views, espnet::Span<const espnet::LabelView>(net.labels));
    });
}

int espnet_classify(espnet_network* network, const espnet_image* photos, size_t count, espnet_class* classes,
                    size_t capacity, size_t* found, espnet_error* error) {
    return guarded(error, [&] {
        set_none(found, count);
        espnet_network& net = required(network, "network");
        require_array(classes, count * capacity, "classes");
        net.classes.resize(count);
        net.network.classify(views_of(net, photos, count), espnet::Span<std::vector<espnet::ScoredClass>>(net.classes));
        give(net.classes, classes, capacity, found);
    });
}

int espnet_detect(espnet_network* network, const espnet_image* photos, size_t count, espnet_box* boxes, size_t capacity,
                  size_t* found, espnet_error* error) {
    return guarded(error, [&] {
        set_none(found, count);
        espnet_network& net = required(network, "network");
        require_array(boxes, count * capacity, "boxes");
        net.boxes.resize(count);
        net.network.detect(views_of(net, photos, count), espnet::Span<std::vector<espnet::Box>>(net.boxes));
        give(net.boxes, boxes, capacity, found);
    });
}

int espnet_step(espnet_network* network, const int64_t* tokens, size_t count, const float** logits, size_t* words,
                espnet_error* error) {
    return guarded(error, [&] {
        required(logits, "logits") = nullptr;
        required(words, "words") = 0;
        require_array(tokens, count, "tokens");
        const auto found = required(network, "network").network.step(espnet::Span<const int64_t>(tokens, count));
        *logits = found.data();
        *words = found.size() / count;
    });
}

int espnet_reset(espnet_network* network, espnet_error* error) {
    return guarded(error, [&] { required(network, "network").network.reset(); });
}

int espnet_infer(espnet_network* network, const espnet_tensor* inputs, size_t num_inputs, espnet_tensor* outputs,
                 size_t num_outputs, void* cuda_stream, espnet_error* error) {
    return guarded(error, [&] {
        require_array(inputs, num_inputs, "inputs");
        require_array(outputs, num_outputs, "outputs");
        infer(required(network, "network"), inputs, num_inputs, outputs, num_outputs, cuda_stream);
    });
}

int espnet_softmax(const float* logits, size_t count, float* probabilities, espnet_error* error) {
    return guarded(error, [&] {
        require_array(logits, count, "logits");
        require_array(probabilities, count, "probabilities");
        espnet::softmax({logits, count}, probabilities);
    });
}

int espnet_paint_labels(const espnet_network* network, const espnet_image* photo, const espnet_labels* labels,
                        double opacity, uint8_t* rgb, espnet_error* error) {
    return guarded(error, [&] {
        const espnet::ImageView below = view_of(required(photo, "photo"));
        const espnet::LabelView above = view_of(required(labels, "labels"));
        required(rgb, "rgb");
        espnet::paint_labels(below, above, colours_of(network), opacity, rgb);
    });
}

int espnet_paint_boxes(const espnet_network* network, const espnet_box* boxes, size_t count, int height, int width,
                       uint8_t* rgb, espnet_error* error) {
    return guarded(error, [&] {
        require_array(boxes, count, "boxes");
        required(rgb, "rgb");
        std::vector<espnet::Box> given;
        for (size_t i = 0; i < count; ++i) {
            const espnet_box& box = boxes[i];
            given.push_back({box.class_index, box.score, box.left, box.top, box.right, box.bottom});
        }
        espnet::paint_boxes(given, colours_of(network), height, width, rgb);
    });
}

int espnet_upsample_argmax(const float* logits, int classes, int height, int width, const espnet_labels* labels,
                           espnet_error* error) {
    return guarded(error, [&] {
        required(logits, "logits");
        espnet::upsample_argmax(logits, classes, height, width, view_of(required(labels, "labels")));
    });
}

}  // extern "C"
