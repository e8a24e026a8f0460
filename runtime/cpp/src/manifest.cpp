#include "manifest.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <utility>
#include <variant>

#include <espnet/error.hpp>
#include <nlohmann/json.hpp>

#include "printable.hpp"

namespace espnet {

namespace {

constexpr int schema_version = 1;
constexpr int max_nesting = 201;                            // as the Python package's parser
constexpr std::int64_t max_side = 65'536;                   // pixels
constexpr std::int64_t max_size = 0x7fffffff;               // of one dimension
constexpr std::int64_t max_values = std::int64_t{1} << 40;  // of one tensor, the free sizes aside
constexpr std::int64_t lowest = std::numeric_limits<std::int64_t>::min();
constexpr std::int64_t highest = std::numeric_limits<std::int64_t>::max();

// A tree of our own, as nlohmann::json's destructor allocates: without memory it would end the process.
struct Json;
struct Member;
using Array = std::vector<Json>;
using Object = std::vector<Member>;

struct Json {
    std::variant<std::nullptr_t, bool, std::int64_t, std::uint64_t, double, std::string, Array, Object> value = nullptr;

    template <typename Type>
    bool is() const {
        return std::holds_alternative<Type>(value);
    }

    template <typename Type>
    const Type& as() const {
        return *std::get_if<Type>(&value);
    }
};

struct Member {
    std::string name;
    Json value;
};

/// What is wrong, and in which field.
struct Problem {
    std::string where;
    std::string text;
};

/// The first `max_characters` of UTF-8 text.
std::string beginning_of(const std::string& text, std::size_t max_characters) {
    std::size_t characters = 0;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const bool begins = (static_cast<unsigned char>(text[i]) & 0xC0) != 0x80;
        if (begins && characters++ == max_characters) {
            return text.substr(0, i);
        }
    }
    return text;
}

std::string joined(const std::vector<std::string>& parts, const char* between) {
    std::string result;
    for (const std::string& part : parts) {
        result += (&part == &parts.front() ? "" : between) + part;
    }
    return result;
}

/// "(1, 'batch')", "(1,)".
std::string tuple_text(const std::vector<std::string>& parts) {
    return "(" + joined(parts, ", ") + (parts.size() == 1 ? ",)" : ")");
}

template <typename Value>
struct Word {
    const char* text;
    Value value;
};

/// "'a', 'b' or 'c'".
template <typename Words>
std::string choices(const Words& words) {
    std::string result;
    for (auto word = std::begin(words); word != std::end(words); ++word) {
        const bool last = word + 1 == std::end(words);
        result += word == std::begin(words) ? "'" : last ? " or '" : ", '";
        result += std::string(word->text) + "'";
    }
    return result;
}

/// A value of the manifest that knows where it is. Each reader throws Problem with the words of the Python package's
/// validator. Its conversions of one JSON type to another (a number in a string, true for 1) are not made here: no
/// export writes such a manifest.
class Node {
public:
    Node(const Json& value, std::string where) : value_(value), where_(std::move(where)) {}

    [[noreturn]] void fail(const std::string& text) const { throw Problem{where_, text}; }

    bool is_null() const { return value_.is<std::nullptr_t>(); }
    bool is_string() const { return value_.is<std::string>(); }

    /// Throws Problem: not an object.
    const Node& object() const {
        if (!value_.is<Object>()) {
            fail("Input should be an object");
        }
        return *this;
    }

    /// A field that must be there, of an object.
    Node at(const std::string& name) const {
        if (const Json* found = member(name)) {
            return {*found, below(name)};
        }
        throw Problem{below(name), "Field required"};
    }

    /// The fields of an object or the entries of an array that may be missing, or null.
    std::optional<Node> find(const std::string& name) const {
        if (const Json* found = member(name)) {
            return Node{*found, below(name)};
        }
        return std::nullopt;
    }

    std::optional<Node> find_value(const std::string& name) const {
        std::optional<Node> found = find(name);
        return found && found->is_null() ? std::nullopt : found;
    }

