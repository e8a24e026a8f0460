#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include <espnet/network.hpp>
#include <espnet/tensor.hpp>

#include "artefact.hpp"

namespace espnet {

/// One execution context of a loaded network with its buffers: what a library has to do for `Network`.
///
/// Before each `run` every input is given, either by filling `host_input` or by `bind_input`; outputs go to the
/// backend's own memory unless `bind_output` says otherwise. Indices count `inputs()` and `outputs()`. Shapes, dtypes
/// and names were checked by the caller against `inputs()` and `outputs()`; the batch against `smallest_batch` and
/// `largest_batch`. One thread at a time uses a backend.
class Backend {
public:
    virtual ~Backend() = default;

    /// As the manifest describes them, after comparing that with the file; without a manifest what the file says.
    virtual const std::vector<TensorInfo>& inputs() const noexcept = 0;
    virtual const std::vector<TensorInfo>& outputs() const noexcept = 0;

    /// The batches that it takes; `largest_batch` 0: any.
    virtual int smallest_batch() const noexcept = 0;
    virtual int largest_batch() const noexcept = 0;

    /// Such as "openvino 2026.4.1, cpu, 2 threads".
    virtual std::string label() const = 0;

    /// Another context of the same weights.
    virtual std::unique_ptr<Backend> clone() const = 0;

    /// The backend's own host memory for an input of this shape, to be filled before `run`; valid until the next call
    /// of `host_input` with a larger shape. Ends an earlier `bind_input` of the same input.
    virtual void* host_input(std::size_t index, const Shape& shape) = 0;

    /// Read the input from the caller's memory in the next runs. A stride-free tensor on the host or the device.
    virtual void bind_input(std::size_t index, const ConstTensorView& tensor) = 0;

    /// Write the output to the caller's memory in the next runs; null: to the backend's own again.
    virtual void bind_output(std::size_t index, const TensorView* tensor) = 0;

    /// Compute, and return when the outputs are written.
    virtual void run() = 0;

    /// Queue on the caller's stream, with all tensors bound to device memory, and return at once.
    ///
    /// Throws Error (input): this backend has no streams.
    virtual void enqueue(CudaStream stream) = 0;

    /// The result of the last `run`, on the host unless it was bound to device memory.
    virtual ConstTensorView output(std::size_t index) const = 0;
};

std::unique_ptr<Backend> open_openvino(const Artefact& artefact, const Options& options);
std::unique_ptr<Backend> open_tensorrt(const Artefact& artefact, const Options& options);

/// Such as "openvino 2026.4.1" and "tensorrt 10.3.0".
std::string openvino_version();
std::string tensorrt_version();

/// `tensor.shape` with its free sizes filled in.
Shape at_batch(const TensorInfo& tensor, int batch);

/// How many cores the operating system lets this process use.
int usable_cores();

/// The last part of a path: the name that messages about a file's contents use.
std::string file_name(const std::string& path);

/// Which ONNX file to run where the engine `path` cannot be: the end of a message.
std::string onnx_beside(const std::string& path);

/// The manifest's tensors where there is one, after comparing them with the file's: the text of `agreed_tensors` in
/// runtime/runner.py.
///
/// Throws Error (check): they differ in a name, dtype or shape.
std::vector<TensorInfo> agreed_tensors(const std::vector<TensorInfo>* described, const std::vector<TensorInfo>& actual,
                                       const std::string& source);

}  // namespace espnet
