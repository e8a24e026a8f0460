#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <espnet/export.h>
#include <espnet/error.hpp>
#include <espnet/image.hpp>
#include <espnet/span.hpp>
#include <espnet/tensor.hpp>

namespace espnet {

/// How a network is opened.
struct Options {
    /// "auto": by the kind of file. Or "openvino" (ONNX files, on the CPU), "tensorrt" (engines, on an NVIDIA GPU).
    std::string backend = "auto";
    /// CPU threads of OpenVINO; 0: one for each core that this process may use.
    int threads = 0;
    /// Run a file without a manifest, or one that its manifest does not describe. An engine is native code: only for
    /// files whose origin is known. Without a manifest there is `infer` alone.
    bool trust = false;
    /// The GPU that engines run on, as CUDA counts.
    int device = 0;
    /// Run engines from CUDA graphs where that works.
    bool cuda_graphs = true;
    /// Called with what the library below warns of, one line at a time, maybe from its threads; it must not throw.
    std::function<void(std::string_view)> on_warning;
};

/// A file with its manifest inside of the program; see `espnet_embed` in the CMake package.
struct EmbeddedFile {
    const char* name;
    Span<const std::uint8_t> bytes;
    std::string_view manifest;
};

/// A class of a network. No colour where the data set gives none.
struct ClassInfo {
    std::string name;
    std::optional<Colour> colour;
};

/// The file of a language model's words, one per line, that lies beside the network.
struct VocabularyInfo {
    std::string name;
    std::string sha256;
};

/// What a network is, from its manifest.
struct NetworkInfo {
    std::string name;     ///< such as "seg"
    std::string task;     ///< "segmentation", "classification", "multi_label", "detection", "language_modelling"
    std::string network;  ///< such as "espnetv2_seg"
    std::string dataset;
    int num_classes = 0;
    std::vector<ClassInfo> classes;            ///< empty where the names are not known
    std::optional<VocabularyInfo> vocabulary;  ///< of a language model that was exported with one
    int height = 0;                            ///< of the pictures that it computes with; 0 for a language model
    int width = 0;
    int smallest_batch = 1;
    int largest_batch = 1;        ///< 0: any
    bool random_weights = false;  ///< true: the answers mean nothing
    std::string precision;
    std::string backend;        ///< such as "openvino 2026.4.1, cpu, 2 threads"
    std::string manifest_json;  ///< the whole manifest; empty for a trusted file without one
};

/// A CUDA stream: `handle` is a cudaStream_t.
struct CudaStream {
    void* handle = nullptr;
};

/// A network that is loaded and ready to run.
///
///     auto net = espnet::Network::open("seg.onnx");
///     espnet::Segmentation answer = net.segment({pixels, height, width});
///
/// Threads: one thread at a time may use a Network. Different Networks may be used by different threads at once, and
/// `clone` makes another Network of the same weights for another thread. A clone may outlive the Network that it came
/// from. Opening, cloning and destroying different Networks at once is safe too.
///
/// Memory: after the first call of its kind, calls that fill the caller's buffers allocate nothing themselves, but for
/// what the library below does: OpenVINO allocates a little when `infer` is given memory at other addresses than last
/// time. What a call returns as a view belongs to the Network and is valid until its next call.
///
/// Every member but the noexcept ones throws Error. A failed call leaves the Network usable, unless the text says that
/// the GPU itself failed.
class ESPNET_API Network {
public:
    /// Load the artefact `path`, whose manifest `path`.json lies beside it.
    ///
    /// Throws Error. input: no such file, or not an artefact; check: no valid manifest, or the file's SHA-256 is not
    /// the one in it, which is compared before anything of the file is parsed; unavailable: the backend, a GPU or
    /// memory is not there, or the engine was built for another GPU or TensorRT.
    static Network open(const std::string& path, const Options& options = {});

