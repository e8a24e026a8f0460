#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include <espnet/network.hpp>

#include "bench_latency.hpp"

namespace espnet::bench {

class Random;

/// How artefacts are opened.
struct SubjectOptions {
    Options network;
    std::optional<std::int64_t> batch;  ///< where the file leaves it free; none: its own, or 1
    std::int64_t seed = 0;
};

/// What computes, from the text of NetworkInfo::backend.
struct Backend {
    std::string runtime;
    std::string version;
    std::string device = "cpu";  ///< or "cuda"
    std::optional<std::string> device_name;
    std::int64_t threads = 1;
    std::optional<bool> graph;
};

/// "openvino 2026.4.1, cpu, 2 threads" or "tensorrt 10.3.0, cuda (Orin), CUDA graph".
Backend parsed_backend(const std::string& label);

/// One artefact, open, with random inputs: pixels over the whole range, float numbers from N(0, 1), integers 0 or 1.
class Subject {
public:
    /// Throws Error: see Network::open; (input) `batch` differs from a fixed one, or another size is free.
    Subject(const std::string& path, const SubjectOptions& options);

    const std::string& path() const noexcept { return path_; }
    const NetworkInfo& info() const noexcept { return network_->info(); }
    Backend backend() const { return parsed_backend(info().backend); }
    std::int64_t batch() const noexcept { return batch_; }

    /// Name, type and shape of each input: "image uint8 (1,512,1024,3)".
    const std::vector<std::string>& inputs_in_words() const noexcept { return inputs_in_words_; }

    void infer();

    /// An entry of a result's `files`.
    std::string file_json() const;

    /// Whether the answer takes a pass over the outputs that `infer` does not make, and other forms of a network do.
    bool leaves_upsampling() const;

    /// An entry of a result's `lines`.
    std::string line_json(const std::string& name) const;

private:
    nlohmann::json manifest() const;
    void add_input(const TensorInfo& tensor, const SubjectOptions& options, Random& random);

    std::string path_;
    std::unique_ptr<Network> network_;
    std::vector<std::vector<std::uint8_t>> buffers_;
    std::vector<ConstTensorView> inputs_;
    std::vector<std::string> inputs_in_words_;
    std::int64_t batch_ = 0;
};

/// The name of each line: the runtime, and what tells the artefacts apart where there are several.
std::vector<std::string> line_names(const std::vector<std::unique_ptr<Subject>>& subjects);

}  // namespace espnet::bench
