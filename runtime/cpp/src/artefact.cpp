#include "artefact.hpp"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <new>
#include <system_error>
#include <utility>

#include <espnet/error.hpp>

namespace espnet {

namespace {

// Texts are those of runtime/manifest.py, but for two: where a command is told to pass --trust, a program is told to
// open the file with trust.

constexpr std::size_t alignment = 64;  // of the bytes in memory: readers may take their words where they lie

/// An open file, closed at the end of its scope.
class OpenFile {
public:
    explicit OpenFile(const std::string& path) noexcept : descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
    ~OpenFile() {
        if (descriptor_ >= 0) {
            ::close(descriptor_);
        }
    }
    OpenFile(const OpenFile&) = delete;
    OpenFile& operator=(const OpenFile&) = delete;

    bool is_open() const noexcept { return descriptor_ >= 0; }

    /// Size in bytes; none if it cannot be told, and then errno says why.
    std::optional<std::uint64_t> size() const noexcept {
        struct stat status {};
        if (::fstat(descriptor_, &status) != 0) {
            return std::nullopt;
        }
        return static_cast<std::uint64_t>(status.st_size);
    }

    /// Up to `size` bytes, fewer only at the end of the file; none if reading fails, and then errno says why.
    std::optional<std::size_t> read(std::uint8_t* to, std::size_t size) const noexcept {
        std::size_t done = 0;
        while (done < size) {
            // Linux reads at most 0x7ffff000 bytes at once.
            const ssize_t count = ::read(descriptor_, to + done, std::min(size - done, std::size_t{1} << 30));
            if (count < 0 && errno == EINTR) {
                continue;
            }
            if (count < 0) {
                return std::nullopt;
            }
            if (count == 0) {
                break;
            }
            done += static_cast<std::size_t>(count);
        }
        return done;
    }

private:
    int descriptor_;
};

/// Memory with an alignment, which a vector does not give, and not filled with zeros first.
class Buffer {
public:
    explicit Buffer(std::size_t size)
        : size_(size), data_(static_cast<std::uint8_t*>(::operator new (size, std::align_val_t{alignment}))) {}
    ~Buffer() { ::operator delete (data_, std::align_val_t{alignment}); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    std::uint8_t* data() const noexcept { return data_; }
    std::size_t size() const noexcept { return size_; }

private:
    std::size_t size_;
    std::uint8_t* data_;
};

// Opening a pipe would wait for ever: only regular files are opened.
bool is_file(const std::string& path) noexcept {
    struct stat status {};
    return ::stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
}

bool exists(const std::string& path) noexcept {
    struct stat status {};
    return ::stat(path.c_str(), &status) == 0;
}

[[noreturn]] void fail_to_read(const std::string& path, int reason) {
    throw Error(ErrorCode::input,
                path + ": cannot be read (" + std::generic_category().message(reason) + "); check its permissions");
}

[[noreturn]] void fail_to_hold(const std::string& path, std::uint64_t size) {
    throw Error(ErrorCode::unavailable, path + ": no memory for its " + std::to_string(size) +
                                            " bytes; end other programs, or export a smaller network");
}

/// The whole file, at most `max_bytes` of it: `too_large` throws for a larger one.
template <typename TooLarge>
std::shared_ptr<const Buffer> read_whole(const std::string& path, std::uint64_t max_bytes, const TooLarge& too_large) {
    const OpenFile file(path);
    if (!file.is_open()) {
        fail_to_read(path, errno);
    }
    const std::optional<std::uint64_t> size = file.size();
    if (!size) {
        fail_to_read(path, errno);
    }
    if (*size > max_bytes) {
        too_large(*size);
    }
    std::shared_ptr<Buffer> buffer;
    try {
        buffer = std::make_shared<Buffer>(static_cast<std::size_t>(*size));
    } catch (const std::bad_alloc&) {
        fail_to_hold(path, *size);
    }
    const std::optional<std::size_t> count = file.read(buffer->data(), buffer->size());
    if (!count) {
        fail_to_read(path, errno);
    }
    if (*count != buffer->size()) {
        throw Error(ErrorCode::check, path + ": " + std::to_string(*count) + " bytes were read of " +
                                          std::to_string(*size) + "; it is being written, try again when it is whole");
    }
    return buffer;
}

[[noreturn]] void fail_without_manifest(const std::string& artefact, const std::string& manifest) {
    throw Error(ErrorCode::check, artefact + ": no manifest " + manifest +
                                      "; export it again with espnet-export, or open it with trust if you know where "
                                      "the file is from; espnet-doctor says what it is");
}

/// The bytes of the manifest `path` of `artefact`.
std::string read_manifest_text(const std::string& artefact, const std::string& path) {
    if (!is_file(path)) {
        fail_without_manifest(artefact, path.substr(path.rfind('/') + 1) + " beside it");  // npos + 1 is 0
    }
    const auto buffer = read_whole(path, max_manifest_bytes, [&](std::uint64_t size) {
        throw Error(ErrorCode::check, path + ": " + std::to_string(size) + " bytes, a manifest has at most " +
                                          std::to_string(max_manifest_bytes) + "; export again");
    });
    return {reinterpret_cast<const char*>(buffer->data()), buffer->size()};
}

Manifest parse(const std::string& json, const std::string& path) {
    try {
        return parse_manifest(json, path);
    } catch (const std::bad_alloc&) {
        fail_to_hold(path, json.size());
    }
}

void compare_sha256(const Artefact& artefact) {
    const std::string actual = sha256_of(artefact.bytes);
    const std::string& expected = artefact.manifest->file.sha256;
    if (actual != expected) {
        throw Error(ErrorCode::check, artefact.path + ": sha256 " + actual.substr(0, 16) + "..., its manifest says " +
                                          expected.substr(0, 16) +
                                          "...; the file was changed or replaced: export it again, or open it with "
                                          "trust if you know where it is from");
    }
}

std::string hexadecimal(const unsigned char* bytes, std::size_t size) {
    constexpr const char* digits = "0123456789abcdef";
    std::string text;
    text.reserve(2 * size);
    for (std::size_t i = 0; i < size; ++i) {
        text += digits[bytes[i] >> 4];
        text += digits[bytes[i] & 15];
    }
    return text;
}

/// SHA-256 of what is added, piece by piece.
class Sha256 {
public:
    Sha256() : context_(EVP_MD_CTX_new()) {
        check(context_ != nullptr && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1);
    }