    std::vector<Node> array() const {
        if (!value_.is<Array>()) {
            fail("Input should be a valid array");
        }
        std::vector<Node> entries;
        entries.reserve(value_.as<Array>().size());
        for (const Json& entry : value_.as<Array>()) {
            entries.emplace_back(entry, below(std::to_string(entries.size())));
        }
        return entries;
    }

    std::vector<Node> array_of_three() const {
        std::vector<Node> entries = array();
        if (entries.size() > 3) {
            fail("Tuple should have at most 3 items after validation, not " + std::to_string(entries.size()));
        }
        return entries;
    }

    /// Where the entry `index` of an array would be.
    [[noreturn]] void fail_missing(std::size_t index) const {
        throw Problem{below(std::to_string(index)), "Field required"};
    }

    const std::string& string() const {
        if (!is_string()) {
            fail("Input should be a valid string");
        }
        return value_.as<std::string>();
    }

    bool boolean() const {
        if (value_.is<bool>()) {
            return value_.as<bool>();
        }
        const bool might_be = is_string() || is_integer();
        fail(std::string("Input should be a valid boolean") + (might_be ? ", unable to interpret input" : ""));
    }

    std::int64_t integer(std::int64_t minimum = lowest, std::int64_t maximum = highest) const {
        if (!is_number()) {
            const char* reason = is_string() ? ", unable to parse string as an integer" : "";
            fail(std::string("Input should be a valid integer") + reason);
        }
        const double rounded = number();
        if (std::trunc(rounded) != rounded) {
            fail("Input should be a valid integer, got a number with a fractional part");
        }
        const bool fits = value_.is<std::int64_t>() || (value_.is<double>() && rounded >= -0x1p63 && rounded < 0x1p63);
        const std::int64_t value = value_.is<std::int64_t>() ? value_.as<std::int64_t>()
                                   : fits                    ? static_cast<std::int64_t>(rounded)
                                   : rounded < 0             ? lowest
                                                             : highest;
        if (value < minimum) {
            fail("Input should be greater than or equal to " + std::to_string(minimum));
        }
        if (value > maximum) {
            fail("Input should be less than or equal to " + std::to_string(maximum));
        }
        if (!fits) {
            fail("Unable to parse input string as an integer, exceeded maximum size");
        }
        return value;
    }

    /// Finite: JSON has no other numbers, and the parser refuses 1e400.
    double number() const {
        if (!is_number()) {
            const char* reason = is_string() ? ", unable to parse string as a number" : "";
            fail(std::string("Input should be a valid number") + reason);
        }
        return value_.is<double>()         ? value_.as<double>()
               : value_.is<std::int64_t>() ? static_cast<double>(value_.as<std::int64_t>())
                                           : static_cast<double>(value_.as<std::uint64_t>());
    }

    double positive() const {
        const double value = number();
        if (value <= 0) {
            fail("Input should be greater than 0");
        }
        return value;
    }

    /// 0 to 1.
    double fraction() const {
        const double value = number();
        if (value < 0) {
            fail("Input should be greater than or equal to 0");
        }
        if (value > 1) {
            fail("Input should be less than or equal to 1");
        }
        return value;
    }

    /// One of some words.
    template <typename Words>
    auto word(const Words& words) const {
        const std::string* text = is_string() ? &value_.as<std::string>() : nullptr;
        for (const auto& candidate : words) {
            if (text != nullptr && *text == candidate.text) {
                return candidate.value;
            }
        }
        fail("Input should be " + choices(words));
    }

private:
    bool is_integer() const { return value_.is<std::int64_t>() || value_.is<std::uint64_t>(); }
    bool is_number() const { return is_integer() || value_.is<double>(); }

    /// Of two fields of one name the last one counts.
    const Json* member(const std::string& name) const {
        if (!value_.is<Object>()) {
            return nullptr;
        }
        const Object& members = value_.as<Object>();
        const auto found = std::find_if(members.rbegin(), members.rend(),
                                        [&](const Member& candidate) { return candidate.name == name; });
        return found == members.rend() ? nullptr : &found->value;
    }

    std::string below(const std::string& name) const { return where_.empty() ? name : where_ + "." + name; }

