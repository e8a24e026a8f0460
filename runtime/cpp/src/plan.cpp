#include "plan.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <system_error>

#include "artefact.hpp"
#include "compatibility.hpp"
#include "texts.hpp"

namespace espnet {

namespace {

constexpr std::size_t header_bytes = 36;
constexpr std::size_t max_glued_bytes = std::size_t{1} << 20;  // of metadata in front of a plan

/// The beginning of a file that is taken for an engine by mistake: what it is, and the way out.
struct OtherKind {
    std::string_view beginning;
    const char* kind;
    const char* way_out;
};

constexpr OtherKind other_kinds[] = {
    {"\x1f\x8b", "a gzip archive", "unpack it first: gunzip or tar -xzf"},
    {"PK\x03\x04", "a zip archive, such as a PyTorch checkpoint", "unpack it, or export the checkpoint: --weights"},
    {"\x28\xb5\x2f\xfd", "a zstd archive", "unpack it first: unzstd"},
    {{"\xfd"
      "7zXZ\x00",
      6},
     "an xz archive",
     "unpack it first: unxz or tar -xJf"},
    {"version https://git-lfs", "a pointer of Git LFS, not the file itself", "fetch the file: git lfs pull"},
    {"\x89PNG", "a PNG picture", "give it to espnet-run --engine FILE.onnx"},
    {"\xff\xd8\xff", "a JPEG picture", "give it to espnet-run --engine FILE.onnx"},
    {"<!DOCTYPE", "a web page", "download the file again"},
    {"<html", "a web page", "download the file again"},
    {"<?xml", "an XML file, such as OpenVINO's", "give the ONNX file that it was made from"},
    {"\x7f"
     "ELF",
     "a program or library", "check the path"},
    {"{", "a text in JSON, such as a manifest", "give the artefact itself, without .json"},
    {"\x80\x02", "a Python pickle, such as torch2trt's", "export it anew"},
    {"\x80\x03", "a Python pickle, such as torch2trt's", "export it anew"},
    {"\x80\x04", "a Python pickle, such as torch2trt's", "export it anew"},
    {"\x80\x05", "a Python pickle, such as torch2trt's", "export it anew"},
};

/// Bytes of a file, read without going beyond its end.
using Bytes = Span<const std::uint8_t>;

std::string_view text_of(Bytes bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

bool begins_with(Bytes bytes, std::string_view beginning) {
    return text_of(bytes).substr(0, beginning.size()) == beginning;
}

Bytes without_first(Bytes bytes, std::size_t count) {
    return {bytes.data() + count, bytes.size() - count};
}

/// `count` bytes at `at`, the lowest first. They must be there.
std::uint64_t number_at(Bytes bytes, std::size_t at, std::size_t count) {
    std::uint64_t number = 0;
    for (std::size_t i = 0; i < count; ++i) {
        number |= std::uint64_t{bytes[at + i]} << (8 * i);
    }
    return number;
}

Version four_numbers_at(Bytes bytes, std::size_t at) {
    return {bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]};
}

/// Serialisation version 0: the library's version in bytes 24 to 27. It may lie elsewhere in others.
PlanHeader tensorrt_header(Bytes bytes) {
    PlanHeader header;
    header.builder = tensorrt;
    if (bytes.size() >= 28 && number_at(bytes, 4, 4) == 0) {
        header.version = four_numbers_at(bytes, 24);
    }
    return header;
}

/// The number at byte 8 of plans from before 8.6 stands for the version, which they do not hold itself.
PlanHeader old_tensorrt_header(Bytes bytes) {
    PlanHeader header;
    header.builder = tensorrt;
    switch (bytes.size() >= 12 ? number_at(bytes, 8, 4) : 0) {
        case 205:
            header.version = {8, 2};
            break;
        case 213:
            header.version = {8, 4};
            break;
        case 232:
            header.version = {8, 5};
            break;
        default:
            break;
    }
    return header;
}

/// What bit 0, 1, ... of the mask at byte 32 of a TensorRT-RTX plan stands for, in the versions that were measured. The
/// bit after the last one is set in portable engines only, which NVIDIA documents as for these GPUs "and later".
std::vector<std::string> names_of_mask(const Version& version) {
    if (version[0] != 1 || version[1] < 4 || version[1] > 7) {
        return {};
    }
    std::vector<std::string> names{"7.5", "8.0", "8.6", "8.9", "12.0"};
    if (version[1] > 4) {
        names.emplace_back("12.1");
    }
    return names;
}

PlanHeader rtx_header(Bytes bytes) {
    PlanHeader header;
    header.builder = tensorrt_rtx;
    constexpr std::uint64_t known_layout = 2;
    if (bytes.size() < header_bytes || !begins_with(without_first(bytes, 28), "vtrt") ||
        number_at(bytes, 8, 8) != known_layout) {
        return header;
    }
    header.stated_bytes = number_at(bytes, 16, 8);
    header.version = four_numbers_at(bytes, 24);
    const std::uint64_t mask = number_at(bytes, 32, 4);
    const std::vector<std::string> names = names_of_mask(header.version);
    // A mask with other bits than those that were seen says something that this program does not understand.
    if (names.empty() || mask == 0 || mask >> (names.size() + 1) != 0) {
        return header;
    }
    header.compute_capabilities.emplace();
    for (std::size_t bit = 0; bit < names.size(); ++bit) {
        if ((mask >> bit & 1) != 0) {
            header.compute_capabilities->push_back(names[bit]);
        }
    }
    header.and_later = mask >> names.size() != 0;
    return header;
}

std::optional<PlanHeader> plan_header(Bytes bytes) {
    if (begins_with(bytes, "ftrt")) {
        return tensorrt_header(bytes);
    }
    if (begins_with(bytes, "ptrt")) {
        return old_tensorrt_header(bytes);
    }
    if (begins_with(bytes, "vtrt")) {
        return rtx_header(bytes);
    }
    return std::nullopt;
}

FileFacts broken(FileFacts facts, const std::string& problem) {
    facts.problem = problem;
    facts.way_out = "copy it again from where it is whole, or build it again";
    facts.damaged = true;
    return facts;
}

FileFacts plan_facts(const PlanHeader& plan, std::size_t size) {
    FileFacts facts;
    facts.kind = "an engine (plan) of " + title_of(plan.builder);
    facts.plan = plan;
    const std::string bytes = std::to_string(size) + " bytes";
    if (size < header_bytes) {
        return broken(facts, "it is cut off: " + bytes + ", the header alone has " + std::to_string(header_bytes));
    }
    if (plan.stated_bytes && size < *plan.stated_bytes) {
        return broken(facts,
                      "it is cut off: " + bytes + ", by its header it had " + std::to_string(*plan.stated_bytes));
    }
    if (plan.stated_bytes && size > *plan.stated_bytes) {
        return broken(facts,
                      "something was added to it: " + bytes + ", by its header " + std::to_string(*plan.stated_bytes));
    }
    return facts;
}

// The outline of an ONNX file: the top-level fields of ModelProto (onnx/onnx.proto); the graph is skipped, not parsed.

enum class Outline { whole, not_onnx, cut };

/// Reads fields of protocol buffers one after the other.
class FieldReader {
public:
    explicit FieldReader(Bytes bytes) : bytes_(bytes) {}

