#include <espnet/network.hpp>

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "artefact.hpp"
#include "backend.hpp"
#include "plan.hpp"
#include "postprocess.hpp"
#include "preprocess.hpp"
#include "tensor_checks.hpp"
#include "views.hpp"

namespace espnet {

namespace {

/// Made beforehand, for when there is no memory for a text either.
const Error no_memory(ErrorCode::unavailable, "not enough memory; free some, or use a smaller network, image or batch");

[[noreturn]] void out_of_memory(const char* doing) {
    try {
        throw Error(ErrorCode::unavailable, std::string("not enough memory to ") + doing +
                                                "; free some, or use a smaller network, image or batch");
    } catch (const std::bad_alloc&) {
        throw no_memory;  // NOLINT(misc-throw-by-value-catch-by-reference): a copy of it allocates nothing
    }
}

/// `work()`; whatever it throws is an Error.
template <typename Work>
auto guarded(const char* doing, Work work) {
    try {
        return work();
    } catch (const Error&) {
        throw;
    } catch (const std::bad_alloc&) {
        out_of_memory(doing);
    } catch (const std::exception& error) {
        throw Error(ErrorCode::internal, std::string("cannot ") + doing + " (" + error.what() +
                                             "); this is a fault of the library, please report it");
    }
}

bool ends_with(const std::string& text, const std::string& end) {
    return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

/// The backend that `path` needs: engines run in TensorRT, ONNX files in OpenVINO.
///
/// Throws Error (input): another ending, another backend was asked for, or one that there is not.
std::string backend_for(const std::string& path, const std::string& wanted) {
    if (wanted != "auto" && wanted != "openvino" && wanted != "tensorrt") {
        throw Error(ErrorCode::input, "backend '" + wanted + "' is unknown; there are auto, openvino, tensorrt");
    }
    if (ends_with(path, ".trt")) {
        if (wanted == "openvino") {
            throw Error(ErrorCode::input,
                        path + ": a TensorRT engine, openvino runs .onnx files; " + onnx_beside(path));
        }
        return "tensorrt";
    }
    if (!ends_with(path, ".onnx")) {
        throw Error(ErrorCode::input,
                    path + ": a file that ends in .onnx or .trt is needed; make one with espnet-export");
    }
    if (wanted == "tensorrt") {
        throw Error(ErrorCode::input, path + ": tensorrt runs engines (.trt); choose openvino, or name the engine " +
                                          "that was built from it");
    }
    return "openvino";
}

[[noreturn]] void not_built_in(const std::string& path, const std::string& backend) {
    throw Error(ErrorCode::unavailable, path + ": this library was built without " + backend + " (it has " +
                                            backends() + "); build it with -DESPNET_WITH_" +
                                            (backend == "openvino" ? "OPENVINO" : "TENSORRT") + "=ON");
}

std::unique_ptr<Backend> open_backend(const Artefact& artefact, const Options& options) {
    const std::string backend = backend_for(artefact.path, options.backend);
#ifdef ESPNET_WITH_OPENVINO
    if (backend == "openvino") {
        return open_openvino(artefact, options);
    }
#endif
#ifdef ESPNET_WITH_TENSORRT
    if (backend == "tensorrt") {
        return open_tensorrt(artefact, options);
    }
#endif
    not_built_in(artefact.path, backend);
}

NetworkInfo info_of(const Artefact& artefact, const Backend& backend) {
    NetworkInfo info;
    info.smallest_batch = backend.smallest_batch();
    info.largest_batch = backend.largest_batch();
    info.backend = backend.label();
    info.manifest_json = artefact.manifest_json;
    if (!artefact.manifest) {
        return info;
    }
    const Manifest& manifest = *artefact.manifest;
    info.name = manifest.name;
    info.task = name_of(manifest.task);
    info.network = manifest.network;
    info.dataset = manifest.dataset;
    info.num_classes = manifest.num_classes;
    info.classes = manifest.classes;
    info.precision = manifest.precision;
    info.random_weights = manifest.random_weights;
    if (manifest.vocabulary) {
        info.vocabulary = VocabularyInfo{manifest.vocabulary->name, manifest.vocabulary->sha256};
    }
    if (manifest.preprocessing) {
        info.height = manifest.preprocessing->height;
        info.width = manifest.preprocessing->width;
    }
    return info;
}

/// Can label maps and boxes be put back on the whole photo?
void check_answers_fit(const Manifest& manifest, const std::string& path) {
    const bool has_places = manifest.task == Task::segmentation || manifest.task == Task::detection;
    if (has_places && manifest.preprocessing->resize != Resize::stretch) {
        const std::string answer = manifest.task == Task::segmentation ? "a mask" : "a box";
        throw Error(ErrorCode::check,
                    path + ": " + answer + " of a cropped photo cannot be put back on it; export it again");
    }
}

/// A network for pictures takes the picture, and nothing that nobody would feed.
void check_one_input(const std::vector<TensorInfo>& inputs, const Manifest& manifest, const std::string& path) {
    if (inputs.size() != 1) {
        throw Error(ErrorCode::check, path + ": a network for " + name_of(manifest.task) +
                                          " takes one picture, this has " + std::to_string(inputs.size()) +
                                          " inputs; export it again");
    }
}

/// Only the batch may be free: the shapes of all tensors follow from it.
void check_free_sizes(const std::vector<TensorInfo>& tensors, const std::string& path) {
    for (const TensorInfo& tensor : tensors) {
        for (int axis = 0; axis < tensor.shape.rank(); ++axis) {
            if (tensor.shape[axis] < 0 && axis != tensor.batch_axis()) {
                throw Error(ErrorCode::input, path + ": " + tensor.name + " is " + text_of(tensor.dtype, tensor.shape) +
                                                  ", only its batch may be free; export it with fixed sizes");
            }
        }
    }
}

std::size_t index_of(const std::vector<TensorInfo>& tensors, std::string_view name) {
    return static_cast<std::size_t>(
        std::find_if(tensors.begin(), tensors.end(), [&](const TensorInfo& tensor) { return tensor.name == name; }) -
        tensors.begin());
}

}  // namespace

/// What a language model remembers. It is copied in and out, some kilobytes: to bind other memory in every step would
/// make OpenVINO allocate.
struct LanguageState {
    struct Memory {
        std::size_t input = 0;  // their places among the network's tensors
        std::size_t output = 0;
        std::vector<unsigned char> values;
    };
    std::vector<Memory> states;
    std::size_t token = 0;
    std::size_t logits = 0;
    std::size_t texts = 0;  // that are being read; 0: none yet
};

struct Network::Impl {
    std::shared_ptr<const Artefact> artefact;  // its manifest; the bytes are given back
    std::unique_ptr<Backend> backend;
    std::string source;  // name of the file, for messages
    NetworkInfo info;
    std::optional<Preprocessor> preprocessor;
    std::optional<Postprocessor> postprocessor;
    std::optional<LanguageState> language;
    std::vector<ConstTensorView> results;

