#include <algorithm>
#include <cstring>
#include <exception>
#include <new>
#include <sstream>

#include <openvino/openvino.hpp>

#include "backend.hpp"

namespace espnet {

namespace {

/// One for the process: it loads the plug-ins, and may be used by several threads.
ov::Core& core() {
    static ov::Core shared;
    return shared;
}

/// What OpenVINO says, without the lines that tell where in its own source the check stands.
std::string gist(const std::exception& error) {
    std::istringstream lines(error.what());
    std::string line;
    while (std::getline(lines, line)) {
        line.erase(0, line.find_first_not_of(" \t"));
        line.erase(line.find_last_not_of(" \t\r") + 1);
        if (!line.empty() && line.rfind("Exception from", 0) != 0 && line.rfind("Check '", 0) != 0) {
            return line;
        }
    }
    return error.what();
}

/// `work()`; what OpenVINO throws becomes the Error that `error_for` makes of its words.
template <typename Work, typename ErrorFor>
auto guarded(Work work, ErrorFor error_for) {
    try {
        return work();
    } catch (const std::exception& error) {
        // It wraps memory that ran out, too, in exceptions of its own.
        if (std::strstr(error.what(), "bad_alloc") != nullptr) {
            throw std::bad_alloc();
        }
        throw error_for(gist(error));
    }
}

/// `2026.4.1-22982-...` -> `2026.4.1`.
std::string library_version() {
    const std::string whole = ov::get_openvino_version().buildNumber;
    return whole.substr(0, whole.find('-'));
}

DType dtype_of(const ov::element::Type& type, const std::string& name, const std::string& source) {
    switch (type) {
        case ov::element::f32:
            return DType::float32;
        case ov::element::f16:
            return DType::float16;
        case ov::element::u8:
            return DType::uint8;
        case ov::element::i32:
            return DType::int32;
        case ov::element::i64:
            return DType::int64;
        default:
            throw Error(ErrorCode::input,
                        source + ": " + name + " has type " + type.get_type_name() +
                            ", which this program does not feed or read; export it with espnet-export");
    }
}

ov::element::Type element_of(DType dtype) {
    switch (dtype) {
        case DType::float32:
            return ov::element::f32;
        case DType::float16:
            return ov::element::f16;
        case DType::uint8:
            return ov::element::u8;
        case DType::int32:
            return ov::element::i32;
        case DType::int64:
            return ov::element::i64;
    }
    return ov::element::dynamic;
}

/// As the file says it. The layout that it does not say names the batch, if one size is free: that is it.
TensorInfo described(const ov::Output<const ov::Node>& port, const std::string& source) {
    TensorInfo tensor{port.get_any_name(), DType::float32, {}, "unknown", "unknown"};
    tensor.dtype = dtype_of(port.get_element_type(), tensor.name, source);
    for (const ov::Dimension& size : port.get_partial_shape()) {
        tensor.shape.push_back(size.is_dynamic() ? -1 : size.get_length());
    }
    const auto free = std::find(tensor.shape.begin(), tensor.shape.end(), -1);
    if (free != tensor.shape.end()) {
        tensor.layout = std::string(static_cast<std::size_t>(free - tensor.shape.begin()), '?') + "N";
    }
    return tensor;
}

std::vector<TensorInfo> described(const std::vector<ov::Output<const ov::Node>>& ports, const std::string& source) {
    std::vector<TensorInfo> tensors;
    for (const auto& port : ports) {
        tensors.push_back(described(port, source));
    }
    return tensors;
}

ov::Shape sizes_of(const Shape& shape) {
    return ov::Shape(shape.begin(), shape.end());
}

Shape shape_of(const ov::Shape& sizes) {
    Shape shape;
    for (const std::size_t size : sizes) {
        shape.push_back(static_cast<std::int64_t>(size));
    }
    return shape;
}

/// For each of `tensors`, the port of that name.
std::vector<ov::Output<const ov::Node>> ports_of(const std::vector<TensorInfo>& tensors,
                                                 const std::vector<ov::Output<const ov::Node>>& ports) {
    std::vector<ov::Output<const ov::Node>> in_order;
    for (const TensorInfo& tensor : tensors) {
        in_order.push_back(*std::find_if(ports.begin(), ports.end(),
                                         [&](const auto& port) { return port.get_any_name() == tensor.name; }));
    }
    return in_order;
}

/// A compiled network, which the requests of all clones share.
struct Loaded {
    ov::CompiledModel compiled;
    std::vector<TensorInfo> inputs;
    std::vector<TensorInfo> outputs;
    std::vector<ov::Output<const ov::Node>> input_ports;
    std::vector<ov::Output<const ov::Node>> output_ports;
    std::string label;
    std::string source;
    bool has_free_size = false;
    bool is_serial = false;  // computes in the thread that asks for it
};

Error cannot_compute(const std::string& source, const std::string& said) {
    return Error(ErrorCode::unavailable,
                 source + ": openvino cannot compute it (" + said + "); export it again, or run it in onnxruntime");
}

class OpenVinoBackend final : public Backend {
    /// `work()` with the request, whose errors become ours.
    template <typename Work>
    auto calling(Work work) const {
        return guarded(work, [this](const std::string& said) { return cannot_compute(loaded_->source, said); });
    }

public:
    explicit OpenVinoBackend(std::shared_ptr<const Loaded> loaded) : loaded_(std::move(loaded)) {
        calling([this] {
            // The member is not const, but may be called by several threads.
            ov::CompiledModel compiled = loaded_->compiled;
            request_ = compiled.create_infer_request();
            for (std::size_t i = 0; i < loaded_->inputs.size(); ++i) {
                own_inputs_.push_back(own_input(i));
            }
            for (const auto& port : loaded_->output_ports) {
                own_outputs_.push_back(request_.get_tensor(port));
            }
        });
        inputs_ = own_inputs_;
        outputs_ = own_outputs_;
        bound_outputs_.resize(outputs_.size());
    }