    bool at_end() const { return at_ >= bytes_.size(); }
    std::uint64_t number() const { return number_; }

    Outline read(bool first) {
        std::uint64_t tag = 0;
        if (const Outline outcome = read_varint(tag); outcome != Outline::whole) {
            return outcome;
        }
        number_ = tag >> 3;
        if (wire_type_of(number_) != static_cast<int>(tag & 7) || (first && number_ != ir_version)) {
            return Outline::not_onnx;
        }
        std::uint64_t value = 0;
        if (const Outline outcome = read_varint(value); outcome != Outline::whole) {
            return outcome;
        }
        if (wire_type_of(number_) == varint) {
            constexpr std::uint64_t newest_ir_version = 100;  // 13 in 2026
            const bool possible = number_ != ir_version || (value >= 1 && value <= newest_ir_version);
            return possible ? Outline::whole : Outline::not_onnx;
        }
        if (value > bytes_.size() - at_) {
            return Outline::cut;
        }
        at_ += static_cast<std::size_t>(value);
        return Outline::whole;
    }

    static constexpr std::uint64_t ir_version = 1, graph = 7;

private:
    static constexpr int varint = 0, text = 2;

    /// -1 for a number that ModelProto does not have.
    static int wire_type_of(std::uint64_t number) {
        constexpr std::uint64_t texts[] = {2, 3, 4, 6, 7, 8, 14, 20, 25, 26};
        if (number == ir_version || number == 5) {
            return varint;
        }
        return std::find(std::begin(texts), std::end(texts), number) != std::end(texts) ? text : -1;
    }

