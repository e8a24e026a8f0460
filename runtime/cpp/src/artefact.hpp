#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include <espnet/network.hpp>
#include <espnet/span.hpp>

#include "manifest.hpp"

namespace espnet {

/// A file whose manifest has been compared with it, in memory: what was hashed is what is parsed.
struct Artefact {
    std::string path;  ///< for messages
    Span<const std::uint8_t> bytes;
    std::shared_ptr<const void> owner;  ///< keeps `bytes`; null where they are part of the program
    std::optional<Manifest> manifest;   ///< none: trusted without
    std::string manifest_json;
};

/// Read `path` and its manifest, and compare the SHA-256.
///
/// Throws Error. input: it is not a file, or cannot be read; check: no valid manifest, or another SHA-256; unavailable:
/// not enough memory for it.
Artefact read_artefact(const std::string& path, bool trust);

/// The same of a file that is part of the program.
Artefact read_artefact(const EmbeddedFile& file, bool trust);

/// SHA-256 in lower-case hexadecimal digits.
std::string sha256_of(Span<const std::uint8_t> bytes);

/// The same of a file, which is read piece by piece; none if it is not a file or cannot be read.
std::optional<std::string> sha256_of_file(const std::string& path);

/// The most that is read into memory: engines and ONNX files of these networks have some hundred megabytes at most.
constexpr std::uint64_t max_artefact_bytes = std::uint64_t{4} << 30;

}  // namespace espnet
