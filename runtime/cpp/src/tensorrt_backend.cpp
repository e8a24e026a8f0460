#include <algorithm>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <espnet/error.hpp>

#include "backend.hpp"
#include "cuda_driver.hpp"
#include "plan.hpp"
#include "tensorrt_cuda.hpp"
#include "tensorrt_engine.hpp"

namespace espnet {

namespace {

/// What device arrays must be aligned to, as in runtime/device_arrays.py.
constexpr std::uintptr_t alignment_bytes = 256;

/// A tensor of a context: its own memory for the largest shape, on the device and page-locked on the host, and the
/// caller's memory where that is bound.
///
/// On boards whose GPU shares the host's memory the copy between the two is kept: the GPU would read page-locked memory
/// past its caches, and a caller who knows better binds such memory as device memory.
struct Slot {
    DeviceMemory device;
    PinnedMemory host;
    std::vector<std::int64_t> wide;  // of a tensor that is int64 for the caller and int32 in the engine
    Shape shape;                     // of the next run
    const void* bound = nullptr;     // null: own memory
    Memory bound_memory = Memory::host;

    bool is_on_device() const noexcept { return bound != nullptr && bound_memory == Memory::device; }
    bool is_narrowed() const noexcept { return !wide.empty(); }

    /// Where the engine finds it.
    void* address() const noexcept { return is_on_device() ? const_cast<void*>(bound) : device.get(); }

    /// What the caller fills or reads on the host.
    void* own_host() noexcept { return is_narrowed() ? static_cast<void*>(wide.data()) : host.get(); }
    const void* own_host() const noexcept { return is_narrowed() ? static_cast<const void*>(wide.data()) : host.get(); }
};

/// Where an inference found its tensors when it ran last, and the graph of it if there is one.
struct Prepared {
    std::vector<void*> addresses;  // empty: nothing has run
    GraphExec graph;

    void forget() {
        addresses.clear();
        graph.reset();
    }
};

/// Copy int64 numbers to int32. Throws Error (input): one is beyond that.
void narrow(const std::int64_t* from, std::int32_t* to, std::size_t count, const std::string& name) {
    std::uint64_t largest = 0;
    bool fits = true;
    for (std::size_t i = 0; i < count; ++i) {
        to[i] = static_cast<std::int32_t>(from[i]);
        fits = fits && to[i] == from[i];
        const auto bits = static_cast<std::uint64_t>(from[i]);
        largest = std::max(largest, from[i] < 0 ? 0 - bits : bits);
    }
    if (!fits) {
        throw Error(ErrorCode::input, name + ": " + std::to_string(largest) +
                                          " is beyond int32, which this engine takes; " +
                                          "give numbers up to 2147483647");
    }
}

/// One execution context of an engine, with a stream and buffers of its own.
///
/// The first inference is made in the constructor, with zeros at the shape that the engine is best for: what does not
/// work shows before the network is used, and `label` says whether a CUDA graph runs. For other shapes or addresses the
/// first inference runs without the graph, as TensorRT needs it, and the second makes a new one; runs that differ each
/// time go without. After that a run allocates nothing.
class TensorrtBackend final : public Backend {
public:
    explicit TensorrtBackend(std::shared_ptr<const LoadedEngine> engine);
    ~TensorrtBackend() override;

    const std::vector<TensorInfo>& inputs() const noexcept override { return engine_->inputs; }
    const std::vector<TensorInfo>& outputs() const noexcept override { return engine_->outputs; }
    int smallest_batch() const noexcept override { return batch_of(&EngineTensor::smallest); }
    int largest_batch() const noexcept override { return batch_of(&EngineTensor::largest); }
    std::string label() const override;
    std::unique_ptr<Backend> clone() const override { return std::make_unique<TensorrtBackend>(engine_); }