    /// Load a file that `espnet_embed` put into the program.
    static Network open(const EmbeddedFile& file, const Options& options = {});

    Network(Network&&) noexcept;
    Network& operator=(Network&&) noexcept;
    Network(const Network&) = delete;
    Network& operator=(const Network&) = delete;
    ~Network();

    /// Another Network of the same weights, for another thread. A language model begins anew. In OpenVINO all clones
    /// share the threads that the first was opened with, and take turns: open the file again for more.
    Network clone() const;

    const NetworkInfo& info() const noexcept;

    /// What `infer` takes and gives.
    Span<const TensorInfo> inputs() const noexcept;
    Span<const TensorInfo> outputs() const noexcept;

    // Segmentation. --------------------------------------------------------------------------------------------------

    /// The class of every pixel, at the photo's own size.
    Segmentation segment(const ImageView& photo);

    /// The same into `labels`, whose size may be the photo's, the network's or any other: the nearest pixel is taken.
    void segment(const ImageView& photo, const LabelView& labels);

    /// The same for a batch, computed at once; as many label maps as photos.
    void segment(Span<const ImageView> photos, Span<const LabelView> labels);

    // Classification. ------------------------------------------------------------------------------------------------

    /// The five most probable classes, the best first; of a multi-label network those above its threshold.
    std::vector<ScoredClass> classify(const ImageView& photo);

    /// The same for a batch; the vectors are overwritten and keep their memory.
    void classify(Span<const ImageView> photos, Span<std::vector<ScoredClass>> classes);

    // Detection. -----------------------------------------------------------------------------------------------------

    /// What is in the photo, the best first, in pixels of the photo.
    std::vector<Box> detect(const ImageView& photo);

    /// The same for a batch; the vectors are overwritten and keep their memory.
    void detect(Span<const ImageView> photos, Span<std::vector<Box>> boxes);

    // Language model. ------------------------------------------------------------------------------------------------

    /// Read one token and give the logits of the next, one for each word of the vocabulary. What was read before is
    /// remembered. A network with a fixed batch reads the token in each of its rows and gives the first.
    Span<const float> step(std::int64_t token);

    /// The same for a batch of texts, a token for each: (N, words) logits in a row. The number of texts may change only
    /// after `reset`.
    Span<const float> step(Span<const std::int64_t> tokens);
    Span<const float> step(std::initializer_list<std::int64_t> tokens);

    /// Forget what was read.
    void reset();

    // Plain tensors. -------------------------------------------------------------------------------------------------

    /// All outputs, in the order of `outputs()`, for all inputs, in any order. Inputs on the host are read in place
    /// where the backend can, and are never changed. The views belong to the Network and are on the host.
    Span<const ConstTensorView> infer(Span<const ConstTensorView> inputs);

    /// The same, into the caller's tensors, which may be some of the outputs; host or device memory. Returns when they
    /// are written. Inputs in device memory must be complete: the network's own stream waits for no other. No output
    /// may overlap an input.
    void infer(Span<const ConstTensorView> inputs, Span<const TensorView> outputs);

    /// The same, queued on the caller's stream; returns at once. All tensors are in device memory, aligned to 256
    /// bytes, and must live until the stream has passed them. TensorRT only.
    void infer(Span<const ConstTensorView> inputs, Span<const TensorView> outputs, CudaStream stream);

private:
    struct Impl;
    Impl& use() const;
    explicit Network(std::unique_ptr<Impl> impl) noexcept;
    std::unique_ptr<Impl> impl_;
};

/// Probabilities from logits, float32, rounded once. `probabilities` may be `logits` itself.
ESPNET_API void softmax(Span<const float> logits, float* probabilities);

/// Version of this library, such as "0.1.0".
ESPNET_API const char* version() noexcept;

/// The backends that this library was built with, such as "openvino, tensorrt 10.3.0"; "none" without any.
ESPNET_API const char* backends() noexcept;

}  // namespace espnet