    Impl(std::shared_ptr<const Artefact> of, std::unique_ptr<Backend> with)
        : artefact(std::move(of)),
          backend(std::move(with)),
          source(file_name(artefact->path)),
          info(info_of(*artefact, *backend)) {
        check_free_sizes(backend->inputs(), artefact->path);
        check_free_sizes(backend->outputs(), artefact->path);
        results.resize(backend->outputs().size());
        if (!artefact->manifest) {
            return;
        }
        const Manifest& manifest = *artefact->manifest;
        if (manifest.task == Task::language_modelling) {
            prepare_language_model();
        } else {
            check_answers_fit(manifest, artefact->path);
            check_one_input(backend->inputs(), manifest, artefact->path);
            preprocessor.emplace(*manifest.preprocessing, backend->inputs().front());
            postprocessor.emplace(manifest);
        }
    }

    /// The network is for `task`, or else the call is wrong.
    void require(bool is_task, const char* call) const {
        if (is_task) {
            return;
        }
        if (!artefact->manifest) {
            throw Error(ErrorCode::input, artefact->path + ": has no manifest, so " + call +
                                              " does not know what to do; call infer, or export it again");
        }
        throw Error(ErrorCode::input, artefact->path + ": is for " + info.task + ", which " + call +
                                          " does not do; call " + call_for(artefact->manifest->task));
    }

    static const char* call_for(Task task) {
        switch (task) {
            case Task::classification:
            case Task::multi_label:
                return "classify";
            case Task::segmentation:
                return "segment";
            case Task::detection:
                return "detect";
            case Task::language_modelling:
                return "step";
        }
        return "infer";
    }

    bool is(Task task) const { return artefact->manifest && artefact->manifest->task == task; }