    const std::vector<TensorInfo>& inputs() const noexcept override { return loaded_->inputs; }
    const std::vector<TensorInfo>& outputs() const noexcept override { return loaded_->outputs; }

    int smallest_batch() const noexcept override { return fixed_batch() > 0 ? fixed_batch() : 1; }
    int largest_batch() const noexcept override { return std::max(fixed_batch(), 0); }

    std::string label() const override { return loaded_->label; }

    std::unique_ptr<Backend> clone() const override { return std::make_unique<OpenVinoBackend>(loaded_); }

    void* host_input(std::size_t index, const Shape& shape) override {
        take_batch(index, shape);
        ov::Tensor& own = own_inputs_[index];
        if (shape_of(own.get_shape()) != shape) {
            // A new one: a tensor whose own size could not be changed would be left without memory.
            own = calling([&] { return ov::Tensor(own.get_element_type(), sizes_of(shape)); });
        }
        use_input(index, own);
        return own.data();
    }

    void bind_input(std::size_t index, const ConstTensorView& tensor) override {
        refuse_device(tensor.memory, tensor.name);
        take_batch(index, tensor.shape);
        // OpenVINO reads inputs alone, but has no word for that.
        void* data = const_cast<void*>(tensor.data);
        if (inputs_[index].data() == data && shape_of(inputs_[index].get_shape()) == tensor.shape) {
            return;
        }
        use_input(index, calling([&] { return ov::Tensor(element_of(tensor.dtype), sizes_of(tensor.shape), data); }));
    }

    void bind_output(std::size_t index, const TensorView* tensor) override {
        if (tensor == nullptr) {
            if (bound_outputs_[index]) {
                use_output(index, own_outputs_[index]);
                bound_outputs_[index] = false;
            }
            return;
        }
        refuse_device(tensor->memory, tensor->name);
        if (outputs_[index].data() == tensor->data && shape_of(outputs_[index].get_shape()) == tensor->shape) {
            return;
        }
        use_output(index, calling([&] {
                       return ov::Tensor(element_of(tensor->dtype), sizes_of(tensor->shape), tensor->data);
                   }));
        bound_outputs_[index] = true;
    }

    void run() override {
        calling([this] {
            // With one thread `infer` says nothing of errors within the network. Those of fixed sizes have none, and
            // are spared the change of threads, some 20 us.
            if (loaded_->is_serial && loaded_->has_free_size) {
                request_.start_async();
                request_.wait();
            } else {
                request_.infer();
            }
        });
        check_sizes();
    }

    void enqueue(CudaStream) override {
        throw Error(ErrorCode::input,
                    "openvino computes on the CPU and has no CUDA streams; leave the stream out, or open an engine");
    }

    ConstTensorView output(std::size_t index) const override {
        const TensorInfo& tensor = loaded_->outputs[index];
        const ov::Tensor& result = outputs_[index];
        // The batch tells the shape, see `check_sizes`; asking the tensor for it allocates.
        return {tensor.name, tensor.dtype, at_batch(tensor, batch_), result.data(), Memory::host};
    }

private:
    /// The outputs have the sizes that the batch gives them: they may depend on the values, too.
    void check_sizes() const {
        for (std::size_t i = 0; i < outputs_.size(); ++i) {
            const TensorInfo& tensor = loaded_->outputs[i];
            const Shape shape = at_batch(tensor, batch_);
            // Of the values alone: asking for the shape allocates.
            if (outputs_[i].get_size() != shape.elements() || (shape.elements() > 0 && outputs_[i].data() == nullptr)) {
                throw Error(ErrorCode::check, loaded_->source + ": output " + tensor.name + " has " +
                                                  std::to_string(outputs_[i].get_size()) + " values, " + shape.text() +
                                                  " has " + std::to_string(shape.elements()) + "; export it again");
            }
        }
    }

