// espnet-infer: photos in, coloured masks, classes or boxes out; or a text in, and how it goes on. What espnet-run
// does, without Python: the same files, tables, messages and exit codes (runtime/cli_run.py).

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include <espnet/error.hpp>
#include <espnet/image.hpp>
#include <espnet/network.hpp>
#include <nlohmann/json.hpp>

#include "arguments.hpp"
#include "atomic_file.hpp"
#include "image_file.hpp"
#include "infer_names.hpp"
#include "infer_text.hpp"
#include "ordered_json.hpp"
#include "text.hpp"

namespace {

namespace fs = std::filesystem;
using namespace espnet;
using namespace espnet::tools;
using nlohmann::json;

constexpr const char* program = "espnet-infer";
constexpr int schema_version = 1;
constexpr std::size_t listed_boxes = 50;  // of a photo, on standard output

const Option options[] = {
    {"--engine", "FILE", "network (.onnx, .trt) with its manifest beside it"},
    {"--out", "DIR", "folder for the results; needed for segmentation"},
    {"--backend", "NAME", "auto, openvino or tensorrt  [default: auto]"},
    {"--threads", "N", "CPU threads  [default: one per usable core]"},
    {"--labels", "FILE", "class names where the manifest has none: lines, or a JSON list"},
    {"--opacity", "0..1", "of the colours over the photo  [default: 0.5]"},
    {"--text", "TEXT", "for a language model: what it continues"},
    {"--vocabulary", "FILE", "its words, one per line  [default: those exported with it]"},
    {"--words", "N", "how many words it adds  [default: 50]"},
    {"--json", "FILE", "all results as JSON"},
    {"--allow-random-weights", nullptr, "run a network whose answers mean nothing"},
    {"--trust", nullptr, "run a file that its manifest does not vouch for"},
    {"--version", nullptr, "show the version and what it can run"},
    {"--help", nullptr, "show this"},
};

std::string help() {
    return R"(Usage: espnet-infer --engine FILE [OPTIONS] IMAGE...

Run an exported network on photos, or let a language model continue a text.

Segmentation writes DIR/NAME.overlay.png (the photo under the colours of its classes) and
DIR/NAME.labels.png (grey, each pixel is its class number), both at the photo's own size, and
prints the share of each class. Classification prints the five most probable classes, multi-label
classification all classes above the threshold of the manifest; with --out both write
DIR/NAME.classes.json. Detection prints what it finds and where, in pixels of the photo, and with
--out writes DIR/NAME.boxes.png (the photo with the boxes) and DIR/NAME.boxes.json.
NAME is the photo's name without its ending, or with it where two photos share the rest.
A language model prints --text and the words that it adds, always the most probable one.

Photos are PNG, JPEG, PGM (P5) or PPM (P6) files. One that cannot be read does not stop the others:
it is reported at the end, with exit code 2.

Examples:

  espnet-infer --engine build/seg/seg.onnx street.jpg --out build/pictures
  espnet-infer --engine build/seg/seg.trt photos/*.png --out build/pictures --opacity 0.3
  espnet-infer --engine build/cls/cls.onnx cat.jpg dog.jpg --labels names.txt --json answers.json
  espnet-infer --engine build/det/det.onnx street.jpg --out build/pictures
  espnet-infer --engine build/lm/lm.onnx --text "the old lighthouse" --words 20

Exit codes: 0 done, 2 an input is wrong, 3 the library or GPU asked for is not there, 4 the file
and its manifest disagree, 130 interrupted.

Options:
)" + option_lines(options);
}

Error wrong_input(const std::string& message) {
    return {ErrorCode::input, message};
}

// What was asked for. ------------------------------------------------------------------------------------------------

struct Request {
    std::string engine;
    std::vector<std::string> images;
    std::optional<std::string> out;
    std::optional<std::string> labels;
    std::optional<std::string> text;
    std::optional<std::string> vocabulary;
    std::optional<std::string> json_file;
    double opacity = 0.5;
    std::int64_t words = 50;
    bool allow_random_weights = false;
    Options network;
};

std::optional<std::string> path_option(const Arguments& given, const char* name) {
    const std::optional<std::string> path = given.text(name);
    return path ? std::optional<std::string>(tidy_path(*path)) : std::nullopt;
}

Request request_from(const Arguments& given) {
    Request request;
    request.engine = tidy_path(given.required("--engine"));
    for (const std::string& image : given.positional()) {
        request.images.push_back(tidy_path(image));
    }
    request.out = path_option(given, "--out");
    request.labels = path_option(given, "--labels");
    request.text = given.text("--text");
    request.vocabulary = path_option(given, "--vocabulary");
    request.json_file = path_option(given, "--json");
    request.opacity = given.number("--opacity").value_or(request.opacity);
    request.words = given.integer("--words").value_or(request.words);
    request.allow_random_weights = given.has("--allow-random-weights");
    request.network.backend = given.choice("--backend", {"auto", "openvino", "tensorrt"});
    request.network.trust = given.has("--trust");
    request.network.on_warning = [](std::string_view line) { note(program, std::string(line)); };
    if (!(request.opacity >= 0 && request.opacity <= 1)) {
        throw wrong_input("--opacity " + number_text(request.opacity) +
                          ": give a number from 0 (the photo alone) to 1 (the colours alone)");
    }
    const std::optional<std::int64_t> threads = given.integer("--threads");
    constexpr std::int64_t most_threads = 1 << 16;
    if (threads && (*threads < 1 || *threads > most_threads)) {
        const std::string limit = *threads < 1 ? "at least 1" : "at most " + std::to_string(most_threads);
        throw wrong_input("--threads " + std::to_string(*threads) + ": give " + limit +
                          ", or leave it out for one per usable core");
    }
    request.network.threads = static_cast<int>(threads.value_or(0));
    return request;
}

/// Found out before the network is loaded, which takes a while.
void check_photos(const std::vector<std::string>& images) {
    for (const std::string& image : images) {
        std::error_code ignored;
        if (fs::is_directory(image, ignored)) {
            throw wrong_input(image + ": is a folder; name the photos in it, such as " + tidy_path(image + "/*.png"));
        }
        if (!fs::exists(image, ignored)) {
            throw wrong_input(image + ": no such file; check the path (nothing was run)");
        }
    }
}

std::string manifest_path(const std::string& engine) {
    return engine + ".json";
}

void check_usable(const Request& request, const NetworkInfo& network) {
    if (network.manifest_json.empty()) {
        throw wrong_input(request.engine + ": no manifest " +
                          fs::path(manifest_path(request.engine)).filename().string() +
                          " beside it, so how to prepare a photo is unknown; export it again with espnet-export");
    }
    if (network.random_weights && !request.allow_random_weights) {
        throw wrong_input(request.engine +
                          ": its weights are random, the answers would mean nothing; export it with real weights " +
                          "(espnet-export --weights FILE), or pass --allow-random-weights");
    }
    if (network.random_weights) {
        note(program, request.engine + ": the weights are random, the answers mean nothing");
    }
}

/// Photos for networks that take pictures, a text for the others.
void check_kind_of_input(const Request& request, const NetworkInfo& network) {
    if (network.task != "language_modelling") {
        if (request.images.empty()) {
            throw wrong_input("no photo is given; " + network.name + " is for " + network.task +
                              ": name one IMAGE at least");
        }
        for (const char* option : {"--text", "--vocabulary"}) {
            if (std::string(option) == "--text" ? request.text.has_value() : request.vocabulary.has_value()) {
                throw wrong_input(std::string(option) + " is for language models, " + network.name +
                                  " takes photos: leave it out");
            }
        }
        return;
    }
    if (!request.images.empty()) {
        throw wrong_input(request.images.front() + ": " + network.name +
                          " is a language model and takes no photos; give --text TEXT");
    }
    if (request.out) {
        throw wrong_input("--out " + *request.out +
                          ": a language model prints its text and writes no pictures; leave it out");
    }
    if (!request.text) {
        throw wrong_input(network.name + " is a language model; give what it continues: --text TEXT");
    }
    if (request.words < 1) {
        throw wrong_input("--words " + std::to_string(request.words) + ": give at least 1");
    }
}

// Which files the results go to. -------------------------------------------------------------------------------------

/// A photo and the files that its results go to; without --out there are none.
struct PlannedPhoto {
    std::string path;
    std::string labels;
    std::string overlay;
    std::string classes;
    std::string boxes;
    std::string picture;

    std::vector<std::string> targets() const {
        std::vector<std::string> targets;
        for (const std::string* target : {&labels, &overlay, &classes, &boxes, &picture}) {
            if (!target->empty()) {
                targets.push_back(*target);
            }
        }
        return targets;
    }
};

/// The name without its ending, as Python has it: "a." and ".a" have none.
std::string stem_of(const std::string& path) {
    const std::string name = fs::path(path).filename().string();
    const std::size_t dot = name.rfind('.');
    return dot == std::string::npos || dot == 0 || dot + 1 == name.size() ? name : name.substr(0, dot);
}

/// Not every file system tells `A.png` from `a.png`.
std::string without_case(std::string name) {
    std::transform(name.begin(), name.end(), name.begin(),
                   [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    return name;
}

/// The photos' names without their endings; with them where the rest is the same.
std::vector<std::string> result_names(const std::vector<std::string>& images) {
    std::map<std::string, int> stems;
    for (const std::string& image : images) {
        ++stems[without_case(stem_of(image))];
    }
    std::vector<std::string> names;
    std::map<std::string, std::string> owners;
    for (const std::string& image : images) {
        const bool is_alone = stems[without_case(stem_of(image))] == 1;
        names.push_back(is_alone ? stem_of(image) : fs::path(image).filename().string());
        const auto [owner, is_new] = owners.emplace(without_case(names.back()), image);
        if (!is_new) {
            throw wrong_input(owner->second + " and " + image +
                              ": their results would have one name; run them apart, each --out its own");
        }
    }
    return names;
}

/// Each photo once, in the order in which they were given.
std::vector<std::string> without_repeats(const std::vector<std::string>& images) {
    std::vector<std::string> unique;
    std::set<std::string> seen;
    for (const std::string& image : images) {
        if (seen.insert(fs::absolute(image).string()).second) {
            unique.push_back(image);
        }
    }
    return unique;
}

std::vector<PlannedPhoto> planned(const Request& request, const std::string& task) {
    const std::vector<std::string> images = without_repeats(request.images);
    if (!request.out && task == "segmentation") {
        throw wrong_input("segmentation writes pictures: name a folder for them with --out DIR");
    }
    std::vector<PlannedPhoto> photos;
    for (const std::string& image : images) {
        photos.push_back({image, "", "", "", "", ""});
    }
    if (!request.out) {
        return photos;
    }
    std::error_code ignored;
    if (fs::exists(*request.out, ignored) && !fs::is_directory(*request.out, ignored)) {
        throw wrong_input(*request.out + ": --out is a file, not a folder; name another");
    }
    const std::vector<std::string> names = result_names(images);
    for (std::size_t i = 0; i < photos.size(); ++i) {
        const std::string begin = tidy_path(*request.out + "/" + names[i]);
        if (task == "segmentation") {
            photos[i].labels = begin + ".labels.png";
            photos[i].overlay = begin + ".overlay.png";
        } else if (task == "detection") {
            photos[i].boxes = begin + ".boxes.json";
            photos[i].picture = begin + ".boxes.png";
        } else {
            photos[i].classes = begin + ".classes.json";
        }
    }
    return photos;
}

/// No result may replace what was given, nor another result.
void check_targets(const Request& request, const std::vector<PlannedPhoto>& photos) {
    std::set<std::string> given{resolved(request.engine), resolved(manifest_path(request.engine))};
    if (request.labels) {
        given.insert(resolved(*request.labels));
    }
    std::vector<std::string> targets;
    for (const PlannedPhoto& photo : photos) {
        given.insert(resolved(photo.path));
        const std::vector<std::string> of_photo = photo.targets();
        targets.insert(targets.end(), of_photo.begin(), of_photo.end());
    }
    std::set<std::string> results;
    for (const std::string& target : targets) {
        results.insert(resolved(target));
    }
    if (request.json_file) {
        targets.push_back(*request.json_file);
    }
    for (const std::string& target : targets) {
        if (given.count(resolved(target)) != 0) {
            throw wrong_input(target +
                              ": would be overwritten, but it is one of the inputs; name another --out or --json");
        }
    }
    if (!request.json_file) {
        return;
    }
    std::error_code ignored;
    if (fs::is_directory(*request.json_file, ignored)) {
        throw wrong_input(*request.json_file + ": --json is a folder; name a file");
    }
    if (results.count(resolved(*request.json_file)) != 0) {
        throw wrong_input(*request.json_file + ": --json is also the name of a photo's result; name another file");
    }
}

void make_result_folders(const Request& request) {
    if (request.out) {
        make_folders(*request.out);
    }
    const fs::path folder = fs::path(request.json_file.value_or("")).parent_path();
    if (!folder.empty()) {
        make_folders(folder.string());
    }
    if (request.json_file) {
        check_output_file("--json", *request.json_file);
    }
}

void write_json(const std::string& path, const OrderedJson& content) {
    OrderedJson whole{{"schema_version", schema_version}};
    whole.update(content);
    // A file name may hold bytes that are no text.
    write_file(path, whole.dump(2, ' ', true, json::error_handler_t::replace) + "\n");
}

// Classes. -----------------------------------------------------------------------------------------------------------

std::vector<ClassInfo> known_classes(const Request& request, const NetworkInfo& network) {
    // A file that is given is checked even where it is not needed, so that a mistake does not stay hidden.
    std::vector<ClassInfo> classes;
    if (request.labels) {
        for (std::string& name : class_names(*request.labels, network.num_classes)) {
            classes.push_back({std::move(name), std::nullopt});
        }
    }
    if (!network.classes.empty()) {
        if (request.labels) {
            note(program, *request.labels + ": not used, the manifest names the classes");
        }
        return network.classes;
    }
    if (!request.labels) {
        note(program, "the names of the classes are not known; give them with --labels FILE");
    }
    return classes;
}

std::string class_name(int index, const std::vector<ClassInfo>& classes) {
    const auto place = static_cast<std::size_t>(index);
    return place < classes.size() ? classes[place].name : "class " + std::to_string(index);
}

std::vector<Colour> colours_of(const std::vector<ClassInfo>& classes) {
    std::vector<Colour> colours;
    for (std::size_t i = 0; i < std::min<std::size_t>(classes.size(), 256); ++i) {
        colours.push_back(classes[i].colour ? *classes[i].colour : own_colour(static_cast<int>(i)));
    }
    return colours;
}

// Results. -----------------------------------------------------------------------------------------------------------

/// What stays the same from photo to photo.
struct Job {
    Network& network;
    std::vector<ClassInfo> classes;
    std::vector<Colour> colours;
    json score_threshold;  // null where the manifest has none
    double opacity;
};

/// What the network says of a photo: one of the three.
struct Answer {
    Segmentation segmentation;
    std::vector<ScoredClass> classes;
    std::vector<Box> boxes;
};

Answer answer_for(const Photo& photo, Network& network) {
    Answer answer;
    if (network.info().task == "segmentation") {
        answer.segmentation = network.segment(photo.view());
    } else if (network.info().task == "detection") {
        answer.boxes = network.detect(photo.view());
    } else {
        answer.classes = network.classify(photo.view());
    }
    return answer;
}

/// The classes that occur, the largest share first, the lower class first on a tie.
OrderedJson present_classes(const Segmentation& answer, const Job& job) {
    std::array<std::size_t, 256> counts{};
    for (const std::uint8_t label : answer.labels) {
        ++counts[label];
    }
    std::vector<int> order(counts.size());
    std::iota(order.begin(), order.end(), 0);
    const auto count = [&](int index) { return counts[static_cast<std::size_t>(index)]; };
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return count(a) > count(b); });
    OrderedJson present = OrderedJson::array();
    for (const int index : order) {
        if (count(index) > 0) {
            const double share = static_cast<double>(count(index)) / static_cast<double>(answer.labels.size());
            present.push_back({{"class_index", index}, {"name", class_name(index, job.classes)}, {"share", share}});
        }
    }
    return present;
}

OrderedJson segmented(const PlannedPhoto& planned, const Photo& photo, Segmentation answer, const Job& job) {
    std::vector<std::uint8_t> painted(photo.rgb.size());
    paint_labels(photo.view(), {answer.labels.data(), answer.height, answer.width}, job.colours, job.opacity,
                 painted.data());
    write_file(planned.labels, png_bytes(answer.labels.data(), answer.height, answer.width, 1));
    write_file(planned.overlay, png_bytes(painted.data(), photo.height, photo.width, 3));
    return {{"image", planned.path},
            {"labels", planned.labels},
            {"overlay", planned.overlay},
            {"classes", present_classes(answer, job)}};
}

OrderedJson classified(const PlannedPhoto& planned, const std::vector<ScoredClass>& found, const Job& job) {
    OrderedJson classes = OrderedJson::array();
    for (const ScoredClass& scored : found) {
        classes.push_back({{"class_index", scored.class_index},
                           {"name", class_name(scored.class_index, job.classes)},
                           {"score", static_cast<double>(scored.score)}});
    }
    OrderedJson result{{"image", planned.path}};
    if (job.network.info().task == "multi_label") {
        result["score_threshold"] = job.score_threshold;
    }
    result["classes"] = classes;
    if (!planned.classes.empty()) {
        write_json(planned.classes, result);
    }
    return result;
}

OrderedJson detected(const PlannedPhoto& planned, Photo photo, const std::vector<Box>& found, const Job& job) {
    OrderedJson boxes = OrderedJson::array();
    for (const Box& box : found) {
        boxes.push_back({{"class_index", box.class_index},
                         {"name", class_name(box.class_index, job.classes)},
                         {"score", static_cast<double>(box.score)},
                         {"box", {box.left, box.top, box.right, box.bottom}}});
    }
    OrderedJson result{{"image", planned.path},
                       {"height", photo.height},
                       {"width", photo.width},
                       {"score_threshold", job.score_threshold},
                       {"boxes", boxes}};
    if (!planned.boxes.empty()) {
        write_json(planned.boxes, result);
        paint_boxes(found, job.colours, photo.height, photo.width, photo.rgb.data());
        write_file(planned.picture, png_bytes(photo.rgb.data(), photo.height, photo.width, 3));
        result["picture"] = planned.picture;
        result["file"] = planned.boxes;
    }
    return result;
}

/// What --json says of one photo, after its own files were written. A photo that is of no use does not stop the others.
OrderedJson result_of(const PlannedPhoto& planned, const Job& job) {
    Photo photo;
    Answer answer;
    try {
        photo = load_photo(planned.path);
        answer = answer_for(photo, job.network);
    } catch (const Error& error) {
        if (error.code() != ErrorCode::input) {
            throw;
        }
        return {{"image", planned.path}, {"error", error.what()}};
    }
    const std::string& task = job.network.info().task;
    if (task == "segmentation") {
        return segmented(planned, photo, std::move(answer.segmentation), job);
    }
    return task == "detection" ? detected(planned, std::move(photo), answer.boxes, job)
                               : classified(planned, answer.classes, job);
}

// The table on standard output. --------------------------------------------------------------------------------------

std::string formatted(const char* format, double value) {
    char text[64];
    std::snprintf(text, sizeof text, format, value);
    return text;
}

/// A share for people: "12.3 %", and "<0.1 %" instead of a rounded zero.
std::string percent(double fraction) {
    const std::string text = fraction > 0 && fraction < 0.0005 ? "<0.1 %" : formatted("%.1f %%", 100 * fraction);
    return std::string(text.size() < 7 ? 7 - text.size() : 0, ' ') + text;
}

std::size_t widest_name(const OrderedJson& entries, std::size_t count) {
    std::size_t width = 0;
    for (std::size_t i = 0; i < std::min(count, entries.size()); ++i) {
        width = std::max(width, characters(entries[i]["name"].get_ref<const std::string&>()));
    }
    return width;
}

std::string nothing_found(const OrderedJson& result) {
    return "  nothing with a score above " + formatted("%g", result["score_threshold"].get<double>()) + "\n";
}

std::string box_lines(const OrderedJson& result) {
    const OrderedJson& boxes = result["boxes"];
    std::string lines = boxes.empty() ? nothing_found(result) : "";
    const std::size_t width = widest_name(boxes, listed_boxes);
    for (std::size_t i = 0; i < std::min(boxes.size(), listed_boxes); ++i) {
        const auto edge = [&](std::size_t at) { return formatted("%.0f", boxes[i]["box"][at].get<double>()); };
        lines += "  " + padded(boxes[i]["name"], width) + "  " + formatted("%.4f", boxes[i]["score"].get<double>()) +
                 "  x " + edge(0) + " to " + edge(2) + ", y " + edge(1) + " to " + edge(3) + "\n";
    }
    if (boxes.size() > listed_boxes) {
        lines += "  and " + std::to_string(boxes.size() - listed_boxes) + " more with lower scores\n";
    }
    if (result.contains("picture")) {
        lines += "  -> " + result["picture"].get<std::string>() + ", " + result["file"].get<std::string>() + "\n";
    }
    return lines;
}

std::string class_lines(const OrderedJson& result) {
    const OrderedJson& classes = result["classes"];
    const bool are_present = result.contains("score_threshold");  // those of a multi-label network have no ranks
    std::string lines = are_present && classes.empty() ? nothing_found(result) : "";
    const std::size_t width = widest_name(classes, classes.size());
    for (std::size_t i = 0; i < classes.size(); ++i) {
        const std::string name = padded(classes[i]["name"], width);
        if (classes[i].contains("share")) {
            lines += "  " + name + "  " + percent(classes[i]["share"].get<double>()) + "\n";
        } else {
            lines += (are_present ? "  " : "  " + std::to_string(i + 1) + "  ") + name + "  " +
                     formatted("%.4f", classes[i]["score"].get<double>()) + "\n";
        }
    }
    if (result.contains("overlay")) {
        lines += "  -> " + result["overlay"].get<std::string>() + ", " + result["labels"].get<std::string>() + "\n";
    }
    return lines;
}

/// A table of one photo; a photo that could not be read has none.
void print_result(const OrderedJson& result) {
    if (!result.contains("error")) {
        print(result["image"].get<std::string>() + "\n" +
              (result.contains("boxes") ? box_lines(result) : class_lines(result)));
    }
}

void throw_failures(const OrderedJson& results) {
    std::vector<std::string> errors;
    for (const OrderedJson& result : results) {
        if (result.contains("error")) {
            errors.push_back(result["error"].get<std::string>());
        }
    }
    if (results.size() == 1 && !errors.empty()) {
        throw wrong_input(errors.front());
    }
    if (!errors.empty()) {
        throw wrong_input(std::to_string(errors.size()) + " of " + std::to_string(results.size()) +
                          " photos could not be used, the others are done: " + joined(errors, "; "));
    }
}

// The command. -------------------------------------------------------------------------------------------------------

void run_on_photos(const Request& request, Network& network, const json& manifest) {
    const std::vector<PlannedPhoto> photos = planned(request, network.info().task);
    check_targets(request, photos);
    const std::vector<ClassInfo> classes = known_classes(request, network.info());
    make_result_folders(request);
    const Job job{network, classes, colours_of(classes), manifest["postprocessing"].value("score_threshold", json()),
                  request.opacity};
    OrderedJson results = OrderedJson::array();
    for (const PlannedPhoto& photo : photos) {
        stop_if_interrupted();
        results.push_back(result_of(photo, job));
        print_result(results.back());
    }
    if (request.json_file) {
        write_json(*request.json_file,
                   {{"engine", request.engine}, {"task", network.info().task}, {"images", results}});
    }
    throw_failures(results);
}

void run_on_text(const Request& request, Network& network, const json& manifest) {
    const Vocabulary vocabulary =
        find_vocabulary(request.engine, network.info(), manifest.value("vocabulary", json()), request.vocabulary);
    if (request.json_file) {
        check_output_file("--json", *request.json_file);
        for (const std::string& input : {request.engine, manifest_path(request.engine), vocabulary.path}) {
            if (resolved(input) == resolved(*request.json_file)) {
                throw wrong_input("--json " + *request.json_file +
                                  ": would replace a file of this command; choose another name");
            }
        }
    }
    const OrderedJson result = continue_text(network, vocabulary, *request.text, request.words);
    if (request.json_file) {
        OrderedJson content{{"engine", request.engine}, {"task", network.info().task}};
        content.update(result);
        write_json(*request.json_file, content);
    }
}

int infer(int argc, const char* const* argv) {
    const Arguments given(program, argc, argv, options);
    if (given.has("--help")) {
        print(help());
        return 0;
    }
    if (given.has("--version")) {
        print(std::string(program) + " " + version() + " (" + backends() + ")\n");
        return 0;
    }
    const Request request = request_from(given);
    check_photos(request.images);
    watch_for_interrupts();
    Network network = Network::open(request.engine, request.network);
    stop_if_interrupted();
    check_usable(request, network.info());
    check_kind_of_input(request, network.info());
    const json manifest = json::parse(network.info().manifest_json);
    if (network.info().task == "language_modelling") {
        run_on_text(request, network, manifest);
    } else {
        run_on_photos(request, network, manifest);
    }
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    return run_command(program, [&] { return infer(argc, argv); });
}