    /// The batch to compute for so many images or texts: never less than the network takes.
    int batch_for(std::size_t count, const char* what) const {
        if (count == 0) {
            throw Error(ErrorCode::input, std::string("no ") + what + " is given; give one at least");
        }
        if (info.largest_batch > 0 && count > static_cast<std::size_t>(info.largest_batch)) {
            throw Error(ErrorCode::input, std::to_string(count) + " " + what + "s given, " + source + " takes " +
                                              std::to_string(info.largest_batch) +
                                              " at once; give fewer, or export it with --batch");
        }
        if (count > max_batch) {
            throw Error(ErrorCode::input, std::to_string(count) + " " + what + "s given, at most " +
                                              std::to_string(max_batch) + " fit into one batch; give fewer");
        }
        return std::max(static_cast<int>(count), info.smallest_batch);
    }

    /// Pre-process the photos into the backend's input, compute, and keep views of the outputs.
    void run(Span<const ImageView> photos) {
        const int batch = batch_for(photos.size(), "photo");
        for (const ImageView& photo : photos) {
            check_photo(photo);
        }
        const TensorInfo& input = backend->inputs().front();
        auto* place = static_cast<unsigned char*>(backend->host_input(0, at_batch(input, batch)));
        for (int i = 0; i < batch; ++i) {
            unsigned char* destination = place + static_cast<std::size_t>(i) * preprocessor->bytes_per_image();
            if (static_cast<std::size_t>(i) < photos.size()) {
                preprocessor->run(photos[static_cast<std::size_t>(i)], destination);
            } else {
                // A batch that must be larger is filled with copies.
                std::memcpy(destination, destination - preprocessor->bytes_per_image(),
                            preprocessor->bytes_per_image());
            }
        }
        run_to_own_outputs();
    }

    void run_to_own_outputs() {
        for (std::size_t i = 0; i < results.size(); ++i) {
            backend->bind_output(i, nullptr);
        }
        backend->run();
        for (std::size_t i = 0; i < results.size(); ++i) {
            results[i] = backend->output(i);
        }
    }

    void check_same_count(std::size_t photos, std::size_t answers, const char* what) const {
        if (photos != answers) {
            throw Error(ErrorCode::input, std::to_string(photos) + " photos and " + std::to_string(answers) + " " +
                                              what + " given; give one for each photo");
        }
    }

    // Language models. -----------------------------------------------------------------------------------------------

    void prepare_language_model() {
        language.emplace();
        language->token = index_of(backend->inputs(), "token");
        language->logits = index_of(backend->outputs(), "logits");
        const TensorInfo& token = backend->inputs()[language->token];
        if (token.shape.rank() != 1 || (token.dtype != DType::int32 && token.dtype != DType::int64)) {
            throw Error(ErrorCode::check, artefact->path + ": token is " + text_of(token.dtype, token.shape) +
                                              ", int32 or int64 (batch) is needed; export it again");
        }
        for (const StateInfo& state : artefact->manifest->states) {
            LanguageState::Memory memory;
            memory.input = index_of(backend->inputs(), state.input);
            memory.output = index_of(backend->outputs(), state.output);
            language->states.push_back(std::move(memory));
        }
    }

    void begin_texts(int batch) {
        for (LanguageState::Memory& state : language->states) {
            const TensorInfo& tensor = backend->inputs()[state.input];
            const std::size_t bytes = at_batch(tensor, batch).elements() * size_of(tensor.dtype);
            state.values.assign(bytes, 0);
        }
    }

    Span<const float> step(Span<const std::int64_t> tokens) {
        require(is(Task::language_modelling), "step");
        const int batch = batch_for(tokens.size(), "token");
        for (const std::int64_t token : tokens) {
            if (token < 0 || token >= info.num_classes) {
                throw Error(ErrorCode::input, "token " + std::to_string(token) + ": " + source + " knows 0 to " +
                                                  std::to_string(info.num_classes - 1) +
                                                  "; give the number of a word's line in its vocabulary");
            }
        }
        if (language->texts == 0) {
            begin_texts(batch);
        } else if (language->texts != tokens.size()) {
            throw Error(ErrorCode::input, std::to_string(tokens.size()) + " tokens given, " +
                                              std::to_string(language->texts) +
                                              " texts are being read; give a token for each, or call reset first");
        }
        feed(tokens, batch);
        feed_states(batch);
        run_to_own_outputs();
        const Span<const float> logits = checked_logits(tokens.size());
        // Only now: a step that failed has not moved on.
        for (LanguageState::Memory& state : language->states) {
            std::memcpy(state.values.data(), results[state.output].data, state.values.size());
        }
        language->texts = tokens.size();
        return logits;
    }

