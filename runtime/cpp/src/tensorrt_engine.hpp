#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include <espnet/network.hpp>
#include <espnet/tensor.hpp>

#include "artefact.hpp"
#include "tensorrt_version.hpp"

namespace espnet {

using OnWarning = std::function<void(std::string_view)>;

/// While it lives, what TensorRT complains of on this thread is kept here, and its warnings are handed on. There is one
/// around each use of the library: TensorRT knows one logger for the process, whatever engine it speaks of.
class Listener {
public:
    explicit Listener(const OnWarning& on_warning) noexcept;
    ~Listener();
    Listener(const Listener&) = delete;
    Listener& operator=(const Listener&) = delete;

    /// Each on one line; empty if there were none.
    const std::string& errors() const noexcept { return errors_; }

    void hear(nvinfer1::ILogger::Severity severity, const char* message);

    /// That of this thread; null if it has none.
    static Listener* current() noexcept;

private:
    const OnWarning& on_warning_;
    std::string errors_;
    Listener* outer_;
};

/// An input or output of an engine: a name, the type and the sizes that it really has, the smallest, best and largest
/// shape of an input. Up to TensorRT 8 an int64 tensor of the manifest is int32 here.
struct EngineTensor {
    std::string name;
    DType dtype = DType::float32;
    Shape smallest;
    Shape best;
    Shape largest;
};

/// A deserialised engine, which several contexts share, each of one thread.
class LoadedEngine {
public:
    /// Deserialise `artefact`, behind whose GPU `device` a driver has answered.
    ///
    /// Throws Error. input: the library refuses the file, or it has tensors that this program does not feed;
    /// unavailable: the library does not start, or there is no memory; check: its tensors are not those of the
    /// manifest.
    LoadedEngine(const Artefact& artefact, const Options& options, const std::string& gpu);
    ~LoadedEngine();
    LoadedEngine(const LoadedEngine&) = delete;
    LoadedEngine& operator=(const LoadedEngine&) = delete;

    /// Another context, with device memory of its own. Throws Error (unavailable): there is none.
    std::unique_ptr<nvinfer1::IExecutionContext> new_context() const;

    /// "seg.trt: tensorrt 10.3.0 refuses WHAT: what TensorRT says".
    [[noreturn]] void refused(const std::string& what) const;

    std::string source;  ///< the file's name, for messages
    std::string device_name;
    int device;
    bool cuda_graphs;
    OnWarning on_warning;            ///< may be empty
    std::vector<TensorInfo> inputs;  ///< as the manifest describes them
    std::vector<TensorInfo> outputs;
    std::vector<EngineTensor> own_inputs;  ///< in the order of `inputs`
    std::vector<EngineTensor> own_outputs;

private:
    LoadedEngine(const std::string& path, const Options& options, const std::string& gpu);
    void deserialise(const Artefact& artefact);
    void describe(const Manifest* manifest);

    // In the order in which they are made; given back in the other.
    std::unique_ptr<nvinfer1::IRuntime> runtime_;
    std::unique_ptr<nvinfer1::ICudaEngine> engine_;
    mutable std::mutex mutex_;
};

/// "tensorrt 10.3.0".
std::string library_label();

}  // namespace espnet
