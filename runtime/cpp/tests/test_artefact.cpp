#include <doctest/doctest.h>

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <espnet/error.hpp>

#include "artefact.hpp"

namespace {

namespace fs = std::filesystem;

const std::string content = "ftrt and so on";
const std::string sha256 = "f3b0c44298fc1c14";  // not that of `content`

std::string manifest_for(const std::string& checksum) {
    return R"({"name": "m", "task": "segmentation", "network": "n", "width_mult": 1, "dataset": "d", "num_classes": 2,
"classes": [], "io": "raw", "precision": "fp32", "outputs": [],
"inputs": [{"name": "image", "dtype": "uint8", "shape": [1, 8, 16, 3], "layout": "NHWC", "meaning": ""}],
"preprocessing": {"resize": "stretch", "height": 8, "width": 16, "scale": 1, "mean": [0, 0, 0], "std": [1, 1, 1],
"normalise_in_graph": true}, "postprocessing": {"kind": "argmax"}, "macs": {"conv": 0, "linear": 0}, "params": 0,
"weights": {"source": "none", "sha256": null, "random": false}, "onnx": {"sha256": "", "opset": 17, "ir_version": 8},
"file": {"name": "m.trt", "bytes": 14, "sha256": ")" +
           checksum + "\"}}";
}

espnet::Span<const std::uint8_t> bytes_of(const std::string& text) {
    return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

/// A folder that is gone at the end.
class Folder {
public:
    Folder() {
        std::string name = (fs::temp_directory_path() / "espnet-XXXXXX").string();
        REQUIRE(::mkdtemp(name.data()) != nullptr);
        path_ = name;
    }
    ~Folder() { fs::remove_all(path_); }
    Folder(const Folder&) = delete;
    Folder& operator=(const Folder&) = delete;

    std::string write(const std::string& name, const std::string& text) const {
        std::ofstream(path_ / name, std::ios::binary) << text;
        return (path_ / name).string();
    }
    std::string path(const std::string& name) const { return (path_ / name).string(); }

private:
    fs::path path_;
};

struct Refusal {
    espnet::ErrorCode code = espnet::ErrorCode::internal;
    std::string text;
};

template <typename Call>
Refusal refusal(const Call& call) {
    try {
        call();
    } catch (const espnet::Error& error) {
        return {error.code(), error.what()};
    }
    return {};
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool sanitized = true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
constexpr bool sanitized = true;
#else
constexpr bool sanitized = false;
#endif
#else
constexpr bool sanitized = false;
#endif

bool under_valgrind() {
    const char* preloaded = std::getenv("LD_PRELOAD");
    return preloaded != nullptr && std::string(preloaded).find("vgpreload") != std::string::npos;
}

}  // namespace

TEST_CASE("SHA-256 of known texts (FIPS 180-2)") {
    CHECK(espnet::sha256_of(bytes_of("")) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK(espnet::sha256_of(bytes_of("abc")) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST_CASE("SHA-256 of a file is that of its bytes, also in several pieces") {
    const Folder folder;
    const std::string long_text(200'001, 'x');
    CHECK(espnet::sha256_of_file(folder.write("long", long_text)) == espnet::sha256_of(bytes_of(long_text)));
    CHECK(espnet::sha256_of_file(folder.write("even", std::string(1u << 17, 'x'))) ==
          espnet::sha256_of(bytes_of(std::string(1u << 17, 'x'))));
    CHECK_FALSE(espnet::sha256_of_file(folder.path("none")));
    CHECK_FALSE(espnet::sha256_of_file(folder.path("")));
}

TEST_CASE("a file whose manifest describes it is read") {
    const Folder folder;
    const std::string path = folder.write("m.trt", content);
    const std::string manifest = manifest_for(espnet::sha256_of(bytes_of(content)));
    folder.write("m.trt.json", manifest);
    const espnet::Artefact artefact = espnet::read_artefact(path, false);
    CHECK(std::string(artefact.bytes.begin(), artefact.bytes.end()) == content);
    CHECK(reinterpret_cast<std::uintptr_t>(artefact.bytes.data()) % 64 == 0);
    CHECK(artefact.owner != nullptr);
    CHECK(artefact.manifest->name == "m");
    CHECK(artefact.manifest_json == manifest);
}

TEST_CASE("another file than described is not read, but for those who vouch for it") {
    const Folder folder;
    const std::string path = folder.write("m.trt", content);
    folder.write("m.trt.json", manifest_for(sha256));
    const Refusal refused = refusal([&] { espnet::read_artefact(path, false); });
    CHECK(refused.code == espnet::ErrorCode::check);
    CHECK(refused.text == path + ": sha256 " + espnet::sha256_of(bytes_of(content)).substr(0, 16) +
                              "..., its manifest says f3b0c44298fc1c14...; the file was changed or replaced: export it "
                              "again, or open it with trust if you know where it is from");
    CHECK(espnet::read_artefact(path, true).manifest->name == "m");
}

TEST_CASE("a file without a manifest is not read, but for those who vouch for it") {
    const Folder folder;
    const std::string path = folder.write("m.trt", content);
    const Refusal refused = refusal([&] { espnet::read_artefact(path, false); });
    CHECK(refused.code == espnet::ErrorCode::check);
    CHECK(refused.text == path +
                              ": no manifest m.trt.json beside it; export it again with espnet-export, or open it with "
                              "trust if you know where the file is from; espnet-doctor says what it is");
    const espnet::Artefact trusted = espnet::read_artefact(path, true);
    CHECK_FALSE(trusted.manifest);
    CHECK(trusted.manifest_json.empty());
}

TEST_CASE("a broken manifest is not let through by trust") {
    const Folder folder;
    const std::string path = folder.write("m.trt", content);
    folder.write("m.trt.json", "[]");
    CHECK(refusal([&] { espnet::read_artefact(path, true); }).text ==
          path + ".json: not a manifest, the whole file: Input should be an object; export again");
}

TEST_CASE("what is not a file is told, and a pipe is not waited for") {
    const Folder folder;
    REQUIRE(::mkfifo(folder.path("pipe").c_str(), 0600) == 0);
    for (const std::string& path : {folder.path("none"), folder.path(""), folder.path("pipe"), std::string()}) {
        const Refusal refused = refusal([&] { espnet::read_artefact(path, true); });
        CHECK(refused.code == espnet::ErrorCode::input);
        CHECK(refused.text == path + ": no such file; make one with espnet-export, or check the path");
    }
}

TEST_CASE("a file that may not be read is told" * doctest::skip(::geteuid() == 0)) {
    const Folder folder;
    const std::string path = folder.write("m.trt", content);
    REQUIRE(::chmod(path.c_str(), 0) == 0);
    const Refusal refused = refusal([&] { espnet::read_artefact(path, true); });
    CHECK(refused.code == espnet::ErrorCode::input);
    CHECK(refused.text == path + ": cannot be read (Permission denied); check its permissions");
}

TEST_CASE("a file that is larger than any artefact is not read") {
    const Folder folder;
    const std::string path = folder.write("m.trt", content);
    fs::resize_file(path, (std::uint64_t{4} << 30) + 1);  // sparse: takes no room
    const Refusal refused = refusal([&] { espnet::read_artefact(path, true); });
    CHECK(refused.code == espnet::ErrorCode::input);
    CHECK(refused.text == path + ": 4294967297 bytes, an artefact has at most 4294967296; check the path");
}

// Sanitizers need address space of their own, and they and valgrind end the program where memory is missing.
TEST_CASE("a file that does not fit into the memory is told" * doctest::skip(sanitized || under_valgrind())) {
    const Folder folder;
    const std::string path = folder.write("m.trt", content);
    fs::resize_file(path, std::uint64_t{3} << 30);
    rlimit before{};
    REQUIRE(::getrlimit(RLIMIT_AS, &before) == 0);
    rlimit little = before;
    little.rlim_cur = std::size_t{1} << 30;
    REQUIRE(::setrlimit(RLIMIT_AS, &little) == 0);
    const Refusal refused = refusal([&] { espnet::read_artefact(path, true); });
    REQUIRE(::setrlimit(RLIMIT_AS, &before) == 0);
    CHECK(refused.code == espnet::ErrorCode::unavailable);
    CHECK(refused.text ==
          path + ": no memory for its 3221225472 bytes; end other programs, or export a smaller network");
}

TEST_CASE("a file in the program is checked as well, and not copied") {
    const std::string manifest = manifest_for(espnet::sha256_of(bytes_of(content)));
    const espnet::Artefact artefact = espnet::read_artefact({"m.trt", bytes_of(content), manifest}, false);
    CHECK(static_cast<const void*>(artefact.bytes.data()) == static_cast<const void*>(content.data()));
    CHECK(artefact.owner == nullptr);
    CHECK(artefact.path == "m.trt");
    CHECK(artefact.manifest->name == "m");

    const std::string other = manifest_for(sha256);
    const espnet::EmbeddedFile changed{"m.trt", bytes_of(content), other};
    CHECK(refusal([&] { espnet::read_artefact(changed, false); }).text.find("m.trt: sha256 ") == 0);
    CHECK(espnet::read_artefact(changed, true).manifest->name == "m");

    const espnet::EmbeddedFile alone{"m.trt", bytes_of(content), ""};
    const Refusal refused = refusal([&] { espnet::read_artefact(alone, false); });
    CHECK(refused.code == espnet::ErrorCode::check);
    CHECK(refused.text.find("m.trt: no manifest was given with it; export it again") == 0);
    CHECK_FALSE(espnet::read_artefact(alone, true).manifest);
}