    void* host_input(std::size_t index, const Shape& shape) override;
    void bind_input(std::size_t index, const ConstTensorView& tensor) override;
    void bind_output(std::size_t index, const TensorView* tensor) override;
    void run() override;
    void enqueue(CudaStream stream) override;
    ConstTensorView output(std::size_t index) const override;

private:
    struct Unprepared {};
    TensorrtBackend(std::shared_ptr<const LoadedEngine> engine, Unprepared);

    // Set up once.
    void allocate();
    void try_out();

    // Before each inference.
    int batch_of(Shape EngineTensor::*shape) const noexcept;
    void check_device_tensor(std::string_view name, DType described, DType own, const void* data) const;
    void check_shape(std::size_t index, const Shape& shape) const;
    void use_shapes();
    void fill_inputs();
    void wait_for_caller(cudaStream_t stream);
    void refuse_captured(cudaStream_t stream) const;

    // The inference.
    void queue(Prepared& prepared, cudaStream_t stream);
    void queue_plainly(cudaStream_t stream);
    void queue_copy(const Slot& slot, std::size_t bytes, cudaMemcpyKind kind, cudaStream_t stream);
    GraphExec captured_graph();
    void without_graph(const std::string& reason);
    void deliver_outputs();
    void abandon() noexcept;

    std::shared_ptr<const LoadedEngine> engine_;
    Stream stream_;
    Event caller_event_;              // after the last inference on a stream of the caller
    bool caller_is_pending_ = false;  // nothing of ours has waited for it yet
    std::unique_ptr<nvinfer1::IExecutionContext> context_;
    std::vector<Slot> inputs_;
    std::vector<Slot> outputs_;
    std::vector<Shape> shapes_;     // of the inputs, those that the context has; empty: none
    std::vector<void*> addresses_;  // of the next inference: inputs, then outputs
    std::vector<void*> told_;       // those that the context has; empty: none
    Prepared own_;                  // of `run`
    Prepared of_caller_;            // of `enqueue`, so that the graph of `run` stays
    bool may_capture_ = false;
    bool has_graph_ = false;
};

TensorrtBackend::TensorrtBackend(std::shared_ptr<const LoadedEngine> engine, Unprepared)
    : engine_(std::move(engine)), may_capture_(engine_->cuda_graphs) {}

// Delegates, so that the destructor gives back on the right device what was made before an error.
TensorrtBackend::TensorrtBackend(std::shared_ptr<const LoadedEngine> engine)
    : TensorrtBackend(std::move(engine), Unprepared{}) {
    const DeviceGuard guard(engine_->device);
    const Listener listener(engine_->on_warning);
    stream_ = make_stream();
    caller_event_ = make_event();
    context_ = engine_->new_context();
    inputs_.resize(engine_->inputs.size());
    outputs_.resize(engine_->outputs.size());
    allocate();
    try_out();
}

TensorrtBackend::~TensorrtBackend() {
    const DeviceGuard guard(engine_->device, std::nothrow);
    abandon();
    // Before the memory that it uses, and before the engine.
    context_.reset();
    inputs_.clear();
    outputs_.clear();
    caller_event_.reset();
    stream_.reset();
    engine_.reset();
}

std::string TensorrtBackend::label() const {
    return library_label() + ", cuda (" + engine_->device_name + ")" +
           (has_graph_ ? ", CUDA graph" : ", no CUDA graph");
}

// What is set up once. ------------------------------------------------------------------------------------------------

void TensorrtBackend::allocate() {
    const auto make = [this](Slot& slot, const TensorInfo& tensor, DType own) {
        const std::size_t elements = slot.shape.elements();
        const std::size_t bytes = std::max<std::size_t>(elements * size_of(own), 1);
        slot.device = allocate_device(bytes, engine_->device_name);
        slot.host = allocate_pinned(bytes, engine_->device_name);
        slot.wide.resize(tensor.dtype == own ? 0 : std::max<std::size_t>(elements, 1));
    };
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
        inputs_[i].shape = engine_->own_inputs[i].largest;
    }
    use_shapes();  // the outputs' largest follow
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
        make(inputs_[i], engine_->inputs[i], engine_->own_inputs[i].dtype);
    }
    for (std::size_t i = 0; i < outputs_.size(); ++i) {
        make(outputs_[i], engine_->outputs[i], engine_->own_outputs[i].dtype);
    }
    addresses_.resize(inputs_.size() + outputs_.size());
    for (std::vector<void*>* addresses : {&told_, &own_.addresses, &of_caller_.addresses}) {
        addresses->reserve(addresses_.size());
    }
}

