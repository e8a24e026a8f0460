#include <algorithm>
#include <atomic>
#include <cstring>
#include <map>
#include <memory>
#include <sstream>
#include <utility>

#include "shim.hpp"

using nvinfer1::DataType;
using nvinfer1::Dims;
using nvinfer1::ILogger;

namespace {

constexpr std::size_t header_bytes = 36;
constexpr char magic[] = "shim-engine";

std::size_t size_of(DataType type) {
    switch (static_cast<int>(type)) {
        case 1:
            return 2;
        case 0:
        case 3:
            return 4;
        case 8:
            return 8;
        default:
            return 1;
    }
}

double value_at(const void* values, DataType type, std::size_t index) {
    switch (static_cast<int>(type)) {
        case 0:
            return static_cast<const float*>(values)[index];
        case 3:
            return static_cast<const std::int32_t*>(values)[index];
        case 8:
            return static_cast<double>(static_cast<const std::int64_t*>(values)[index]);
        default:
            return static_cast<const std::uint8_t*>(values)[index];
    }
}

void set_value(void* values, DataType type, std::size_t index, double value) {
    switch (static_cast<int>(type)) {
        case 0:
            static_cast<float*>(values)[index] = static_cast<float>(value);
            break;
        case 3:
            static_cast<std::int32_t*>(values)[index] = static_cast<std::int32_t>(value);
            break;
        case 8:
            static_cast<std::int64_t*>(values)[index] = static_cast<std::int64_t>(value);
            break;
        default:
            static_cast<std::uint8_t*>(values)[index] = static_cast<std::uint8_t>(value);
    }
}

Dims dims_of(const std::vector<std::int64_t>& sizes) {
    Dims dims{};
    dims.nbDims = static_cast<std::int32_t>(sizes.size());
    for (std::size_t i = 0; i < sizes.size(); ++i) {
        dims.d[i] = static_cast<std::decay_t<decltype(dims.d[0])>>(sizes[i]);
    }
    return dims;
}

std::vector<std::int64_t> at_batch(const shim::Tensor& tensor, std::int64_t batch) {
    std::vector<std::int64_t> sizes = tensor.shape;
    for (std::int64_t& size : sizes) {
        size = size == -1 ? batch : size == -2 ? -1 : size;
    }
    return sizes;
}

void say(ILogger& logger, ILogger::Severity severity, const char* text) {
    logger.log(severity, text);
}

/// One inference as it is queued: everything by value, as a kernel's arguments are.
struct Job {
    struct Operand {
        void* pointer;
        std::size_t elements;
        DataType type;

        void* values() const { return shim::on_device(pointer, elements * size_of(type)); }
    };
    std::vector<Operand> inputs;
    std::vector<Operand> outputs;
    std::shared_ptr<int> at_work;  // how many inferences of the context are queued; null in a graph

    cudaError_t run() const {
        if (at_work) {
            --*at_work;
        }
        for (std::size_t k = 0; k < outputs.size(); ++k) {
            void* const to = outputs[k].values();
            if (to == nullptr) {
                return cudaErrorIllegalAddress;
            }
            std::vector<double> sums(outputs[k].elements, static_cast<double>(k) + 1);
            for (const Operand& input : inputs) {
                const void* const from = input.values();
                if (from == nullptr) {
                    return cudaErrorIllegalAddress;
                }
                for (std::size_t i = 0; i < sums.size(); ++i) {
                    sums[i] += value_at(from, input.type, i % input.elements);
                }
            }
            for (std::size_t i = 0; i < sums.size(); ++i) {
                set_value(to, outputs[k].type, i, sums[i]);
            }
        }
        return cudaSuccess;
    }
};

int current_device() {
    int device = -1;
    cudaGetDevice(&device);
    return device;
}

class Engine;

class Context final : public nvinfer1::IExecutionContext {
public:
    Context(const Engine& engine, std::shared_ptr<std::atomic<int>> siblings);
    ~Context() noexcept override;
    bool setInputShape(char const* name, Dims const& dims) noexcept override;
    Dims getTensorShape(char const* name) const noexcept override;
    bool setTensorAddress(char const* name, void* data) noexcept override;
    bool enqueueV3(cudaStream_t stream) noexcept override;
#ifdef TRT_MAJOR_RTX
    bool isStreamCapturable(cudaStream_t) const noexcept override {
        return !shim::refused("isStreamCapturable");
    }
#endif

private:
    std::vector<std::int64_t> sizes(const shim::Tensor& tensor) const;
    bool refuses(const char* member) const;

