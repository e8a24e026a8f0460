#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <espnet/network.hpp>
#include <espnet/tensor.hpp>

namespace espnet {

// The parts of a manifest that a program needs to run the artefact; runtime/manifest.py says what each means.

enum class Task { classification, multi_label, segmentation, detection, language_modelling };
enum class Resize { stretch, shorter_side_crop };
enum class Kind {
    labels,
    argmax,
    upsample_argmax,
    top5,
    softmax_top5,
    rank_top5,
    threshold,
    sigmoid_threshold,
    nms,
    decode_nms,
    next_word,
};

const char* name_of(Task task) noexcept;
const char* name_of(Kind kind) noexcept;

struct Preprocessing {
    Resize resize = Resize::stretch;
    int height = 0;
    int width = 0;
    std::optional<int> shorter_side;
    double scale = 0;
    std::array<double, 3> mean{};
    std::array<double, 3> std{};
    bool normalise_in_graph = false;
};

struct Postprocessing {
    Kind kind = Kind::labels;
    std::optional<double> score_threshold;
    std::optional<double> iou_threshold;
    std::optional<int> max_per_class;
};

struct StateInfo {
    std::string input;
    std::string output;
};

struct FileInfo {
    std::string name;
    std::string sha256;
    long long bytes = 0;
};

/// The batch sizes that an engine with a free batch was built for.
struct Profile {
    int minimum = 1;
    int optimum = 1;
    int maximum = 1;
};

struct EngineInfo {
    std::string builder;  ///< "tensorrt", "trtexec", "tensorrt-rtx"
    std::string builder_version;
    std::string precision;
    std::vector<std::string> compute_capabilities;
    std::optional<std::string> device;
    std::optional<Profile> profile;
    std::optional<long long> dla_core;
    std::vector<std::string> compatible;
};

struct Manifest {
    std::string name;
    Task task = Task::segmentation;
    std::string network;
    std::string dataset;
    int num_classes = 0;
    std::vector<ClassInfo> classes;
    std::string io;
    std::string precision;
    std::vector<TensorInfo> inputs;
    std::vector<TensorInfo> outputs;
    std::optional<Preprocessing> preprocessing;
    Postprocessing postprocessing;
    std::vector<StateInfo> states;
    std::optional<FileInfo> vocabulary;
    bool random_weights = false;
    std::string onnx_sha256;
    FileInfo file;
    std::optional<EngineInfo> engine;
};

constexpr std::size_t max_manifest_bytes = std::size_t{4} << 20;

/// Parse and validate a manifest by the rules of runtime/manifest.py, with its texts.
///
/// Args:
///     json: at most `max_manifest_bytes`.
///     path: of the manifest, for messages.
///
/// Throws Error (check): too large, nested too deeply, not JSON, of another schema version, a field is missing, of
/// another type or out of range, or fields contradict each other.
Manifest parse_manifest(std::string_view json, const std::string& path);

}  // namespace espnet