    /// Memory for an input: the request's own; if its batch is free, ours, for which OpenVINO allocates less.
    ov::Tensor own_input(std::size_t index) {
        const auto& port = loaded_->input_ports[index];
        if (port.get_partial_shape().is_static()) {
            return request_.get_tensor(port);
        }
        const ov::Tensor tensor(port.get_element_type(), sizes_of(at_batch(loaded_->inputs[index], 1)));
        request_.set_tensor(port, tensor);
        return tensor;
    }

    static void refuse_device(Memory memory, std::string_view name) {
        if (memory == Memory::device) {
            throw Error(ErrorCode::input, std::string(name) + ": is in device memory, openvino computes on the CPU; " +
                                              "give memory of the host, or open an engine");
        }
    }

    int fixed_batch() const noexcept {
        if (loaded_->inputs.empty()) {
            return 1;
        }
        const TensorInfo& first = loaded_->inputs.front();
        return first.shape.rank() == 0 ? 1 : static_cast<int>(first.shape[first.batch_axis()]);
    }

    void take_batch(std::size_t index, const Shape& shape) {
        if (shape.rank() > 0) {
            batch_ = static_cast<int>(shape[loaded_->inputs[index].batch_axis()]);
        }
    }

    void use_input(std::size_t index, const ov::Tensor& tensor) {
        if (inputs_[index].data() != tensor.data() || inputs_[index].get_shape() != tensor.get_shape()) {
            calling([&] { request_.set_tensor(loaded_->input_ports[index], tensor); });
            inputs_[index] = tensor;
        }
    }

    void use_output(std::size_t index, const ov::Tensor& tensor) {
        calling([&] { request_.set_tensor(loaded_->output_ports[index], tensor); });
        outputs_[index] = tensor;
    }

    std::shared_ptr<const Loaded> loaded_;
    ov::InferRequest request_;
    std::vector<ov::Tensor> own_inputs_;
    std::vector<ov::Tensor> own_outputs_;
    std::vector<ov::Tensor> inputs_;  // those that the request has now
    std::vector<ov::Tensor> outputs_;
    int batch_ = 1;
    std::vector<bool> bound_outputs_;  // to memory of the caller
};

std::shared_ptr<ov::Model> read_model(const Artefact& artefact) {
    // Read from memory: what was verified is what is parsed, even if the file changes meanwhile.
    const std::string text(reinterpret_cast<const char*>(artefact.bytes.data()), artefact.bytes.size());
    return guarded([&] { return core().read_model(text, ov::Tensor()); },
                   [&](const std::string& said) {
                       return Error(ErrorCode::input,
                                    artefact.path + ": openvino cannot read it (" + said + "); export it again");
                   });
}

ov::CompiledModel compile(const std::shared_ptr<ov::Model>& model, const Artefact& artefact, int threads) {
    const ov::AnyMap options{
        ov::hint::performance_mode(ov::hint::PerformanceMode::LATENCY),
        ov::num_streams(1),
        ov::inference_num_threads(threads),
        // On CPUs with bfloat16 the plug-in computes in it unless told otherwise, with 8 bits of mantissa.
        ov::hint::inference_precision(ov::element::f32),
    };
    return guarded([&] { return core().compile_model(model, "CPU", options); },
                   [&](const std::string& said) {
                       return Error(ErrorCode::input, artefact.path + ": openvino " + library_version() +
                                                          " reads it but cannot compile it for the CPU (" + said +
                                                          "); run it in onnxruntime");
                   });
}

std::string label_of(int threads) {
    return "openvino " + library_version() + ", cpu, " + std::to_string(threads) + " thread" +
           (threads == 1 ? "" : "s");
}

}  // namespace

std::unique_ptr<Backend> open_openvino(const Artefact& artefact, const Options& options) {
    const int threads = options.threads == 0 ? usable_cores() : options.threads;
    auto loaded = std::make_shared<Loaded>();
    loaded->compiled = compile(read_model(artefact), artefact, threads);
    const std::string& source = loaded->source = file_name(artefact.path);
    const Manifest* manifest = artefact.manifest ? &*artefact.manifest : nullptr;
    const auto inputs = loaded->compiled.inputs();
    const auto outputs = loaded->compiled.outputs();
    loaded->inputs = agreed_tensors(manifest ? &manifest->inputs : nullptr, described(inputs, source), source);
    loaded->outputs = agreed_tensors(manifest ? &manifest->outputs : nullptr, described(outputs, source), source);
    loaded->input_ports = ports_of(loaded->inputs, inputs);
    loaded->output_ports = ports_of(loaded->outputs, outputs);
    loaded->label = label_of(threads);
    loaded->is_serial = threads == 1;
    loaded->has_free_size = std::any_of(inputs.begin(), inputs.end(),
                                        [](const auto& port) { return port.get_partial_shape().is_dynamic(); });
    return std::make_unique<OpenVinoBackend>(std::move(loaded));
}

std::string openvino_version() {
    return "openvino " + library_version();
}

}  // namespace espnet