void TensorrtBackend::try_out() {
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
        const EngineTensor& own = engine_->own_inputs[i];
        const std::size_t elements = own.best.elements();
        // Zero is a valid index, where the input is one.
        std::memset(host_input(i, own.best), 0, elements * size_of(engine_->inputs[i].dtype));
    }
    run();
    run();  // makes the graph
}

// What may change from run to run. ------------------------------------------------------------------------------------

int TensorrtBackend::batch_of(Shape EngineTensor::*shape) const noexcept {
    if (engine_->inputs.empty()) {
        return 1;
    }
    // An input whose batch is free tells; where none is, all have the same.
    std::size_t telling = 0;
    for (std::size_t i = 0; i < engine_->inputs.size(); ++i) {
        if (engine_->own_inputs[i].smallest != engine_->own_inputs[i].largest) {
            telling = i;
            break;
        }
    }
    const Shape& sizes = engine_->own_inputs[telling].*shape;
    const int axis = engine_->inputs[telling].batch_axis();
    return axis < sizes.rank() ? static_cast<int>(sizes[axis]) : 1;
}

void* TensorrtBackend::host_input(std::size_t index, const Shape& shape) {
    check_shape(index, shape);
    Slot& slot = inputs_[index];
    slot.shape = shape;
    slot.bound = nullptr;
    return slot.own_host();
}

void TensorrtBackend::bind_input(std::size_t index, const ConstTensorView& tensor) {
    check_shape(index, tensor.shape);
    if (tensor.memory == Memory::device) {
        check_device_tensor(tensor.name, engine_->inputs[index].dtype, engine_->own_inputs[index].dtype, tensor.data);
    }
    Slot& slot = inputs_[index];
    slot.shape = tensor.shape;
    slot.bound = tensor.data;
    slot.bound_memory = tensor.memory;
}

void TensorrtBackend::bind_output(std::size_t index, const TensorView* tensor) {
    Slot& slot = outputs_[index];
    if (tensor != nullptr && tensor->memory == Memory::device) {
        check_device_tensor(tensor->name, engine_->outputs[index].dtype, engine_->own_outputs[index].dtype,
                            tensor->data);
    }
    slot.bound = tensor == nullptr ? nullptr : tensor->data;
    slot.bound_memory = tensor == nullptr ? Memory::host : tensor->memory;
}

void TensorrtBackend::check_device_tensor(std::string_view name, DType described, DType own, const void* data) const {
    if (described != own) {
        throw Error(ErrorCode::input, std::string(name) + ": " + name_of(described) + " in device memory, " +
                                          engine_->source + " has " + name_of(own) +
                                          " there; give it in memory of the host");
    }
    if (reinterpret_cast<std::uintptr_t>(data) % alignment_bytes != 0) {
        throw Error(ErrorCode::input, std::string(name) + ": its address is not a multiple of " +
                                          std::to_string(alignment_bytes) +
                                          " bytes, which TensorRT needs; copy it to memory of its own");
    }
}

void TensorrtBackend::check_shape(std::size_t index, const Shape& shape) const {
    const EngineTensor& own = engine_->own_inputs[index];
    bool fits = shape.rank() == own.largest.rank();
    for (int axis = 0; fits && axis < shape.rank(); ++axis) {
        fits = own.smallest[axis] <= shape[axis] && shape[axis] <= own.largest[axis];
    }
    if (!fits) {
        throw Error(ErrorCode::input, own.name + ": shape " + shape.text() + " given, " + engine_->source +
                                          " was built for " + own.smallest.text() + " to " + own.largest.text() +
                                          "; export with --batch for other batch sizes");
    }
}