    const Engine& engine_;
    std::shared_ptr<std::atomic<int>> siblings_;
    std::map<std::string, std::vector<std::int64_t>> shapes_;
    std::map<std::string, void*> addresses_;
    bool has_run_ = false;  // since the shapes changed
    std::shared_ptr<int> at_work_ = std::make_shared<int>(0);
};

class Engine final : public nvinfer1::ICudaEngine {
public:
    Engine(std::vector<shim::Tensor> read, ILogger& with, std::shared_ptr<std::atomic<int>> siblings)
        : tensors(std::move(read)), logger(with), siblings_(std::move(siblings)) {
        ++*siblings_;
        shim::count("engine", 1);
    }

    ~Engine() noexcept override {
        const shim::Inside inside;
        if (*contexts_ != 0) {
            shim::violation("an engine destroyed before its contexts");
        }
        if (current_device() != device_) {
            shim::violation("an engine destroyed on another device");
        }
        --*siblings_;
        shim::count("engine", -1);
    }

    int32_t getNbIOTensors() const noexcept override { return static_cast<int32_t>(tensors.size()); }
    char const* getIOTensorName(int32_t index) const noexcept override {
        return tensors[static_cast<std::size_t>(index)].name.c_str();
    }
    nvinfer1::TensorIOMode getTensorIOMode(char const* name) const noexcept override {
        return find(name).is_input ? nvinfer1::TensorIOMode::kINPUT : nvinfer1::TensorIOMode::kOUTPUT;
    }
    nvinfer1::TensorLocation getTensorLocation(char const* name) const noexcept override { return find(name).location; }
    nvinfer1::TensorFormat getTensorFormat(char const* name) const noexcept override { return find(name).format; }
    char const* getTensorFormatDesc(char const*) const noexcept override { return "Four wide channel\n vectorized"; }
    DataType getTensorDataType(char const* name) const noexcept override { return find(name).type; }
    Dims getTensorShape(char const* name) const noexcept override { return dims_of(at_batch(find(name), -1)); }
    Dims getProfileShape(char const* name, int32_t, nvinfer1::OptProfileSelector which) const noexcept override {
        const shim::Tensor& tensor = find(name);
        return dims_of(at_batch(tensor, tensor.batches[static_cast<std::size_t>(which)]));
    }

#if NV_TENSORRT_MAJOR == 8
    nvinfer1::IExecutionContext* createExecutionContext() noexcept override {
#else
    nvinfer1::IExecutionContext* createExecutionContext(
        nvinfer1::ExecutionContextAllocationStrategy) noexcept override {
#endif
        const shim::Inside inside;
        if (current_device() != device_) {
            shim::violation("a context on another device than its engine's");
        }
        if (shim::refused("createExecutionContext")) {
            say(logger, ILogger::Severity::kERROR, "the shim was told to");
            return nullptr;
        }
        return new Context(*this, contexts_);
    }

    const shim::Tensor& find(const std::string& name) const {
        for (const shim::Tensor& tensor : tensors) {
            if (tensor.name == name) {
                return tensor;
            }
        }
        std::abort();
    }

    const std::vector<shim::Tensor> tensors;
    ILogger& logger;

private:
    const int device_ = current_device();
    std::shared_ptr<std::atomic<int>> siblings_;
    std::shared_ptr<std::atomic<int>> contexts_ = std::make_shared<std::atomic<int>>(0);
};

Context::Context(const Engine& engine, std::shared_ptr<std::atomic<int>> siblings)
    : engine_(engine), siblings_(std::move(siblings)) {
    ++*siblings_;
    shim::count("context", 1);
}

Context::~Context() noexcept {
    const shim::Inside inside;
    if (*at_work_ > 0) {
        shim::violation("a context destroyed while it is at work");
    }
    --*siblings_;
    shim::count("context", -1);
}

bool Context::refuses(const char* member) const {
    if (!shim::refused(member)) {
        return false;
    }
    say(engine_.logger, ILogger::Severity::kERROR, "the shim was told to");
    return true;
}

bool Context::setInputShape(char const* name, Dims const& dims) noexcept {
    const shim::Inside inside;
    if (refuses("setInputShape")) {
        return false;
    }
    if (*at_work_ > 0) {
        shim::violation("another shape while the context is at work");
    }
    const std::vector<std::int64_t> sizes(dims.d, dims.d + dims.nbDims);
    std::vector<std::int64_t>& known = shapes_[name];
    has_run_ = has_run_ && known == sizes;
    known = sizes;
    return true;
}

std::vector<std::int64_t> Context::sizes(const shim::Tensor& tensor) const {
    if (const auto known = shapes_.find(tensor.name); known != shapes_.end()) {
        return known->second;
    }
    for (const shim::Tensor& input : engine_.tensors) {
        for (std::size_t axis = 0; axis < input.shape.size(); ++axis) {
            if (input.is_input && input.shape[axis] == -1 && shapes_.count(input.name) != 0) {
                return at_batch(tensor, shapes_.at(input.name)[axis]);
            }
        }
    }
    return at_batch(tensor, -1);
}

Dims Context::getTensorShape(char const* name) const noexcept {
    const shim::Inside inside;
    return dims_of(sizes(engine_.find(name)));
}

bool Context::setTensorAddress(char const* name, void* data) noexcept {
    const shim::Inside inside;
    if (refuses("setTensorAddress")) {
        return false;
    }
    addresses_[name] = data;
    return true;
}

bool Context::enqueueV3(cudaStream_t stream) noexcept {
    const shim::Inside inside;
    if (refuses("enqueueV3")) {
        return false;
    }
    Job job;
    job.at_work = shim::is_capturing(stream) ? nullptr : at_work_;
    for (const shim::Tensor& tensor : engine_.tensors) {
        std::size_t elements = 1;
        for (const std::int64_t size : sizes(tensor)) {
            elements *= static_cast<std::size_t>(size);
        }
        (tensor.is_input ? job.inputs : job.outputs).push_back({addresses_[tensor.name], elements, tensor.type});
    }
    switch (shim::queue(stream, has_run_, [job] { return job.run(); })) {
        case shim::Queued::done:
            if (!shim::is_capturing(stream)) {
                has_run_ = true;
                ++*at_work_;
            }
            return true;
        case shim::Queued::wrong_device:
            say(engine_.logger, ILogger::Severity::kERROR, "the stream is of another device");
            return false;
        case shim::Queued::capture_refused:
            say(engine_.logger, ILogger::Severity::kERROR, "it has not run with these shapes, and cannot be captured");
            return false;
    }
    return false;
}

std::vector<shim::Tensor> tensors_of(std::istream& text) {
    std::vector<shim::Tensor> tensors;
    std::string name;
    while (text >> name) {
        shim::Tensor tensor;
        tensor.name = name;
        int type = 0;
        int format = 0;
        int location = 0;
        std::size_t rank = 0;
        text >> tensor.is_input >> type >> format >> location;
        for (int& batch : tensor.batches) {
            text >> batch;
        }
        text >> rank;
        tensor.shape.resize(rank);
        for (std::int64_t& size : tensor.shape) {
            text >> size;
        }
        tensor.type = static_cast<DataType>(type);
        tensor.format = static_cast<nvinfer1::TensorFormat>(format);
        tensor.location = static_cast<nvinfer1::TensorLocation>(location);
        tensors.push_back(std::move(tensor));
    }
    return tensors;
}

class Runtime final : public nvinfer1::IRuntime {
public:
    explicit Runtime(ILogger& logger) : logger_(logger) { shim::count("runtime", 1); }

