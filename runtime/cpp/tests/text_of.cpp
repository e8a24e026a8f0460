// What the library says of a file, for comparisons with the Python package:
//
//     espnet_text_of manifest FILE
//     espnet_text_of artefact FILE [--trust]
//     espnet_text_of plan FILE DEVICE GPU_REASON COMPUTE_CAPABILITY VERSION LIBRARY_ANSWER
//
// `manifest` and `artefact` print what was read as JSON, or the text of the error, and exit with its code. `plan`
// prints the facts of the file and why it does not run on that machine, "" for what is not there.

#include <exception>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include <espnet/error.hpp>
#include <nlohmann/json.hpp>

#include "artefact.hpp"
#include "manifest.hpp"
#include "plan.hpp"

namespace {

using Json = nlohmann::json;

std::string content_of(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

template <typename Value>
Json or_null(const std::optional<Value>& value) {
    return value ? Json(*value) : Json(nullptr);
}

Json tensors_of(const std::vector<espnet::TensorInfo>& tensors) {
    Json entries = Json::array();
    for (const espnet::TensorInfo& tensor : tensors) {
        entries.push_back({{"name", tensor.name},
                           {"dtype", espnet::name_of(tensor.dtype)},
                           {"shape", std::vector<std::int64_t>(tensor.shape.begin(), tensor.shape.end())},
                           {"layout", tensor.layout},
                           {"meaning", tensor.meaning}});
    }
    return entries;
}

Json classes_of(const espnet::Manifest& manifest) {
    Json entries = Json::array();
    for (const espnet::ClassInfo& info : manifest.classes) {
        Json colour = nullptr;
        if (info.colour) {
            colour = {info.colour->red, info.colour->green, info.colour->blue};
        }
        entries.push_back({{"name", info.name}, {"colour", colour}});
    }
    return entries;
}

Json preprocessing_of(const espnet::Manifest& manifest) {
    if (!manifest.preprocessing) {
        return nullptr;
    }
    const espnet::Preprocessing& rule = *manifest.preprocessing;
    return {{"resize", rule.resize == espnet::Resize::stretch ? "stretch" : "shorter_side_crop"},
            {"height", rule.height},
            {"width", rule.width},
            {"shorter_side", or_null(rule.shorter_side)},
            {"scale", rule.scale},
            {"mean", rule.mean},
            {"std", rule.std},
            {"normalise_in_graph", rule.normalise_in_graph}};
}

Json file_of(const espnet::FileInfo& file) {
    return {{"name", file.name}, {"sha256", file.sha256}, {"bytes", file.bytes}};
}

Json engine_of(const espnet::Manifest& manifest) {
    if (!manifest.engine) {
        return nullptr;
    }
    const espnet::EngineInfo& engine = *manifest.engine;
    Json profile = nullptr;
    if (engine.profile) {
        profile = {{"minimum", engine.profile->minimum},
                   {"optimum", engine.profile->optimum},
                   {"maximum", engine.profile->maximum}};
    }
    return {{"builder", engine.builder},
            {"builder_version", engine.builder_version},
            {"precision", engine.precision},
            {"compute_capabilities", engine.compute_capabilities},
            {"device", or_null(engine.device)},
            {"profile", profile},
            {"dla_core", or_null(engine.dla_core)},
            {"compatible", engine.compatible}};
}

Json manifest_of(const espnet::Manifest& manifest) {
    Json states = Json::array();
    for (const espnet::StateInfo& state : manifest.states) {
        states.push_back({{"input", state.input}, {"output", state.output}});
    }
    const espnet::Postprocessing& rule = manifest.postprocessing;
    return {{"name", manifest.name},
            {"task", espnet::name_of(manifest.task)},
            {"network", manifest.network},
            {"dataset", manifest.dataset},
            {"num_classes", manifest.num_classes},
            {"classes", classes_of(manifest)},
            {"io", manifest.io},
            {"precision", manifest.precision},
            {"inputs", tensors_of(manifest.inputs)},
            {"outputs", tensors_of(manifest.outputs)},
            {"preprocessing", preprocessing_of(manifest)},
            {"postprocessing",
             {{"kind", espnet::name_of(rule.kind)},
              {"score_threshold", or_null(rule.score_threshold)},
              {"iou_threshold", or_null(rule.iou_threshold)},
              {"max_per_class", or_null(rule.max_per_class)}}},
            {"states", states},
            {"vocabulary", manifest.vocabulary ? file_of(*manifest.vocabulary) : Json(nullptr)},
            {"random", manifest.random_weights},
            {"onnx_sha256", manifest.onnx_sha256},
            {"file", file_of(manifest.file)},
            {"engine", engine_of(manifest)}};
}

Json artefact_of(const espnet::Artefact& artefact) {
    return {{"bytes", artefact.bytes.size()},
            {"manifest", artefact.manifest ? manifest_of(*artefact.manifest) : Json(nullptr)}};
}

Json plan_of(const espnet::FileFacts& facts) {
    if (!facts.plan) {
        return nullptr;
    }
    return {{"builder", facts.plan->builder},
            {"version", facts.plan->version},
            {"stated_bytes", or_null(facts.plan->stated_bytes)},
            {"compute_capabilities", or_null(facts.plan->compute_capabilities)},
            {"and_later", facts.plan->and_later}};
}

std::optional<std::string> unless_empty(const std::string& text) {
    return text.empty() ? std::nullopt : std::optional<std::string>(text);
}

Json plan_answer(const std::vector<std::string>& arguments) {
    const std::string& path = arguments[1];
    const espnet::Artefact file = espnet::read_artefact(path, true);
    espnet::EngineMachine machine;
    machine.device = unless_empty(arguments[2]);
    machine.gpu_reason = arguments[3];
    machine.compute_capability = unless_empty(arguments[4]);
    machine.version = espnet::parse_version(arguments[5]);
    machine.library_answer = arguments[6];
    const espnet::FileFacts facts = espnet::read_file_facts(file.bytes);
    return {{"kind", facts.kind},
            {"plan", plan_of(facts)},
            {"is_onnx", facts.is_onnx},
            {"problem", or_null(facts.problem)},
            {"way_out", or_null(facts.way_out)},
            {"damaged", facts.damaged},
            {"builder", espnet::builder_of(file.bytes, file.manifest)},
            {"engine_problem", or_null(espnet::engine_problem(path, file.bytes, file.manifest, machine))}};
}

Json answer(const std::vector<std::string>& arguments) {
    const std::string mode = arguments.empty() ? "" : arguments[0];
    if (mode == "manifest" && arguments.size() == 2) {
        return manifest_of(espnet::parse_manifest(content_of(arguments[1]), arguments[1]));
    }
    if (mode == "artefact" && (arguments.size() == 2 || (arguments.size() == 3 && arguments[2] == "--trust"))) {
        return artefact_of(espnet::read_artefact(arguments[1], arguments.size() == 3));
    }
    if (mode == "plan" && arguments.size() == 7) {
        return plan_answer(arguments);
    }
    throw espnet::Error(espnet::ErrorCode::input, "usage: see the beginning of text_of.cpp");
}

}  // namespace

int main(int count, char** arguments) {
    try {
        std::cout << answer({arguments + 1, arguments + count}).dump() << '\n';
        return 0;
    } catch (const espnet::Error& error) {
        std::cout << error.what();
        return static_cast<int>(error.code());
    } catch (const std::exception& error) {
        std::cerr << "not an espnet::Error: " << error.what() << '\n';
        return 99;
    }
}
