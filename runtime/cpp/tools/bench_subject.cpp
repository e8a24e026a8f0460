#include "bench_subject.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <set>

#include <nlohmann/json.hpp>

#include <espnet/error.hpp>

#include "artefact.hpp"
#include "bench_json.hpp"
#include "bench_random.hpp"

namespace espnet::bench {

namespace {

/// Hexadecimal SHA-256 of the file as it is: a trusted one may be another than its manifest says.
std::string hash_of(const std::string& path) {
    const std::optional<std::string> sha256 = sha256_of_file(path);
    if (!sha256) {
        throw Error(ErrorCode::input, path + ": cannot be read; check the path and the disk");
    }
    return *sha256;
}

std::int64_t size_of_file(const std::string& path) {
    struct stat found {};
    if (stat(path.c_str(), &found) != 0) {
        throw Error(ErrorCode::input, path + ": " + std::strerror(errno) + "; check the path");
    }
    return found.st_size;
}

Shape fed_shape(const TensorInfo& tensor, std::optional<std::int64_t> batch, const std::string& source) {
    Shape shape = tensor.shape;
    if (shape.rank() > 0) {
        std::int64_t& size = shape[tensor.batch_axis()];
        if (size < 0) {
            size = batch.value_or(1);
        } else if (batch && *batch != size) {
            const std::string asked = std::to_string(*batch);
            throw Error(ErrorCode::input,
                        "--batch " + asked + ": " + source + " has the fixed batch " + std::to_string(size) +
                            "; leave the option out, or export with --batch 1," + asked + "," + asked);
        }
    }
    if (std::any_of(shape.begin(), shape.end(), [](std::int64_t size) { return size < 0; })) {
        throw Error(ErrorCode::input, source + ": " + tensor.name + " has a free size besides the batch, " +
                                          tensor.shape.text() + "; export it with fixed height and width");
    }
    return shape;
}

template <typename T, typename Draw>
void fill(std::vector<std::uint8_t>& buffer, const Draw& draw) {
    for (std::size_t at = 0; at < buffer.size(); at += sizeof(T)) {
        const T value = draw();
        std::memcpy(&buffer[at], &value, sizeof value);
    }
}

std::vector<std::uint8_t> random_values(DType dtype, std::size_t count, Random& random) {
    std::vector<std::uint8_t> buffer(count * size_of(dtype));
    switch (dtype) {
        case DType::uint8:
            fill<std::uint8_t>(buffer, [&] { return static_cast<std::uint8_t>(random.next_32() >> 24); });
            break;
        case DType::float32:
            fill<float>(buffer, [&] { return static_cast<float>(random.normal()); });
            break;
        case DType::float16:
            // Bits of numbers of either sign from 0.5 to 2.
            fill<std::uint16_t>(buffer, [&] {
                const std::uint32_t bits = random.next_32();
                return static_cast<std::uint16_t>((bits & 0x8000) | (0x3800 + (bits & 0x07ff)));
            });
            break;
        case DType::int32:
            fill<std::int32_t>(buffer, [&] { return static_cast<std::int32_t>(random.below(2)); });
            break;
        case DType::int64:
            fill<std::int64_t>(buffer, [&] { return static_cast<std::int64_t>(random.below(2)); });
            break;
    }
    return buffer;
}

/// A member of the manifest as it stands there, or null.
std::string member(const nlohmann::json& manifest, const nlohmann::json::json_pointer& place) {
    return manifest.contains(place) ? manifest.at(place).dump() : "null";
}

}  // namespace

Backend parsed_backend(const std::string& label) {
    Backend backend;
    const std::size_t blank = label.find(' ');
    const std::size_t comma = label.find(", ", blank == std::string::npos ? 0 : blank);
    backend.runtime = label.substr(0, blank);
    if (blank == std::string::npos || comma == std::string::npos) {
        return backend;
    }
    backend.version = label.substr(blank + 1, comma - blank - 1);
    const std::string rest = label.substr(comma + 2);
    if (rest.compare(0, 5, "cpu, ") == 0) {
        backend.threads = std::max(1, std::atoi(rest.c_str() + 5));
        return backend;
    }
    backend.device = "cuda";
    const std::size_t opened = rest.find('(');
    const std::size_t closed = rest.rfind(')');
    if (opened != std::string::npos && closed != std::string::npos && closed > opened) {
        backend.device_name = rest.substr(opened + 1, closed - opened - 1);
    }
    if (rest.find("CUDA graph") != std::string::npos) {
        backend.graph = rest.find("no CUDA graph") == std::string::npos;
    }
    return backend;
}

Subject::Subject(const std::string& path, const SubjectOptions& options)
    : path_(path), network_(std::make_unique<Network>(Network::open(path, options.network))) {
    Random random(static_cast<std::uint64_t>(options.seed));
    for (const TensorInfo& tensor : network_->inputs()) {
        add_input(tensor, options, random);
    }
    batch_ = std::max<std::int64_t>(batch_, 1);
}

void Subject::add_input(const TensorInfo& tensor, const SubjectOptions& options, Random& random) {
    const Shape shape = fed_shape(tensor, options.batch, path_);
    if (batch_ == 0 && shape.rank() > 0) {
        batch_ = shape[tensor.batch_axis()];
    }
    buffers_.push_back(random_values(tensor.dtype, shape.elements(), random));
    inputs_.push_back({tensor.name, tensor.dtype, shape, buffers_.back().data(), Memory::host});
    inputs_in_words_.push_back(tensor.name + " " + name_of(tensor.dtype) + " " + shape.text());
}

void Subject::infer() {
    network_->infer(inputs_);
}

nlohmann::json Subject::manifest() const {
    // The library has validated it.
    return info().manifest_json.empty() ? nlohmann::json::object() : nlohmann::json::parse(info().manifest_json);
}

bool Subject::leaves_upsampling() const {
    return member(manifest(), nlohmann::json::json_pointer("/postprocessing/kind")) == json::of("upsample_argmax");
}

std::string Subject::file_json() const {
    const nlohmann::json manifest = this->manifest();
    using Pointer = nlohmann::json::json_pointer;
    json::Members members{
        {"path", json::of(path_)}, {"sha256", json::of(hash_of(path_))}, {"size_bytes", json::of(size_of_file(path_))}};
    for (const char* name : {"name", "task", "network", "width_mult", "dataset", "precision"}) {
        members.emplace_back(name, member(manifest, Pointer("/" + std::string(name))));
    }
    members.emplace_back("conv_macs", member(manifest, Pointer("/macs/conv")));
    members.emplace_back("linear_macs", member(manifest, Pointer("/macs/linear")));
    members.emplace_back("params", member(manifest, Pointer("/params")));
    members.emplace_back("weights_random", member(manifest, Pointer("/weights/random")));
    return json::object(members);
}

std::string Subject::line_json(const std::string& name) const {
    const Backend computes = backend();
    return json::object({{"name", json::of(name)},
                         {"file", json::of(path_)},
                         {"runtime", json::of(computes.runtime)},
                         {"version", json::of(computes.version)},
                         {"device", json::of(computes.device)},
                         {"device_name", json::of(computes.device_name)},
                         {"threads", json::of(computes.threads)},
                         {"graph", json::of(computes.graph)},
                         {"batch", json::of(batch_)},
                         {"streams", "1"},
                         {"inputs", json::of(inputs_in_words_)}});
}

std::vector<std::string> line_names(const std::vector<std::unique_ptr<Subject>>& subjects) {
    std::vector<std::string> labels;
    for (const auto& subject : subjects) {
        const std::string& path = subject->path();
        const std::string& name = subject->info().name;
        labels.push_back(name.empty() ? path.substr(path.find_last_of('/') + 1) : name);
    }
    const bool differ = std::set<std::string>(labels.begin(), labels.end()).size() == labels.size();
    std::vector<std::string> names;
    for (std::size_t i = 0; i < subjects.size(); ++i) {
        const std::string runtime = subjects[i]->backend().runtime;
        std::string name = differ ? labels[i] : subjects[i]->path();
        name += " ";
        name += runtime;
        names.push_back(subjects.size() == 1 ? runtime : name);
    }
    return names;
}

}  // namespace espnet::bench