    Outline read_varint(std::uint64_t& value) {
        constexpr unsigned max_bytes = 10;
        for (unsigned i = 0; i < max_bytes; ++i) {
            if (at_end()) {
                return Outline::cut;
            }
            const std::uint8_t byte = bytes_[at_++];
            const std::uint64_t bits = byte & 0x7Fu;
            value |= bits << (7 * i);
            if (i == max_bytes - 1 && bits > 1) {
                value =
                    ~std::uint64_t{0};  // of more than 64 bits: no tag, no version, no length that a file could have
            }
            if (byte < 0x80) {
                return Outline::whole;
            }
        }
        return Outline::not_onnx;
    }

    Bytes bytes_;
    std::size_t at_ = 0;
    std::uint64_t number_ = 0;
};

/// The facts of an ONNX file, or none if it is another.
std::optional<FileFacts> onnx_facts(Bytes bytes) {
    constexpr int max_fields = 10'000;
    FieldReader reader(bytes);
    std::optional<std::string> problem;
    std::uint64_t fields_seen = 0;  // a bit for each number
    const auto seen = [&](std::uint64_t number) { return (fields_seen >> number & 1) != 0; };
    for (int i = 0; i < max_fields && !reader.at_end() && !problem; ++i) {
        const Outline outcome = reader.read(fields_seen == 0);
        if (outcome == Outline::whole) {
            fields_seen |= std::uint64_t{1} << reader.number();
        } else if (outcome == Outline::cut) {
            problem = "it is cut off: at byte " + std::to_string(bytes.size()) + ", its last one, a field goes on";
        } else if (seen(FieldReader::graph)) {
            problem = "after its graph there is something that is not ONNX";
        } else {
            return std::nullopt;
        }
    }
    const bool several = (fields_seen & (fields_seen - 1)) != 0;
    if (!seen(FieldReader::ir_version) || !several) {
        return std::nullopt;
    }
    if (!problem && !seen(FieldReader::graph)) {
        problem = "it is cut off: it ends before its graph";
    }
    FileFacts facts;
    facts.kind = "an ONNX file";
    facts.is_onnx = true;
    facts.problem = problem;
    facts.damaged = problem.has_value();
    if (problem) {
        facts.way_out = "copy or export it again";
    }
    return facts;
}

/// Metadata in front of a plan, as Ultralytics writes it: its length in 4 bytes, JSON, the plan.
std::optional<FileFacts> glued_facts(Bytes bytes) {
    if (bytes.size() < 5 || bytes[4] != '{') {
        return std::nullopt;
    }
    const auto length = static_cast<std::size_t>(number_at(bytes, 0, 4));
    const std::size_t start = 4 + length;
    if (length < 2 || length > max_glued_bytes || start >= bytes.size() || bytes[start - 1] != '}') {
        return std::nullopt;
    }
    const Bytes inner = without_first(bytes, start);
    const std::optional<PlanHeader> plan = plan_header({inner.data(), std::min(inner.size(), header_bytes)});
    if (!plan) {
        return std::nullopt;
    }
    FileFacts facts;
    facts.kind = "an engine of " + title_of(plan->builder) + " behind " + std::to_string(length) +
                 " bytes of JSON, as Ultralytics writes it";
    facts.plan = plan;
    facts.problem = "the JSON in front of the plan keeps TensorRT, trtexec and DeepStream from reading it";
    facts.way_out = "take it off, tail -c +" + std::to_string(start + 1) + " FILE > PLAN, or export anew";
    return facts;
}

/// The first bytes as "00 01 02".
std::string hexadecimal_beginning(Bytes bytes) {
    constexpr const char* digits = "0123456789abcdef";
    constexpr std::size_t shown_bytes = 8;
    std::string text;
    for (std::size_t i = 0; i < std::min(bytes.size(), shown_bytes); ++i) {
        text += i == 0 ? "" : " ";
        text += digits[bytes[i] >> 4];
        text += digits[bytes[i] & 15];
    }
    return text;
}

FileFacts other_facts(Bytes bytes) {
    FileFacts facts;
    for (const OtherKind& other : other_kinds) {
        if (begins_with(bytes, other.beginning)) {
            facts.kind = other.kind;
            facts.problem = "it is neither an engine nor an ONNX file";
            facts.way_out = other.way_out;
            return facts;
        }
    }
    facts.kind = "a file of a kind that is not known here (it begins with " + hexadecimal_beginning(bytes) + ")";
    facts.problem = "it is neither an engine nor an ONNX file that is known here";
    facts.way_out = "check the path, or make one with espnet-export";
    return facts;
}

// Whether an engine runs here. ---------------------------------------------------------------------------------------

/// The library that the engine is of: trtexec's are of TensorRT.
std::string library_of(const EngineInfo& info) {
    return info.builder == tensorrt_rtx ? tensorrt_rtx : tensorrt;
}

/// The first characters of the name of a GPU: manifests may come from anywhere.
std::string shortened(const std::string& name) {
    constexpr std::size_t max_characters = 100;
    std::size_t characters = 0;
    for (std::size_t i = 0; i < name.size(); ++i) {
        if ((static_cast<unsigned char>(name[i]) & 0xC0) != 0x80 && characters++ == max_characters) {
            return name.substr(0, i);
        }
    }
    return name;
}

/// What header and manifest say together; the header is right where both say something.
std::optional<BuiltEngine> built_engine(const FileFacts& facts, const EngineInfo* info) {
    if (!facts.plan && info == nullptr) {
        return std::nullopt;
    }
    BuiltEngine engine;
    engine.builder = facts.plan ? facts.plan->builder : library_of(*info);
    if (facts.plan) {
        engine.version = facts.plan->version;
        engine.compute_capabilities = facts.plan->compute_capabilities;
        engine.and_later = facts.plan->and_later;
    }
    if (info == nullptr) {
        return engine;
    }
    if (const Version noted = parse_version(info->builder_version); noted.size() > engine.version.size()) {
        engine.version = noted;
    }
    if (!engine.compute_capabilities) {
        engine.and_later = false;
        if (!info->compute_capabilities.empty()) {
            engine.compute_capabilities = info->compute_capabilities;
        } else if (engine.builder == tensorrt_rtx) {
            engine.compute_capabilities = rtx_portable();
            engine.and_later = true;
        }
    }
    if (info->device && !info->device->empty()) {
        engine.device = shortened(*info->device);
    }
    engine.compatible = info->compatible;
    return engine;
}

/// What header and manifest say differently: then one of them is not of this engine.
std::optional<std::string> contradiction(const FileFacts& facts, const std::optional<Manifest>& manifest) {
    if (!facts.plan || !manifest) {
        return std::nullopt;
    }
    if (!manifest->engine) {
        return "it is an engine, its manifest is one of an ONNX file";
    }
    const PlanHeader& plan = *facts.plan;
    const EngineInfo& info = *manifest->engine;
    const Version noted = parse_version(info.builder_version);
    const auto shared = static_cast<std::ptrdiff_t>(std::min(plan.version.size(), noted.size()));
    if (plan.builder != library_of(info) ||
        !std::equal(plan.version.begin(), plan.version.begin() + shared, noted.begin())) {
        return "by its header it was built by " + title_of(plan.builder) + " " + dotted(plan.version) +
               ", by its manifest by " + info.builder + " " + info.builder_version;
    }
    std::vector<std::string> by_header = plan.compute_capabilities.value_or(std::vector<std::string>{});
    std::vector<std::string> by_manifest = info.compute_capabilities;
    std::sort(by_header.begin(), by_header.end());
    std::sort(by_manifest.begin(), by_manifest.end());
    by_manifest.erase(std::unique(by_manifest.begin(), by_manifest.end()), by_manifest.end());
    if (!by_header.empty() && !by_manifest.empty() && by_header != by_manifest) {
        return "by its header it is for sm " + joined(by_header, ", ") + ", by its manifest for sm " +
               joined(info.compute_capabilities, ", ");
    }
    return std::nullopt;
}

// The way out: the command that builds an engine that runs here. -----------------------------------------------------

/// For a shell, as Python's shlex.quote.
std::string shell_quoted(const std::string& text) {
    constexpr std::string_view plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_@%+=:,./-";
    if (!text.empty() && text.find_first_not_of(plain) == std::string::npos) {
        return text;
    }
    std::string quoted = "'";
    for (const char letter : text) {
        quoted += letter == '\'' ? "'\"'\"'" : std::string(1, letter);
    }
    return quoted + "'";
}

std::string folder_of(const std::string& path) {
    const std::string folder = std::filesystem::path(path).parent_path().string();
    return folder.empty() ? "." : folder;
}

bool is_file(const std::filesystem::path& path) {
    std::error_code ignored;  // what cannot be asked is not there
    return std::filesystem::is_regular_file(path, ignored);
}

/// ONNX files of the engine's folder: first the one of its name, then others in order, not too many.
std::vector<std::filesystem::path> onnx_files_beside(const std::string& path) {
    constexpr std::size_t max_others = 20;
    const std::filesystem::path beside = std::filesystem::path(path).replace_extension(".onnx");
    std::vector<std::filesystem::path> others;
    std::error_code failed;
    std::filesystem::directory_iterator entry(folder_of(path), failed);
    for (; !failed && entry != std::filesystem::directory_iterator(); entry.increment(failed)) {
        const std::filesystem::path& found = entry->path();
        if (found.extension() == ".onnx" && found.filename() != beside.filename()) {
            others.push_back(beside.parent_path() / found.filename());
        }
    }
    std::sort(others.begin(), others.end());
    others.resize(std::min(others.size(), max_others));
    others.insert(others.begin(), beside);
    return others;
}

/// The ONNX file beside the engine that it was built from.
std::optional<std::string> onnx_of(const std::string& path, const Manifest& manifest) {
    for (const std::filesystem::path& file : onnx_files_beside(path)) {
        if (sha256_of_file(file.string()) == manifest.onnx_sha256) {
            return file.string();
        }
    }
    return std::nullopt;
}

/// What the engine was built with, where that still is of use on this machine.
std::string options(const EngineInfo* info, const BuiltEngine& engine, const EngineMachine& machine) {
    const bool other_builder = needs_other_builder(engine, machine);
    const bool by_trtexec = info != nullptr && info->builder == "trtexec";
    std::string text = "--engine " + (other_builder ? tensorrt : by_trtexec ? std::string("trtexec") : engine.builder);
    if (info != nullptr && info->precision != "fp32") {
        text += " --precision " + info->precision;
    }
    if (engine.builder == tensorrt_rtx && !other_builder) {
        const std::vector<std::string> wanted = capabilities_to_build(engine, machine);
        text += wanted.empty() ? "" : " --compute-capability " + shell_quoted(joined(wanted, ","));
    }
    if (info != nullptr && info->profile) {
        text += " --batch " + std::to_string(info->profile->minimum) + "," + std::to_string(info->profile->optimum) +
                "," + std::to_string(info->profile->maximum);
    }
    if (info != nullptr && info->dla_core) {
        text += " --dla " + std::to_string(*info->dla_core);
    }
    if (!engine.compatible.empty()) {
        text += " --compatible " + shell_quoted(joined(engine.compatible, ","));
    }
    return text;
}

/// Such as "run: espnet-export seg.onnx --out . --engine tensorrt".
std::string rebuild(const std::string& path, const std::optional<Manifest>& manifest, const BuiltEngine& engine,
                    const EngineMachine& machine) {
    const std::filesystem::path onnx = std::filesystem::path(path).replace_extension(".onnx");
    const EngineInfo* info = manifest && manifest->engine ? &*manifest->engine : nullptr;
    const auto command = [&](const std::string& file) {
        return "run: espnet-export " + shell_quoted(file) + " --out " + shell_quoted(folder_of(path)) + " " +
               options(info, engine, machine);
    };
    if (!manifest) {
        const std::string get = "get the ONNX file that it was built from as " + shell_quoted(onnx.string()) + " and ";
        return (is_file(onnx) ? "" : get) + command(onnx.string());
    }
    if (const std::optional<std::string> found = onnx_of(path, *manifest)) {
        return command(*found);
    }
    return "get the ONNX file that it was built from (sha256 " + manifest->onnx_sha256.substr(0, 16) +
           "...) with its manifest as " + shell_quoted(onnx.string()) + " and " + command(onnx.string());
}

/// How a program gets the library. Python's way, a package to install, would not help it.
std::string way_to_library(const std::string& builder) {
    if (builder == tensorrt_rtx) {
        return "run it with espnet-run, pip install 'espnet-edge[rtx]', or build an engine of TensorRT";
    }
    return "on a Jetson it comes with JetPack; elsewhere install TensorRT with its headers; then build this library "
           "again";
}

std::string way_out(const std::string& path, const std::optional<Manifest>& manifest, const BuiltEngine& engine,
                    const EngineMachine& machine, const std::vector<Problem>& problems) {
    const auto has = [&](Problem::Kind kind) {
        return std::any_of(problems.begin(), problems.end(),
                           [&](const Problem& problem) { return problem.kind == kind; });
    };
    std::vector<std::string> ways_out;
    if (has(Problem::Kind::gpu)) {
        ways_out.emplace_back("take it and its manifest to a machine with such a GPU and run espnet-doctor there");
    }
    if (has(Problem::Kind::library) && !needs_other_builder(engine, machine)) {
        ways_out.push_back(way_to_library(engine.builder));
    }
    // Building is of use where the GPU is, and TensorRT-RTX builds without one.
    const bool built_for_another = has(Problem::Kind::version) || has(Problem::Kind::capability);
    if (built_for_another && (!has(Problem::Kind::gpu) || engine.builder == tensorrt_rtx)) {
        ways_out.push_back(rebuild(path, manifest, engine, machine));
    }
    return joined(ways_out, "; ");
}

}  // namespace

FileFacts read_file_facts(Bytes bytes) {
    if (bytes.empty()) {
        FileFacts facts;
        facts.kind = "an empty file";
        facts.problem = "it is empty";
        facts.way_out = "copy or export it again";
        facts.damaged = true;
        return facts;
    }
    if (const std::optional<PlanHeader> plan = plan_header(bytes)) {
        return plan_facts(*plan, bytes.size());
    }
    if (const std::optional<FileFacts> onnx = onnx_facts(bytes)) {
        return *onnx;
    }
    if (const std::optional<FileFacts> glued = glued_facts(bytes)) {
        return *glued;
    }
    return other_facts(bytes);
}

std::optional<std::string> engine_problem(const std::string& path, Bytes bytes, const std::optional<Manifest>& manifest,
                                          const EngineMachine& machine) {
    const FileFacts facts = read_file_facts(bytes);
    const EngineInfo* info = manifest && manifest->engine ? &*manifest->engine : nullptr;
    if (facts.problem && (facts.damaged || facts.plan || info == nullptr)) {
        return path + ": " + facts.kind + ": " + *facts.problem + "; " + *facts.way_out;
    }
    const std::optional<BuiltEngine> engine = built_engine(facts, info);
    if (!engine) {
        return path + ": " + facts.kind + ", not an engine; give the .trt file";
    }
    if (const std::optional<std::string> said = contradiction(facts, manifest)) {
        return path + ": " + *said + "; export it again";
    }
    const std::vector<Problem> problems = problems_of(*engine, machine);
    if (std::none_of(problems.begin(), problems.end(), [](const Problem& problem) { return problem.certain; })) {
        return std::nullopt;
    }
    std::vector<std::string> reasons;
    for (const Problem& problem : problems) {
        reasons.push_back(problem.text);
    }
    return path + ": built by " + engine->text() + "; here is " + text_of(machine, engine->builder) + ": " +
           joined(reasons, "; ") + "; " + way_out(path, manifest, *engine, machine, problems);
}

std::string builder_of(Bytes bytes, const std::optional<Manifest>& manifest) {
    if (const FileFacts facts = read_file_facts(bytes); facts.plan) {
        return facts.plan->builder;
    }
    return manifest && manifest->engine ? library_of(*manifest->engine) : "";
}

Version parse_version(const std::string& text) {
    constexpr std::size_t max_digits = 6;
    Version version;
    std::size_t at = 0;
    while (true) {
        const std::size_t end = std::min(text.find_first_not_of("0123456789", at), text.size());
        if (end == at || end - at > max_digits) {
            return version;
        }
        version.push_back(std::stoi(text.substr(at, end - at)));
        if (end == text.size() || text[end] != '.') {
            return version;
        }
        at = end + 1;
    }
}

}  // namespace espnet