/// Tell the context the inputs' shapes and ask it for the outputs'.
void TensorrtBackend::use_shapes() {
    const bool known = shapes_.size() == inputs_.size() &&
                       std::equal(shapes_.begin(), shapes_.end(), inputs_.begin(),
                                  [](const Shape& shape, const Slot& slot) { return shape == slot.shape; });
    if (known && !shapes_.empty()) {
        return;
    }
    // An inference of the old shapes may still be at work.
    check_cuda(cudaStreamSynchronize(stream_.get()), "cudaStreamSynchronize");
    if (caller_is_pending_) {
        check_cuda(cudaEventSynchronize(caller_event_.get()), "cudaEventSynchronize");
    }
    own_.forget();
    of_caller_.forget();
    told_.clear();
    shapes_.clear();
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
        const std::string& name = engine_->own_inputs[i].name;
        if (!context_->setInputShape(name.c_str(), dims_of(inputs_[i].shape))) {
            engine_->refused("the shape " + inputs_[i].shape.text() + " of " + name);
        }
    }
    for (std::size_t i = 0; i < outputs_.size(); ++i) {
        const std::string& name = engine_->own_outputs[i].name;
        const std::optional<Shape> shape = shape_of(context_->getTensorShape(name.c_str()));
        if (!shape || std::any_of(shape->begin(), shape->end(), [](std::int64_t size) { return size < 0; })) {
            throw Error(ErrorCode::input, engine_->source + ": the shape of " + name +
                                              " depends on the data, which no fixed buffer fits; export it without "
                                              "such an output");
        }
        outputs_[i].shape = *shape;
    }
    for (const Slot& slot : inputs_) {
        shapes_.push_back(slot.shape);
    }
}

/// Put the inputs that are on the host into pinned memory.
void TensorrtBackend::fill_inputs() {
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
        Slot& slot = inputs_[i];
        if (slot.is_on_device()) {
            continue;
        }
        const void* from = slot.bound == nullptr ? slot.own_host() : slot.bound;
        const std::size_t elements = slot.shape.elements();
        if (slot.is_narrowed()) {
            narrow(static_cast<const std::int64_t*>(from), static_cast<std::int32_t*>(slot.host.get()), elements,
                   engine_->inputs[i].name);
        } else if (from != slot.host.get()) {
            std::memcpy(slot.host.get(), from, elements * size_of(engine_->own_inputs[i].dtype));
        }
    }
}

/// What is queued on `stream` from now on begins after the last inference on a stream of the caller: they use the same
/// context and its scratch memory.
void TensorrtBackend::wait_for_caller(cudaStream_t stream) {
    if (caller_is_pending_) {
        check_cuda(cudaStreamWaitEvent(stream, caller_event_.get(), 0), "cudaStreamWaitEvent");
    }
}

/// Throws Error (input): the caller is writing down a graph; what we wait for and record is no part of that.
void TensorrtBackend::refuse_captured(cudaStream_t stream) const {
    cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
    check_cuda(cudaStreamIsCapturing(stream, &status), "cudaStreamIsCapturing");
    if (status != cudaStreamCaptureStatusNone) {
        throw Error(ErrorCode::input, engine_->source + ": the stream is being captured; queue the inference outside " +
                                          "of the capture, it runs from a CUDA graph of its own");
    }
}

// The inference. ------------------------------------------------------------------------------------------------------

void TensorrtBackend::run() {
    const DeviceGuard guard(engine_->device);
    const Listener listener(engine_->on_warning);
    use_shapes();
    fill_inputs();
    try {
        wait_for_caller(stream_.get());
        queue(own_, stream_.get());
        check_cuda(cudaStreamSynchronize(stream_.get()), "cudaStreamSynchronize");
    } catch (...) {
        abandon();
        throw;
    }
    caller_is_pending_ = false;
    deliver_outputs();
}