    const Json& value_;
    std::string where_;
};

constexpr Word<Task> task_words[] = {{"classification", Task::classification},
                                     {"multi_label", Task::multi_label},
                                     {"segmentation", Task::segmentation},
                                     {"detection", Task::detection},
                                     {"language_modelling", Task::language_modelling}};
constexpr Word<Kind> kind_words[] = {{"labels", Kind::labels},
                                     {"argmax", Kind::argmax},
                                     {"upsample_argmax", Kind::upsample_argmax},
                                     {"top5", Kind::top5},
                                     {"softmax_top5", Kind::softmax_top5},
                                     {"rank_top5", Kind::rank_top5},
                                     {"threshold", Kind::threshold},
                                     {"sigmoid_threshold", Kind::sigmoid_threshold},
                                     {"nms", Kind::nms},
                                     {"decode_nms", Kind::decode_nms},
                                     {"next_word", Kind::next_word}};
constexpr Word<Resize> resize_words[] = {{"stretch", Resize::stretch},
                                         {"shorter_side_crop", Resize::shorter_side_crop}};
constexpr Word<DType> dtype_words[] = {{"float32", DType::float32},
                                       {"float16", DType::float16},
                                       {"uint8", DType::uint8},
                                       {"int32", DType::int32},
                                       {"int64", DType::int64}};
constexpr Word<const char*> io_words[] = {
    {"raw", "raw"}, {"deploy", "deploy"}, {"deepstream", "deepstream"}, {"lowres", "lowres"}};
constexpr Word<const char*> precision_words[] = {{"fp32", "fp32"}, {"fp16", "fp16"}, {"int8", "int8"}};
constexpr Word<const char*> typing_words[] = {{"strong", "strong"}, {"weak", "weak"}};
constexpr Word<const char*> colour_order_words[] = {{"RGB", "RGB"}};

/// What the host may have to do with the outputs of a task.
std::vector<Kind> kinds_of(Task task) {
    switch (task) {
        case Task::classification:
            return {Kind::top5, Kind::softmax_top5, Kind::rank_top5};
        case Task::multi_label:
            return {Kind::threshold, Kind::sigmoid_threshold};
        case Task::segmentation:
            return {Kind::labels, Kind::argmax, Kind::upsample_argmax};
        case Task::detection:
            return {Kind::nms, Kind::decode_nms};
        case Task::language_modelling:
            return {Kind::next_word};
    }
    return {};
}

/// An input or output with its sizes as Python prints them: the names of free sizes are compared, too.
struct DescribedTensor {
    TensorInfo info;
    std::vector<std::string> sizes;
};

using DescribedTensors = std::vector<DescribedTensor>;

void append_size(const Node& size, DescribedTensor& tensor) {
    if (size.is_string()) {
        tensor.info.shape.push_back(-1);
        tensor.sizes.push_back(in_quotes(size.string()));
        return;
    }
    const std::int64_t value = size.integer(1, max_size);
    tensor.info.shape.push_back(value);
    tensor.sizes.push_back(std::to_string(value));
}

void read_shape(const Node& node, DescribedTensor& tensor) {
    const std::vector<Node> sizes = node.array();
    if (sizes.size() > Shape::max_rank) {
        node.fail("more than " + std::to_string(Shape::max_rank) + " sizes, not " + std::to_string(sizes.size()));
    }
    std::int64_t values = 1;
    for (const Node& size : sizes) {
        try {
            append_size(size, tensor);
        } catch (Problem& problem) {
            throw Problem{problem.where + ".int", problem.text};  // what the validator calls this kind of size
        }
        const std::int64_t last = tensor.info.shape[tensor.info.shape.rank() - 1];
        const std::int64_t factor = std::max<std::int64_t>(last, 1);  // a free size counts as one
        if (values > max_values / factor) {
            node.fail("more than " + std::to_string(max_values) + " values");
        }
        values *= factor;
    }
}

DescribedTensor read_tensor(const Node& node) {
    node.object();
    DescribedTensor tensor;
    tensor.info.name = node.at("name").string();
    tensor.info.dtype = node.at("dtype").word(dtype_words);
    read_shape(node.at("shape"), tensor);
    tensor.info.layout = node.at("layout").string();
    tensor.info.meaning = node.at("meaning").string();
    const int rank = tensor.info.shape.rank();
    if (rank > 0 && tensor.info.batch_axis() >= rank) {
        node.fail("layout " + in_quotes(beginning_of(tensor.info.layout, 20)) + " has its batch beyond the " +
                  std::to_string(rank) + " dimensions");
    }
    return tensor;
}

DescribedTensors read_tensors(const Node& node, std::size_t at_least) {
    DescribedTensors tensors;
    for (const Node& entry : node.array()) {
        tensors.push_back(read_tensor(entry));
    }
    if (tensors.size() < at_least) {
        node.fail("Tuple should have at least " + std::to_string(at_least) + " item after validation, not " +
                  std::to_string(tensors.size()));
    }
    return tensors;
}

Colour read_colour(const Node& node) {
    std::array<std::uint8_t, 3> levels{};
    const std::vector<Node> entries = node.array_of_three();
    for (std::size_t i = 0; i < levels.size(); ++i) {
        if (i == entries.size()) {
            node.fail_missing(i);
        }
        levels[i] = static_cast<std::uint8_t>(entries[i].integer(0, 255));
    }
    return {levels[0], levels[1], levels[2]};
}

std::vector<ClassInfo> read_classes(const Node& node) {
    std::vector<ClassInfo> classes;
    for (const Node& entry : node.array()) {
        ClassInfo info;
        info.name = entry.object().at("name").string();
        if (const auto colour = entry.find_value("colour")) {
            info.colour = read_colour(*colour);
        }
        classes.push_back(std::move(info));
    }
    return classes;
}

template <typename Read>
std::array<double, 3> read_three(const Node& node, const Read& read) {
    std::array<double, 3> values{};
    const std::vector<Node> entries = node.array_of_three();
    for (std::size_t i = 0; i < values.size(); ++i) {
        if (i == entries.size()) {
            node.fail_missing(i);
        }
        values[i] = read(entries[i]);
    }
    return values;
}

int read_side(const Node& node) {
    return static_cast<int>(node.integer(1, max_side));
}

Preprocessing read_preprocessing(const Node& node) {
    node.object();
    Preprocessing rule;
    if (const auto order = node.find("colour_order")) {
        order->word(colour_order_words);
    }
    rule.resize = node.at("resize").word(resize_words);
    rule.height = read_side(node.at("height"));
    rule.width = read_side(node.at("width"));
    if (const auto side = node.find_value("shorter_side")) {
        rule.shorter_side = read_side(*side);
    }
    rule.scale = node.at("scale").positive();
    rule.mean = read_three(node.at("mean"), [](const Node& entry) { return entry.number(); });
    rule.std = read_three(node.at("std"), [](const Node& entry) { return entry.positive(); });
    rule.normalise_in_graph = node.at("normalise_in_graph").boolean();
    return rule;
}

Postprocessing read_postprocessing(const Node& node) {
    node.object();
    Postprocessing rule;
    rule.kind = node.at("kind").word(kind_words);
    if (const auto threshold = node.find_value("score_threshold")) {
        rule.score_threshold = threshold->fraction();
    }
    if (const auto threshold = node.find_value("iou_threshold")) {
        rule.iou_threshold = threshold->fraction();
    }
    if (const auto limit = node.find_value("max_per_class")) {
        rule.max_per_class = static_cast<int>(std::min(limit->integer(1), max_size));  // no more boxes than that anyway
    }
    return rule;
}

std::vector<StateInfo> read_states(const Node& node) {
    std::vector<StateInfo> states;
    for (const Node& entry : node.array()) {
        entry.object();
        states.push_back({entry.at("input").string(), entry.at("output").string()});
    }
    return states;
}

FileInfo read_file(const Node& node) {
    node.object();
    FileInfo file;
    file.name = node.at("name").string();
    // A name that leads nowhere else: a manifest may come from anywhere.
    const bool leads_elsewhere = file.name.find_first_of(std::string("/\\\0", 3)) != std::string::npos;
    if (file.name.empty() || file.name == "." || file.name == ".." || leads_elsewhere) {
        node.at("name").fail(in_quotes(beginning_of(file.name, 40)) + " is not the name of a file beside it");
    }
    file.sha256 = node.at("sha256").string();
    file.bytes = node.at("bytes").integer();
    return file;
}

void check_integers(const Node& node, std::initializer_list<const char*> names) {
    node.object();
    for (const char* name : names) {
        node.at(name).integer();
    }
}

bool is_digit(char letter) {
    return letter >= '0' && letter <= '9';
}

/// "8.7": one or two digits on each side.
bool is_compute_capability(const std::string& text) {
    const std::size_t dot = text.find('.');
    if (dot == std::string::npos) {
        return false;
    }
    const std::string parts[] = {text.substr(0, dot), text.substr(dot + 1)};
    return std::all_of(std::begin(parts), std::end(parts), [](const std::string& part) {
        return !part.empty() && part.size() <= 2 && std::all_of(part.begin(), part.end(), is_digit);
    });
}

/// A word that may become part of a command.
bool is_plain_word(const std::string& text) {
    const auto alphanumeric = [](char letter) { return is_digit(letter) || (letter >= 'a' && letter <= 'z'); };
    const auto allowed = [&](char letter) {
        return alphanumeric(letter) || letter == '+' || letter == '.' || letter == '-';
    };
    return !text.empty() && text.size() <= 40 && alphanumeric(text.front()) &&
           std::all_of(text.begin(), text.end(), allowed);
}

std::vector<std::string> read_strings(const Node& node, bool (*fits)(const std::string&), const char* pattern) {
    std::vector<std::string> strings;
    for (const Node& entry : node.array()) {
        strings.push_back(entry.string());
        if (!fits(strings.back())) {
            entry.fail(std::string("String should match pattern '") + pattern + "'");
        }
    }
    return strings;
}

Profile read_profile(const Node& node) {
    node.object();
    const auto size = [&](const char* name) { return static_cast<int>(node.at(name).integer(1, max_size)); };
    Profile profile;
    profile.minimum = size("minimum");
    profile.optimum = size("optimum");
    profile.maximum = size("maximum");
    return profile;
}

EngineInfo read_engine(const Node& node) {
    node.object();
    EngineInfo engine;
    engine.builder = node.at("builder").string();
    engine.builder_version = node.at("builder_version").string();
    engine.precision = node.at("precision").word(precision_words);
    engine.compute_capabilities =
        read_strings(node.at("compute_capabilities"), is_compute_capability, R"(^\d{1,2}\.\d{1,2}$)");
    if (const Node device = node.at("device"); !device.is_null()) {
        engine.device = device.string();
    }
    if (const Node profile = node.at("profile"); !profile.is_null()) {
        engine.profile = read_profile(profile);
    }
    if (const auto typing = node.find_value("typing")) {
        typing->word(typing_words);
    }
    if (const auto workspace = node.find_value("workspace_mib")) {
        workspace->integer();
    }
    if (const auto core = node.find_value("dla_core")) {
        engine.dla_core = core->integer();
    }
    if (const auto compatible = node.find("compatible")) {
        engine.compatible = read_strings(*compatible, is_plain_word, "^[a-z0-9][a-z0-9+.-]{0,39}$");
    }
    if (const auto types = node.find_value("network_types")) {
        check_integers(*types, {"layers", "half", "quantize", "dequantize"});
    }
    if (const auto precision = node.find_value("verified_precision")) {
        check_integers(*precision, {"layers", "fp32", "fp16", "int8", "other", "unknown"});
    }
    if (const auto reason = node.find_value("not_verified")) {
        reason->string();
    }
    return engine;
}

bool read_whether_random(const Node& weights) {
    weights.object();
    weights.at("source").string();
    if (const Node sha256 = weights.at("sha256"); !sha256.is_null()) {
        sha256.string();
    }
    return weights.at("random").boolean();
}

std::string read_onnx_sha256(const Node& onnx) {
    const std::string sha256 = onnx.object().at("sha256").string();
    check_integers(onnx, {"opset", "ir_version"});
    return sha256;
}

void check_parity(const Node& parity) {
    parity.object();
    parity.at("passed").boolean();
    parity.at("max_abs_error").number();
    if (const Node tolerance = parity.at("max_abs_error_tolerance"); !tolerance.is_null()) {
        tolerance.number();
    }
    parity.at("label_agreement").number();
    parity.at("label_agreement_tolerance").number();
    if (const auto held_out = parity.find_value("held_out_agreement")) {
        held_out->fraction();
    }
    parity.at("cases").integer();
    parity.at("report").string();
}

void check_quantisation(const Node& quantisation) {
    check_integers(quantisation, {"int8_convolutions", "convolutions"});
    quantisation.at("int8_macs_share").fraction();
    for (const Node& block : quantisation.at("kept_blocks").array()) {
        block.string();
    }
    quantisation.at("calibration_pictures").integer();
}

/// Inputs have a batch, and pre-processing gives what the first takes, which is laid out as NHWC or NCHW.
void check_sizes(const Node& node, const Manifest& manifest, const DescribedTensors& inputs) {
    for (const DescribedTensor& tensor : inputs) {
        if (tensor.sizes.empty()) {
            node.fail("input " + tensor.info.name + " has no dimensions");
        }
    }
    const bool there = manifest.preprocessing.has_value();
    if (there == (manifest.task == Task::language_modelling)) {
        node.fail(std::string("preprocessing is ") + (there ? "there" : "missing") + ", which does not go with " +
                  name_of(manifest.task));
    }
    const DescribedTensor& image = inputs.front();
    const std::size_t height_at = image.info.layout.find('H');
    if (!there || height_at == std::string::npos) {
        return;
    }
    const std::vector<std::string> prepared{std::to_string(manifest.preprocessing->height),
                                            std::to_string(manifest.preprocessing->width)};
    const bool inside = height_at + 2 <= image.sizes.size();
    if (!inside ||
        !std::equal(prepared.begin(), prepared.end(), image.sizes.begin() + static_cast<std::ptrdiff_t>(height_at))) {
        node.fail("preprocessing makes " + tuple_text(prepared) + ", input " + image.info.name + " is " +
                  tuple_text(image.sizes));
    }
}

/// The host does something that gives an answer to the task, and knows the threshold where it needs one.
void check_postprocessing(const Node& node, const Manifest& manifest) {
    const std::string kind = in_quotes(name_of(manifest.postprocessing.kind));
    const std::vector<Kind> kinds = kinds_of(manifest.task);
    if (std::find(kinds.begin(), kinds.end(), manifest.postprocessing.kind) == kinds.end()) {
        std::vector<std::string> names;
        for (const Kind allowed : kinds) {
            names.emplace_back(name_of(allowed));
        }
        node.fail("postprocessing " + kind + " is not for " + name_of(manifest.task) + ", which has " +
                  joined(names, ", "));
    }
    if (manifest.task == Task::multi_label && !manifest.postprocessing.score_threshold) {
        node.fail("postprocessing " + kind + " needs a score_threshold, and there is none");
    }
}

/// The tensor of that name; the last one, if there are several.
const DescribedTensor* find_tensor(const DescribedTensors& tensors, const std::string& name) {
    const auto found = std::find_if(tensors.rbegin(), tensors.rend(),
                                    [&](const DescribedTensor& tensor) { return tensor.info.name == name; });
    return found == tensors.rend() ? nullptr : &*found;
}

/// What is fed back fits where it goes, and a language model has what a step needs.
void check_states(const Node& node, const Manifest& manifest, const DescribedTensors& inputs,
                  const DescribedTensors& outputs) {
    std::vector<std::string> needed{"token"};
    for (const StateInfo& state : manifest.states) {
        const DescribedTensor* taken = find_tensor(inputs, state.input);
        const DescribedTensor* given = find_tensor(outputs, state.output);
        if (taken == nullptr || given == nullptr || taken->info.dtype != given->info.dtype ||
            taken->sizes != given->sizes) {
            node.fail("state " + state.input + " cannot be fed with " + state.output);
        }
        needed.push_back(state.input);
    }
    if (manifest.task != Task::language_modelling) {
        return;
    }
    std::vector<std::string> names;
    for (const DescribedTensor& tensor : inputs) {
        if (std::find(names.begin(), names.end(), tensor.info.name) == names.end()) {
            names.push_back(tensor.info.name);
        }
    }
    const auto holds = [](const std::vector<std::string>& all, const std::vector<std::string>& some) {
        return std::all_of(some.begin(), some.end(), [&](const std::string& name) {
            return std::find(all.begin(), all.end(), name) != all.end();
        });
    };
    if (!holds(names, needed) || !holds(needed, names) || find_tensor(outputs, "logits") == nullptr) {
        std::vector<std::string> quoted_names;
        std::transform(names.begin(), names.end(), std::back_inserter(quoted_names), in_quotes);
        node.fail("a language model takes token and states and gives logits; this takes [" +
                  joined(quoted_names, ", ") + "]");
    }
}

std::vector<TensorInfo> without_sizes(DescribedTensors&& tensors) {
    std::vector<TensorInfo> plain;
    for (DescribedTensor& tensor : tensors) {
        plain.push_back(std::move(tensor.info));
    }
    return plain;
}

/// Fields in the order of runtime/manifest.py: the first problem in that order is the one that is told.
Manifest read_fields(const Node& node, std::int64_t& version) {
    node.object();
    Manifest manifest;
    if (const auto stated = node.find("schema_version")) {
        version = stated->integer();
    }
    manifest.name = node.at("name").string();
    manifest.task = node.at("task").word(task_words);
    manifest.network = node.at("network").string();
    node.at("width_mult").number();
    manifest.dataset = node.at("dataset").string();
    manifest.num_classes = static_cast<int>(node.at("num_classes").integer(1, max_side));
    manifest.classes = read_classes(node.at("classes"));
    manifest.io = node.at("io").word(io_words);
    manifest.precision = node.at("precision").word(precision_words);
    DescribedTensors inputs = read_tensors(node.at("inputs"), 1);
    DescribedTensors outputs = read_tensors(node.at("outputs"), 0);
    if (const auto preprocessing = node.find_value("preprocessing")) {
        manifest.preprocessing = read_preprocessing(*preprocessing);
    }
    manifest.postprocessing = read_postprocessing(node.at("postprocessing"));
    if (const auto states = node.find("states")) {
        manifest.states = read_states(*states);
    }
    if (const auto vocabulary = node.find_value("vocabulary")) {
        manifest.vocabulary = read_file(*vocabulary);
    }
    check_integers(node.at("macs"), {"conv", "linear"});
    check_integers(node, {"params"});
    manifest.random_weights = read_whether_random(node.at("weights"));
    manifest.onnx_sha256 = read_onnx_sha256(node.at("onnx"));
    manifest.file = read_file(node.at("file"));
    if (const auto engine = node.find_value("engine")) {
        manifest.engine = read_engine(*engine);
    }
    if (const auto parity = node.find_value("parity")) {
        check_parity(*parity);
    }
    if (const auto quantisation = node.find_value("quantisation")) {
        check_quantisation(*quantisation);
    }
    check_sizes(node, manifest, inputs);
    check_postprocessing(node, manifest);
    check_states(node, manifest, inputs, outputs);
    manifest.inputs = without_sizes(std::move(inputs));
    manifest.outputs = without_sizes(std::move(outputs));
    return manifest;
}

/// " at line 1 column 8" of the byte `offset`.
std::string place_of(std::string_view json, std::size_t offset) {
    const std::string_view before = json.substr(0, std::min(offset, json.size()));
    const auto line = 1 + std::count(before.begin(), before.end(), '\n');
    const std::size_t line_at = before.rfind('\n') + 1;  // npos + 1 is 0
    return " at line " + std::to_string(line) + " column " + std::to_string(before.size() - line_at);
}

/// Refuse what is nested too deeply before any parser sees it.
void check_nesting(std::string_view json) {
    int depth = 0;
    bool in_string = false;
    for (std::size_t i = 0; i < json.size(); ++i) {
        const char letter = json[i];
        if (in_string) {
            i += letter == '\\' ? 1 : 0;
            in_string = letter != '"';
        } else if (letter == '"') {
            in_string = true;
        } else if (letter == '[' || letter == '{') {
            if (++depth > max_nesting) {
                throw Problem{"", "Invalid JSON: recursion limit exceeded" + place_of(json, i + 1)};
            }
        } else if (letter == ']' || letter == '}') {
            --depth;
        }
    }
}

/// Makes the tree of what nlohmann's parser reads. The parser's names and types.
class TreeBuilder final : public nlohmann::json_sax<nlohmann::json> {
public:
    explicit TreeBuilder(std::string_view json) : json_(json) {}