    void feed(Span<const std::int64_t> tokens, int batch) {
        const TensorInfo& input = backend->inputs()[language->token];
        const Shape shape = at_batch(input, batch);
        void* place = backend->host_input(language->token, shape);
        for (std::size_t i = 0; i < shape.elements(); ++i) {
            const std::size_t row = std::min(i, tokens.size() - 1);
            if (input.dtype == DType::int64) {
                static_cast<std::int64_t*>(place)[i] = tokens[row];
            } else {
                static_cast<std::int32_t*>(place)[i] = static_cast<std::int32_t>(tokens[row]);
            }
        }
    }

    void feed_states(int batch) {
        for (const LanguageState::Memory& state : language->states) {
            const Shape shape = at_batch(backend->inputs()[state.input], batch);
            std::memcpy(backend->host_input(state.input, shape), state.values.data(), state.values.size());
        }
    }

    Span<const float> checked_logits(std::size_t texts) const {
        const ConstTensorView& logits = results[language->logits];
        if (logits.dtype != DType::float32 || logits.shape.rank() != 2 || logits.shape[1] != info.num_classes ||
            logits.shape[0] < static_cast<std::int64_t>(texts)) {
            throw Error(ErrorCode::check, "output 'logits' is " + text_of(logits.dtype, logits.shape) +
                                              ", its manifest has " + std::to_string(info.num_classes) +
                                              " words; export it again");
        }
        const Span<const float> values(logits.as<float>(), texts * static_cast<std::size_t>(info.num_classes));
        if (!all_finite(values)) {
            throw Error(ErrorCode::check,
                        "output 'logits' holds values that are not finite; export with --precision fp32");
        }
        return values;
    }

    // Plain tensors. -------------------------------------------------------------------------------------------------