    ~Runtime() noexcept override {
        const shim::Inside inside;
        if (*engines_ != 0) {
            shim::violation("a runtime destroyed before its engines");
        }
        shim::count("runtime", -1);
    }

#if NV_TENSORRT_MAJOR != 8
    void setEngineHostCodeAllowed(bool allowed) noexcept override {
        host_code_allowed_ = allowed;
    }
#endif

    nvinfer1::ICudaEngine* deserializeCudaEngine(void const* blob, std::size_t size) noexcept override {
        const shim::Inside inside;
#if NV_TENSORRT_MAJOR != 8
        if (host_code_allowed_) {
            shim::violation("an engine that may hold code for the host");
        }
#endif
        if (shim::refused("deserializeCudaEngine")) {
            say(logger_, ILogger::Severity::kERROR, "the shim\n  was told to");
            return nullptr;
        }
        const std::string bytes(static_cast<const char*>(blob), size);
        std::istringstream text(bytes.size() < header_bytes ? "" : bytes.substr(header_bytes));
        std::string first;
        text >> first;
        if (first != magic) {
            say(logger_, ILogger::Severity::kINTERNAL_ERROR, "no engine of the shim");
            return nullptr;
        }
        say(logger_, ILogger::Severity::kWARNING, "built for  another\nmodel");
        say(logger_, ILogger::Severity::kINFO, "loaded");
        return new Engine(tensors_of(text), logger_, engines_);
    }

private:
    ILogger& logger_;
    std::shared_ptr<std::atomic<int>> engines_ = std::make_shared<std::atomic<int>>(0);
#if NV_TENSORRT_MAJOR != 8
    bool host_code_allowed_ = true;  // until it is forbidden, so that a test sees whether it was
#endif
};

}  // namespace

nvinfer1::IRuntime* nvinfer1::createInferRuntime(ILogger& logger) noexcept {
    const shim::Inside inside;
    static ILogger& of_process = logger;  // as TensorRT, which keeps the first one
    if (shim::refused("createInferRuntime")) {
        say(of_process, ILogger::Severity::kERROR, "CUDA initialization failure with error: 35");
        return nullptr;
    }
    return new Runtime(of_process);
}

extern "C" int32_t getInferLibVersion() noexcept {
    constexpr int32_t weight = NV_TENSORRT_MAJOR == 8 ? 1000 : 10000;
    return NV_TENSORRT_MAJOR * weight + NV_TENSORRT_MINOR * 100 + NV_TENSORRT_PATCH;
}

namespace shim {

std::vector<std::uint8_t> plan(const std::vector<Tensor>& tensors) {
    std::ostringstream text;
    text << magic;
    for (const Tensor& tensor : tensors) {
        text << '\n'
             << tensor.name << ' ' << tensor.is_input << ' ' << static_cast<int>(tensor.type) << ' '
             << static_cast<int>(tensor.format) << ' ' << static_cast<int>(tensor.location);
        for (const int batch : tensor.batches) {
            text << ' ' << batch;
        }
        text << ' ' << tensor.shape.size();
        for (const std::int64_t size : tensor.shape) {
            text << ' ' << size;
        }
    }
    const std::string body = text.str();
    // The header as the real libraries write it, for what reads it before they do.
    std::vector<std::uint8_t> bytes(header_bytes + body.size(), 0);
    bytes[24] = NV_TENSORRT_MAJOR;
    bytes[25] = NV_TENSORRT_MINOR;
    bytes[26] = NV_TENSORRT_PATCH;
    bytes[27] = 1;
#ifdef TRT_MAJOR_RTX
    std::memcpy(bytes.data(), "vtrt", 4);
    std::memcpy(bytes.data() + 28, "vtrt", 4);
    bytes[8] = 2;
    const std::uint64_t size = header_bytes + body.size();
    std::memcpy(bytes.data() + 16, &size, sizeof size);
    bytes[32] = 1 << 2;  // 8.6, the third of those that version 1.4 names
#else
    std::memcpy(bytes.data(), "ftrt", 4);
#endif
    std::copy(body.begin(), body.end(), bytes.begin() + header_bytes);
    return bytes;
}

}  // namespace shim