    // NOLINTBEGIN(readability-identifier-naming)
    bool null() override { return add({nullptr}); }
    bool boolean(bool value) override { return add({value}); }
    bool number_integer(std::int64_t value) override { return add({value}); }
    /// Unsigned only where it does not fit otherwise.
    bool number_unsigned(std::uint64_t value) override {
        return value <= std::uint64_t{highest} ? add({static_cast<std::int64_t>(value)}) : add({value});
    }
    bool number_float(double value, const std::string&) override { return add({value}); }
    bool string(std::string& value) override { return add({std::move(value)}); }
    bool binary(nlohmann::json::binary_t&) override { return false; }  // JSON has none
    bool start_object(std::size_t) override { return open({Object()}); }
    bool start_array(std::size_t) override { return open({Array()}); }
    bool end_object() override { return close(); }
    bool end_array() override { return close(); }
    bool key(std::string& name) override {
        std::get<Object>(open_.back()->value).push_back({std::move(name), {}});
        return true;
    }
    bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception& error) override {
        if (dynamic_cast<const nlohmann::json::out_of_range*>(&error) != nullptr) {
            throw Problem{"", "Invalid JSON: a number is beyond the largest one"};
        }
        throw Problem{"", "Invalid JSON: it is wrong" + place_of(json_, position)};
    }
    // NOLINTEND(readability-identifier-naming)