void TensorrtBackend::enqueue(CudaStream stream) {
    const DeviceGuard guard(engine_->device);
    const Listener listener(engine_->on_warning);
    const auto refuse_host = [this](const Slot& slot, const TensorInfo& tensor) {
        if (!slot.is_on_device()) {
            throw Error(ErrorCode::input,
                        tensor.name + ": is not in device memory, which " + engine_->source +
                            " needs on a stream of the caller; give it there, or leave the stream out");
        }
    };
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
        refuse_host(inputs_[i], engine_->inputs[i]);
    }
    for (std::size_t i = 0; i < outputs_.size(); ++i) {
        refuse_host(outputs_[i], engine_->outputs[i]);
    }
    auto* const handle = static_cast<cudaStream_t>(stream.handle);
    refuse_captured(handle);
    use_shapes();
    try {
        wait_for_caller(handle);
        queue(of_caller_, handle);
        check_cuda(cudaEventRecord(caller_event_.get(), handle), "cudaEventRecord");
    } catch (...) {
        cudaStreamSynchronize(handle);  // whatever was queued before the error
        abandon();
        throw;
    }
    caller_is_pending_ = true;
}

/// An inference that comes for the second time in a row makes a graph, and then runs from it.
void TensorrtBackend::queue(Prepared& prepared, cudaStream_t stream) {
    std::size_t next = 0;
    for (const std::vector<Slot>* slots : {&inputs_, &outputs_}) {
        for (const Slot& slot : *slots) {
            addresses_[next++] = slot.address();
        }
    }
    if (addresses_ != prepared.addresses) {
        prepared.forget();
        queue_plainly(stream);
        prepared.addresses = addresses_;
        return;
    }
    if (prepared.graph == nullptr && may_capture_) {
        prepared.graph = captured_graph();
    }
    if (prepared.graph != nullptr) {
        check_cuda(cudaGraphLaunch(prepared.graph.get(), stream), "cudaGraphLaunch");
    } else {
        queue_plainly(stream);
    }
}

void TensorrtBackend::queue_plainly(cudaStream_t stream) {
    if (told_ != addresses_) {
        for (std::size_t i = 0; i < addresses_.size(); ++i) {
            const std::string& name =
                i < inputs_.size() ? engine_->own_inputs[i].name : engine_->own_outputs[i - inputs_.size()].name;
            if (!context_->setTensorAddress(name.c_str(), addresses_[i])) {
                engine_->refused("the address of " + name);
            }
        }
        told_ = addresses_;
    }
    for (std::size_t i = 0; i < inputs_.size(); ++i) {
        queue_copy(inputs_[i], size_of(engine_->own_inputs[i].dtype), cudaMemcpyHostToDevice, stream);
    }
    if (!context_->enqueueV3(stream)) {
        engine_->refused("the inference");
    }
    for (std::size_t i = 0; i < outputs_.size(); ++i) {
        queue_copy(outputs_[i], size_of(engine_->own_outputs[i].dtype), cudaMemcpyDeviceToHost, stream);
    }
}

/// Copy between the own memory of a tensor on the host and on the device; the caller's device memory is used in place.
void TensorrtBackend::queue_copy(const Slot& slot, std::size_t bytes_each, cudaMemcpyKind kind, cudaStream_t stream) {
    if (slot.is_on_device()) {
        return;
    }
    const bool is_input = kind == cudaMemcpyHostToDevice;
    void* const to = is_input ? slot.device.get() : slot.host.get();
    const void* const from = is_input ? slot.host.get() : slot.device.get();
    check_cuda(cudaMemcpyAsync(to, from, slot.shape.elements() * bytes_each, kind, stream), "cudaMemcpyAsync");
}

