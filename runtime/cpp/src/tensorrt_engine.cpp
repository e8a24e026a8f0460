#include "tensorrt_engine.hpp"

#include <algorithm>
#include <utility>

#include <espnet/error.hpp>

#include "backend.hpp"
#include "printable.hpp"
#include "tensorrt_cuda.hpp"

namespace espnet {

namespace {

constexpr int first_profile = 0;  // the only one that is used

thread_local Listener* listener_of_thread = nullptr;

/// What the process has for TensorRT, which keeps the first one it is given: the listener of the thread hears it.
class Logger final : public nvinfer1::ILogger {
public:
    void log(Severity severity, const char* message) noexcept override {
        try {
            if (Listener* const listener = Listener::current()) {
                listener->hear(severity, message == nullptr ? "" : message);
            }
        } catch (...) {
            // No memory for words, or the caller's function throws: TensorRT lets nothing through, and that a call
            // failed is told by what it returns.
        }
    }
};

/// Never destroyed: TensorRT may log as long as the process lives.
Logger& logger() {
    static auto* const only = new Logger;
    return *only;
}

/// Why TensorRT did what this thread has just seen.
std::string words() {
    const Listener* const listener = Listener::current();
    return listener == nullptr || listener->errors().empty() ? "it gave no reason" : listener->errors();
}

std::string built_by(const std::optional<Manifest>& manifest) {
    if (!manifest || !manifest->engine) {
        return "";
    }
    const EngineInfo& made = *manifest->engine;
    std::string where = made.device.value_or("");
    if (where.empty()) {
        for (const std::string& capability : made.compute_capabilities) {
            where += (where.empty() ? "compute capability " : ", compute capability ") + capability;
        }
    }
    return "; it was built by " + made.builder + " " + made.builder_version + " for " +
           (where.empty() ? "the default of the builder" : where);
}

/// Throws Error (input): a tensor that this program does not feed.
void check_tensor(const nvinfer1::ICudaEngine& engine, const char* name, const std::string& source) {
    if (engine.getTensorLocation(name) != nvinfer1::TensorLocation::kDEVICE) {
        throw Error(ErrorCode::input, source + ": " + name +
                                          " holds a shape and is read on the host, which this runner does not feed; " +
                                          "build the engine without it");
    }
    if (engine.getTensorFormat(name) != nvinfer1::TensorFormat::kLINEAR) {
        throw Error(ErrorCode::input, source + ": " + name + " has a vectorised layout (" +
                                          one_line(engine.getTensorFormatDesc(name)) +
                                          "); build the engine with linear inputs and outputs");
    }
}

Shape known_shape(const nvinfer1::Dims& dims, const char* name, const std::string& source) {
    if (const std::optional<Shape> shape = shape_of(dims)) {
        return *shape;
    }
    throw Error(ErrorCode::input,
                source + ": the number of dimensions of " + name + " is not known; build the engine with a known one");
}

/// What the engine alone says of a tensor.
TensorInfo bare_tensor(const nvinfer1::ICudaEngine& engine, const char* name, const std::string& source) {
    const nvinfer1::DataType type = engine.getTensorDataType(name);
    const std::optional<DType> dtype = dtype_of(type);
    if (!dtype) {
        throw Error(ErrorCode::input, source + ": " + name + " has type " + name_of(type) +
                                          ", which this program does not feed or read; " +
                                          "export it with espnet-export");
    }
    return {name, *dtype, known_shape(engine.getTensorShape(name), name, source), "unknown", "unknown"};
}

bool is_fixed(const Shape& shape) {
    return std::all_of(shape.begin(), shape.end(), [](std::int64_t size) { return size >= 0; });
}

EngineTensor own_input(const nvinfer1::ICudaEngine& engine, const TensorInfo& tensor, const std::string& source) {
    EngineTensor own{tensor.name, tensor.dtype, tensor.shape, tensor.shape, tensor.shape};
    if (!is_fixed(tensor.shape)) {
        const auto of_profile = [&](nvinfer1::OptProfileSelector which) {
            return known_shape(engine.getProfileShape(tensor.name.c_str(), first_profile, which), tensor.name.c_str(),
                               source);
        };
        own.smallest = of_profile(nvinfer1::OptProfileSelector::kMIN);
        own.best = of_profile(nvinfer1::OptProfileSelector::kOPT);
        own.largest = of_profile(nvinfer1::OptProfileSelector::kMAX);
    }
    return own;
}

/// The engine's `own` tensors as the manifest describes them, which may say int64 where the engine has int32.
///
/// Throws Error (check): they differ in anything else.
std::vector<TensorInfo> described(const std::vector<TensorInfo>& own, const std::vector<TensorInfo>* manifest,
                                  const std::string& source) {
    std::vector<TensorInfo> widened = own;
    for (TensorInfo& tensor : widened) {
        const bool is_wide =
            manifest != nullptr && std::any_of(manifest->begin(), manifest->end(), [&](const auto& other) {
                return other.name == tensor.name && other.dtype == DType::int64;
            });
        if (is_wide && tensor.dtype == DType::int32) {
            tensor.dtype = DType::int64;
        }
    }
    return agreed_tensors(manifest, widened, source);
}

/// `own` in the order of `tensors`.
std::vector<TensorInfo> in_order_of(const std::vector<TensorInfo>& tensors, const std::vector<TensorInfo>& own) {
    std::vector<TensorInfo> ordered;
    for (const TensorInfo& tensor : tensors) {
        ordered.push_back(
            *std::find_if(own.begin(), own.end(), [&](const TensorInfo& other) { return other.name == tensor.name; }));
    }
    return ordered;
}

}  // namespace

Listener::Listener(const OnWarning& on_warning) noexcept : on_warning_(on_warning), outer_(listener_of_thread) {
    listener_of_thread = this;
}

Listener::~Listener() {
    listener_of_thread = outer_;
}

Listener* Listener::current() noexcept {
    return listener_of_thread;
}

void Listener::hear(nvinfer1::ILogger::Severity severity, const char* message) {
    if (severity > nvinfer1::ILogger::Severity::kWARNING) {
        return;
    }
    const std::string line = one_line(message);
    if (severity < nvinfer1::ILogger::Severity::kWARNING) {
        errors_ += (errors_.empty() ? "" : "; ") + line;
    } else if (on_warning_) {
        on_warning_(line);
    }
}

LoadedEngine::LoadedEngine(const std::string& path, const Options& options, const std::string& gpu)
    : source(file_name(path)),
      device_name(gpu),
      device(options.device),
      cuda_graphs(options.cuda_graphs),
      on_warning(options.on_warning) {}

// Delegates, so that the destructor gives back on the right device what was made before an error.
LoadedEngine::LoadedEngine(const Artefact& artefact, const Options& options, const std::string& gpu)
    : LoadedEngine(artefact.path, options, gpu) {
    const DeviceGuard guard(device);
    const Listener listener(on_warning);
    deserialise(artefact);
    describe(artefact.manifest ? &*artefact.manifest : nullptr);
}

LoadedEngine::~LoadedEngine() {
    const DeviceGuard guard(device, std::nothrow);
    engine_.reset();
    runtime_.reset();
}

void LoadedEngine::deserialise(const Artefact& artefact) {
    runtime_.reset(nvinfer1::createInferRuntime(logger()));
    // Version 11 gives an object around nothing where CUDA does not start; a call on it would end the process.
    if (runtime_ == nullptr || !Listener::current()->errors().empty()) {
        throw Error(ErrorCode::unavailable,
                    library_label() + " does not start: " + words() + "; espnet-doctor says what this machine lacks");
    }
    forbid_host_code(*runtime_);
    engine_.reset(runtime_->deserializeCudaEngine(artefact.bytes.data(), artefact.bytes.size()));
    if (engine_ == nullptr) {
        throw Error(ErrorCode::input,
                    artefact.path + ": " + library_label() + " on " + device_name + " cannot load it (" + words() +
                        ")" + built_by(artefact.manifest) +
                        "; engines fit only the version and the kind of GPU that they were built for: build it again "
                        "here with espnet-export");
    }
}

void LoadedEngine::describe(const Manifest* manifest) {
    std::vector<TensorInfo> found_inputs;
    std::vector<TensorInfo> found_outputs;
    const int tensors = engine_->getNbIOTensors();
    for (int i = 0; i < tensors; ++i) {
        check_tensor(*engine_, engine_->getIOTensorName(i), source);
    }
    for (int i = 0; i < tensors; ++i) {
        const char* name = engine_->getIOTensorName(i);
        const bool is_input = engine_->getTensorIOMode(name) == nvinfer1::TensorIOMode::kINPUT;
        (is_input ? found_inputs : found_outputs).push_back(bare_tensor(*engine_, name, source));
    }
    inputs = described(found_inputs, manifest ? &manifest->inputs : nullptr, source);
    outputs = described(found_outputs, manifest ? &manifest->outputs : nullptr, source);
    for (const TensorInfo& tensor : in_order_of(inputs, found_inputs)) {
        own_inputs.push_back(own_input(*engine_, tensor, source));
    }
    for (const TensorInfo& tensor : in_order_of(outputs, found_outputs)) {
        own_outputs.push_back({tensor.name, tensor.dtype, tensor.shape, tensor.shape, tensor.shape});
    }
}

std::unique_ptr<nvinfer1::IExecutionContext> LoadedEngine::new_context() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::unique_ptr<nvinfer1::IExecutionContext> context(engine_->createExecutionContext());
    if (context == nullptr) {
        const auto [free, total] = memory_info();
        throw Error(ErrorCode::unavailable, source + ": " + library_label() + " made no execution context (" + words() +
                                                "); " + std::to_string(free) + " of " + std::to_string(total) +
                                                " bytes of GPU memory are free; lower the batch, or end " +
                                                "other programs that use the GPU");
    }
    return context;
}

void LoadedEngine::refused(const std::string& what) const {
    // TensorRT says only that CUDA failed; CUDA says how.
    const cudaError_t status = cudaGetLastError();
    if (is_sticky(status)) {
        check_cuda(status, (source + ": " + what).c_str());
    }
    throw Error(ErrorCode::unavailable, source + ": " + library_label() + " refuses " + what + ": " + words() +
                                            "; build it again on this machine with espnet-export");
}

std::string library_label() {
    return std::string(trt_library) + " " + trt_library_version();
}

}  // namespace espnet