    /// Check and bind what the caller gives; the batch is the same everywhere.
    void bind(Span<const ConstTensorView> inputs, Span<const TensorView> outputs) {
        const int batch = check_inputs(inputs, backend->inputs(), info, source);
        check_outputs(outputs, backend->outputs(), batch, source);
        for (const ConstTensorView& tensor : inputs) {
            backend->bind_input(index_of(backend->inputs(), tensor.name), tensor);
        }
        for (std::size_t i = 0; i < results.size(); ++i) {
            const auto given = std::find_if(outputs.begin(), outputs.end(), [&](const TensorView& tensor) {
                return tensor.name == backend->outputs()[i].name;
            });
            backend->bind_output(i, given == outputs.end() ? nullptr : given);
        }
    }
};

Network::Network(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
Network::Network(Network&&) noexcept = default;
Network& Network::operator=(Network&&) noexcept = default;
Network::~Network() = default;

Network::Impl& Network::use() const {
    if (!impl_) {
        throw Error(ErrorCode::input, "this Network was moved away; use the one that it was moved to");
    }
    return *impl_;
}

namespace {

/// Load what was verified, and give its bytes back: the backend has its own form of them.
std::pair<std::shared_ptr<const Artefact>, std::unique_ptr<Backend>> loaded(Artefact artefact, const Options& options) {
    if (options.threads < 0) {
        throw Error(ErrorCode::input,
                    "threads " + std::to_string(options.threads) + ": give at least 1, or 0 for one per usable core");
    }
    std::unique_ptr<Backend> backend = open_backend(artefact, options);
    artefact.bytes = {};
    artefact.owner.reset();
    return {std::make_shared<const Artefact>(std::move(artefact)), std::move(backend)};
}

}  // namespace

Network Network::open(const std::string& path, const Options& options) {
    return guarded("load the network", [&] {
        auto [artefact, backend] = loaded(read_artefact(path, options.trust), options);
        return Network(std::make_unique<Impl>(std::move(artefact), std::move(backend)));
    });
}

Network Network::open(const EmbeddedFile& file, const Options& options) {
    return guarded("load the embedded network", [&] {
        auto [artefact, backend] = loaded(read_artefact(file, options.trust), options);
        return Network(std::make_unique<Impl>(std::move(artefact), std::move(backend)));
    });
}

Network Network::clone() const {
    return guarded("clone the network", [&] {
        const Impl& impl = use();
        return Network(std::make_unique<Impl>(impl.artefact, impl.backend->clone()));
    });
}

const NetworkInfo& Network::info() const noexcept {
    static const NetworkInfo none;
    return impl_ ? impl_->info : none;
}

Span<const TensorInfo> Network::inputs() const noexcept {
    return impl_ ? Span<const TensorInfo>(impl_->backend->inputs()) : Span<const TensorInfo>();
}

Span<const TensorInfo> Network::outputs() const noexcept {
    return impl_ ? Span<const TensorInfo>(impl_->backend->outputs()) : Span<const TensorInfo>();
}

Segmentation Network::segment(const ImageView& photo) {
    check_photo(photo);
    return guarded("segment the photo", [&] {
        Segmentation answer;
        answer.height = photo.height;
        answer.width = photo.width;
        answer.labels.resize(static_cast<std::size_t>(photo.height) * static_cast<std::size_t>(photo.width));
        segment(photo, LabelView{answer.labels.data(), photo.height, photo.width, 0});
        return answer;
    });
}

void Network::segment(const ImageView& photo, const LabelView& labels) {
    segment(Span<const ImageView>(&photo, 1), Span<const LabelView>(&labels, 1));
}

void Network::segment(Span<const ImageView> photos, Span<const LabelView> labels) {
    guarded("segment the photos", [&] {
        Impl& impl = use();
        impl.require(impl.is(Task::segmentation), "segment");
        impl.check_same_count(photos.size(), labels.size(), "label maps");
        for (const LabelView& map : labels) {
            check_labels(map);
        }
        impl.run(photos);
        for (std::size_t i = 0; i < photos.size(); ++i) {
            impl.postprocessor->segmentation(impl.results, i, labels[i]);
        }
    });
}

std::vector<ScoredClass> Network::classify(const ImageView& photo) {
    std::vector<ScoredClass> classes;
    classify(Span<const ImageView>(&photo, 1), Span<std::vector<ScoredClass>>(&classes, 1));
    return classes;
}

void Network::classify(Span<const ImageView> photos, Span<std::vector<ScoredClass>> classes) {
    guarded("classify the photos", [&] {
        Impl& impl = use();
        impl.require(impl.is(Task::classification) || impl.is(Task::multi_label), "classify");
        impl.check_same_count(photos.size(), classes.size(), "lists of classes");
        impl.run(photos);
        for (std::size_t i = 0; i < photos.size(); ++i) {
            impl.postprocessor->classification(impl.results, i, classes[i]);
        }
    });
}

std::vector<Box> Network::detect(const ImageView& photo) {
    std::vector<Box> boxes;
    detect(Span<const ImageView>(&photo, 1), Span<std::vector<Box>>(&boxes, 1));
    return boxes;
}

void Network::detect(Span<const ImageView> photos, Span<std::vector<Box>> boxes) {
    guarded("detect in the photos", [&] {
        Impl& impl = use();
        impl.require(impl.is(Task::detection), "detect");
        impl.check_same_count(photos.size(), boxes.size(), "lists of boxes");
        impl.run(photos);
        for (std::size_t i = 0; i < photos.size(); ++i) {
            impl.postprocessor->detection(impl.results, i, photos[i].height, photos[i].width, boxes[i]);
        }
    });
}

Span<const float> Network::step(std::int64_t token) {
    return step(Span<const std::int64_t>(&token, 1));
}

Span<const float> Network::step(std::initializer_list<std::int64_t> tokens) {
    return step(Span<const std::int64_t>(tokens.begin(), tokens.size()));
}

Span<const float> Network::step(Span<const std::int64_t> tokens) {
    return guarded("read the tokens", [&] { return use().step(tokens); });
}

void Network::reset() {
    Impl& impl = use();
    impl.require(impl.is(Task::language_modelling), "reset");
    impl.language->texts = 0;
}

Span<const ConstTensorView> Network::infer(Span<const ConstTensorView> inputs) {
    return guarded("compute", [&] {
        Impl& impl = use();
        impl.bind(inputs, {});
        impl.backend->run();
        for (std::size_t i = 0; i < impl.results.size(); ++i) {
            impl.results[i] = impl.backend->output(i);
        }
        return Span<const ConstTensorView>(impl.results);
    });
}

void Network::infer(Span<const ConstTensorView> inputs, Span<const TensorView> outputs) {
    guarded("compute", [&] {
        Impl& impl = use();
        impl.bind(inputs, outputs);
        impl.backend->run();
    });
}

void Network::infer(Span<const ConstTensorView> inputs, Span<const TensorView> outputs, CudaStream stream) {
    guarded("queue the inference", [&] {
        Impl& impl = use();
        impl.bind(inputs, outputs);
        impl.backend->enqueue(stream);
    });
}

const char* version() noexcept {
    return ESPNET_VERSION;
}

const char* backends() noexcept {
    static const std::string built_in = [] {
        std::string list;
#ifdef ESPNET_WITH_OPENVINO
        list += openvino_version();
#endif
#ifdef ESPNET_WITH_TENSORRT
        list += (list.empty() ? "" : ", ") + tensorrt_version();
#endif
        return list.empty() ? std::string("none") : list;
    }();
    return built_in.c_str();
}

}  // namespace espnet