/// Null where there can be none; then there is none for good, and a warning says why.
GraphExec TensorrtBackend::captured_graph() {
    if (!may_be_captured(*context_, stream_.get())) {
        without_graph(std::string(trt_library) + " says that this network cannot be captured");
        return nullptr;
    }
    try {
        // On the own stream, where nothing of the caller's can get in; a graph runs on any.
        GraphExec graph = captured(stream_.get(), [this] { queue_plainly(stream_.get()); });
        has_graph_ = true;
        return graph;
    } catch (const Error& error) {
        const std::string text = error.what();
        without_graph("the capture failed: " + text.substr(0, text.rfind("; ")));  // no way out is needed: it runs
        return nullptr;
    }
}

void TensorrtBackend::without_graph(const std::string& reason) {
    may_capture_ = false;
    has_graph_ = false;
    if (engine_->on_warning) {
        engine_->on_warning(engine_->source + ": runs without a CUDA graph: " + reason);
    }
}

/// Outputs from pinned memory to the caller's, and as the manifest describes them.
void TensorrtBackend::deliver_outputs() {
    for (std::size_t i = 0; i < outputs_.size(); ++i) {
        Slot& slot = outputs_[i];
        if (slot.is_on_device()) {
            continue;
        }
        void* const to = slot.bound == nullptr ? slot.own_host() : const_cast<void*>(slot.bound);
        const std::size_t elements = slot.shape.elements();
        if (slot.is_narrowed()) {
            const auto* const from = static_cast<const std::int32_t*>(slot.host.get());
            std::copy(from, from + elements, static_cast<std::int64_t*>(to));
        } else if (to != slot.host.get()) {
            std::memcpy(to, slot.host.get(), elements * size_of(engine_->own_outputs[i].dtype));
        }
    }
}

/// Nothing of ours is at work afterwards, and nothing that was prepared is used again.
void TensorrtBackend::abandon() noexcept {
    if (stream_ != nullptr) {
        cudaStreamSynchronize(stream_.get());
    }
    if (caller_is_pending_) {
        cudaEventSynchronize(caller_event_.get());
    }
    cudaGetLastError();
    own_.forget();
    of_caller_.forget();
    told_.clear();
}

ConstTensorView TensorrtBackend::output(std::size_t index) const {
    const TensorInfo& tensor = engine_->outputs[index];
    const Slot& slot = outputs_[index];
    const void* data = slot.bound == nullptr ? slot.own_host() : slot.bound;
    return {tensor.name, tensor.dtype, slot.shape, data, slot.bound == nullptr ? Memory::host : slot.bound_memory};
}

// Opening. ------------------------------------------------------------------------------------------------------------

/// Throws Error (unavailable): no GPU, another library, or an engine for another machine.
std::string checked_gpu(const Artefact& artefact, int device) {
    // The driver is asked first: TensorRT's own objects end the process without one.
    const CudaProbe probe = probe_cuda(device);
    if (!probe.device) {
        throw Error(ErrorCode::unavailable, artefact.path + ": an engine runs on a GPU (probed: " + probe.reason +
                                                "; " + trt_library + " is built in); " + onnx_beside(artefact.path));
    }
    EngineMachine machine;
    machine.device = probe.device;
    machine.gpu_reason = probe.reason;
    machine.compute_capability = probe.compute_capability;
    const std::string builder = builder_of(artefact.bytes, artefact.manifest);
    if (builder.empty() || builder == trt_builder) {
        machine.version = parse_version(trt_library_version());
    } else {
        machine.library_answer = "this program is built with " + library_label();
    }
    if (const auto problem = engine_problem(artefact.path, artefact.bytes, artefact.manifest, machine)) {
        throw Error(ErrorCode::unavailable, *problem);
    }
    return *probe.device;
}

}  // namespace

std::unique_ptr<Backend> open_tensorrt(const Artefact& artefact, const Options& options) {
    const std::string device_name = checked_gpu(artefact, options.device);
    return std::make_unique<TensorrtBackend>(std::make_shared<const LoadedEngine>(artefact, options, device_name));
}

std::string tensorrt_version() {
    return library_label();
}

}  // namespace espnet