    Json root;

private:
    /// Where the next value goes. What is open stays where it is: only the innermost grows.
    Json& place() {
        if (open_.empty()) {
            return root;
        }
        if (auto* const array = std::get_if<Array>(&open_.back()->value)) {
            return array->emplace_back();
        }
        return std::get<Object>(open_.back()->value).back().value;
    }

    bool add(Json&& value) {
        place() = std::move(value);
        return true;
    }

    bool open(Json&& value) {
        Json& opened = place();
        opened = std::move(value);
        open_.push_back(&opened);
        return true;
    }

    bool close() {
        open_.pop_back();
        return true;
    }

    std::string_view json_;
    std::vector<Json*> open_;
};

Json parsed(std::string_view json) {
    check_nesting(json);
    if (json.substr(0, 3) == "\xEF\xBB\xBF") {  // a byte order mark, which the parser would let through
        throw Problem{"", "Invalid JSON: expected value at line 1 column 1"};
    }
    TreeBuilder builder(json);
    nlohmann::json::sax_parse(json.begin(), json.end(), &builder);
    return std::move(builder.root);
}

}  // namespace

const char* name_of(Task task) noexcept {
    for (const auto& word : task_words) {
        if (word.value == task) {
            return word.text;
        }
    }
    return "unknown";
}

const char* name_of(Kind kind) noexcept {
    for (const auto& word : kind_words) {
        if (word.value == kind) {
            return word.text;
        }
    }
    return "unknown";
}

Manifest parse_manifest(std::string_view json, const std::string& path) {
    if (json.size() > max_manifest_bytes) {
        throw Error(ErrorCode::check, path + ": " + std::to_string(json.size()) + " bytes, a manifest has at most " +
                                          std::to_string(max_manifest_bytes) + "; export again");
    }
    std::int64_t version = schema_version;
    Manifest manifest;
    try {
        const Json root = parsed(json);
        manifest = read_fields(Node(root, ""), version);
    } catch (const Problem& problem) {
        const std::string where = problem.where.empty() ? "the whole file" : problem.where;
        throw Error(ErrorCode::check, path + ": not a manifest, " + where + ": " + problem.text + "; export again");
    }
    if (version != schema_version) {
        throw Error(ErrorCode::check, path + ": schema version " + std::to_string(version) + ", this program reads " +
                                          std::to_string(schema_version) + "; export again, or update espnet-edge");
    }
    return manifest;
}

}  // namespace espnet