    void add(const std::uint8_t* bytes, std::size_t size) { check(EVP_DigestUpdate(context_.get(), bytes, size) == 1); }

    std::string digits() {
        std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
        unsigned size = 0;
        check(EVP_DigestFinal_ex(context_.get(), digest.data(), &size) == 1);
        return hexadecimal(digest.data(), size);
    }

private:
    struct Free {
        void operator()(EVP_MD_CTX* context) const noexcept { EVP_MD_CTX_free(context); }
    };

    static void check(bool done) {
        if (!done) {
            throw Error(ErrorCode::unavailable, "OpenSSL gives no SHA-256; check its configuration (openssl list)");
        }
    }

    std::unique_ptr<EVP_MD_CTX, Free> context_;
};

}  // namespace

Artefact read_artefact(const std::string& path, bool trust) {
    if (!is_file(path)) {
        throw Error(ErrorCode::input, path + ": no such file; make one with espnet-export, or check the path");
    }
    Artefact artefact;
    artefact.path = path;
    const std::string manifest_path = path + ".json";
    if (!trust || exists(manifest_path)) {
        artefact.manifest_json = read_manifest_text(path, manifest_path);
        artefact.manifest = parse(artefact.manifest_json, manifest_path);
    }
    const auto buffer = read_whole(path, max_artefact_bytes, [&](std::uint64_t size) {
        throw Error(ErrorCode::input, path + ": " + std::to_string(size) + " bytes, an artefact has at most " +
                                          std::to_string(max_artefact_bytes) + "; check the path");
    });
    artefact.bytes = {buffer->data(), buffer->size()};
    artefact.owner = buffer;
    if (!trust) {
        compare_sha256(artefact);
    }
    return artefact;
}

Artefact read_artefact(const EmbeddedFile& file, bool trust) {
    Artefact artefact;
    artefact.path = file.name != nullptr ? file.name : "embedded file";
    artefact.bytes = file.bytes;
    artefact.manifest_json = std::string(file.manifest);
    if (file.manifest.empty() && !trust) {
        fail_without_manifest(artefact.path, "was given with it");
    }
    if (!file.manifest.empty()) {
        artefact.manifest = parse(artefact.manifest_json, artefact.path + ".json");
    }
    if (!trust) {
        compare_sha256(artefact);
    }
    return artefact;
}

std::string sha256_of(Span<const std::uint8_t> bytes) {
    Sha256 sha256;
    sha256.add(bytes.data(), bytes.size());
    return sha256.digits();
}

std::optional<std::string> sha256_of_file(const std::string& path) {
    if (!is_file(path)) {
        return std::nullopt;
    }
    const OpenFile file(path);
    if (!file.is_open()) {
        return std::nullopt;
    }
    Sha256 sha256;
    std::vector<std::uint8_t> piece(std::size_t{1} << 16);
    while (true) {
        const std::optional<std::size_t> count = file.read(piece.data(), piece.size());
        if (!count) {
            return std::nullopt;
        }
        sha256.add(piece.data(), *count);
        if (*count < piece.size()) {
            return sha256.digits();
        }
    }
}

}  // namespace espnet
