// espnet-cppbench: how long one inference takes and what it draws, in the C++ runtime; the same measurement and the
// same result file as espnet-bench, for machines whose Python is too old for that.

#include <algorithm>
#include <cmath>
#include <ctime>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <espnet/network.hpp>

#include "arguments.hpp"
#include "atomic_file.hpp"
#include "bench_environment.hpp"
#include "bench_json.hpp"
#include "bench_latency.hpp"
#include "bench_meter.hpp"
#include "bench_power.hpp"
#include "bench_report.hpp"
#include "bench_subject.hpp"
#include "bench_tegrastats.hpp"
#include "bench_text.hpp"
#include "text.hpp"

namespace {

using namespace espnet;
using namespace espnet::bench;

constexpr const char* program = "espnet-cppbench";
constexpr int partial_code = 130;
constexpr std::int64_t max_batch = 65536;
constexpr double max_window_s = 3600;

const tools::Option options[] = {
    {"--engine", "FILE", "artefact with its manifest; repeatable"},
    {"--measure", "NAMES", "with commas: latency (default), power"},
    {"--backend", "NAME", "auto (default), openvino or tensorrt"},
    {"--threads", "N", "CPU threads; default: one per usable core"},
    {"--device", "N", "the GPU that engines run on, as CUDA counts; default: 0"},
    {"--batch", "N", "batch, where the file leaves it free; default: 1"},
    {"--rounds", "N", "rounds; in each, every line runs one block; default: 10"},
    {"--iterations", "N", "timed inferences in a block, at least; default: 10"},
    {"--block", "SECONDS", "length of a block, at least; default: 0"},
    {"--warmup", "N", "inferences before the first round, at least, and until steady; default: 3"},
    {"--max-warmup", "SECONDS", "after so long it counts as not steady; default: 10"},
    {"--seed", "N", "of the random input and of the order in the rounds; default: 0"},
    {"--power-source", "NAME", "auto (default), ina3221 or tegrastats"},
    {"--power-window", "SECONDS", "length of a window of power; default: chosen for the sensor"},
    {"--power-rounds", "N", "rounds of power, at least 3; default: 9"},
    {"--json", "FILE", "write everything, every sample, as JSON"},
    {"--trust", nullptr, "run a file that its manifest does not vouch for"},
    {"--show-meter", nullptr, "measure nothing: show the meter, its rails and what they say now, as JSON"},
    {"--parse-tegrastats", nullptr, "measure nothing: show what standard input's lines of tegrastats say"},
    {"--version", nullptr, "show the version"},
    {"--help", nullptr, "show this"},
};

// For tests: where the files of the machine are looked for, instead of /.
const tools::Option root_option = {"--sysfs-root", "DIR", ""};

std::string help() {
    return R"(Usage: espnet-cppbench --engine FILE [--engine FILE2 ...] [OPTIONS]

Measure how long one inference takes and what it draws, in the C++ runtime, in several files,
interleaved.

Files take turns in a random order, round by round, so that a machine that slows down slows all of
them. The ratio of two files is formed within the rounds. Definitions and doubts are printed below
the numbers. The file of --json is read by espnet-compare and espnet-page, on any machine.

Power is that of a Jetson: its own chips (INA3221), or tegrastats. Printed are plain means; from the
file of --json, espnet-bench --reanalyse computes energy with its uncertainty, on any machine.

Examples:

  espnet-cppbench --engine build/seg/seg.trt
  espnet-cppbench --engine build/seg/seg.trt --engine build/cls/cls.trt --json bench.json
  espnet-cppbench --engine build/seg/seg.onnx --threads 1 --rounds 20 --iterations 10
  espnet-cppbench --engine build/seg/seg.trt --measure latency,power --json seg.json
  espnet-cppbench --show-meter
  tegrastats | espnet-cppbench --parse-tegrastats

Exit codes: 0 done; 2 an option or file is wrong; 3 what was asked for is not on this machine (latency
that was asked for in the same run is printed all the same); 4 the file is not the one that its manifest
describes; 130 interrupted (what was measured is printed and kept, marked partial).

Options:

)" + tools::option_lines(options);
}

struct Request {
    std::vector<std::string> engines;
    SubjectOptions subjects;
    bool latency = true;
    bool power = false;
    BenchSettings bench;
    PowerSettings power_settings;
    std::string power_source = "auto";
    std::string root;  ///< of the file system, where the machine is looked at
    std::optional<std::string> json_file;
    std::vector<std::string> command;
};

Error input_error(const std::string& message) {
    return {ErrorCode::input, message};
}

std::vector<std::string> split(const std::string& text) {
    std::vector<std::string> names;
    std::size_t at = 0;
    while (true) {
        const std::size_t comma = text.find(',', at);
        const std::vector<std::string> words = tools::words_of(text.substr(at, comma - at));
        names.push_back(tools::joined(words, " "));
        if (comma == std::string::npos) {
            return names;
        }
        at = comma + 1;
    }
}

void set_measures(const std::string& measure, Request& request) {
    request.latency = request.power = false;
    for (const std::string& name : split(measure)) {
        if (name != "latency" && name != "power") {
            throw input_error("--measure '" + name + "' is unknown; there are latency, power");
        }
        (name == "latency" ? request.latency : request.power) = true;
    }
}

PowerSettings power_settings(const tools::Arguments& given, std::int64_t seed) {
    PowerSettings settings{given.integer("--power-rounds"), given.number("--power-window"), seed};
    if (settings.rounds && (*settings.rounds < 3 || *settings.rounds > 1000)) {
        throw input_error("--power-rounds " + std::to_string(*settings.rounds) + ": give 3 to 1000");
    }
    if (settings.window_s && !(*settings.window_s > 0 && *settings.window_s <= max_window_s)) {
        throw input_error("--power-window " + general(*settings.window_s) + ": give seconds, more than 0 and at most " +
                          general(max_window_s));
    }
    return settings;
}

/// The option that sets a field of the settings.
std::string option_of(const std::string& field) {
    if (field == "block_s") {
        return "--block";
    }
    if (field == "warmup_iterations") {
        return "--warmup";
    }
    return field == "max_warmup_s" ? "--max-warmup" : "--" + field;
}

BenchSettings bench_settings(const tools::Arguments& given) {
    BenchSettings settings;
    settings.rounds = given.integer("--rounds").value_or(settings.rounds);
    settings.iterations = given.integer("--iterations").value_or(settings.iterations);
    settings.block_s = given.number("--block").value_or(settings.block_s);
    settings.warmup_iterations = given.integer("--warmup").value_or(settings.warmup_iterations);
    settings.max_warmup_s = given.number("--max-warmup").value_or(settings.max_warmup_s);
    settings.seed = given.integer("--seed").value_or(settings.seed);
    // A short limit of the warm-up is a short warm-up.
    settings.warmup_s = std::max(0.0, std::min(settings.warmup_s, settings.max_warmup_s));
    try {
        settings.check();
    } catch (const Error& error) {
        // The bench names its own fields.
        const std::string text = error.what();
        const std::string field = text.substr(0, text.find(' '));
        throw input_error(option_of(field) + text.substr(field.size()));
    }
    return settings;
}

std::optional<std::int64_t> batch_of(const tools::Arguments& given) {
    const std::optional<std::int64_t> batch = given.integer("--batch");
    if (batch && (*batch < 1 || *batch > max_batch)) {
        throw input_error("--batch '" + std::to_string(*batch) + "': give a whole number from 1 to " +
                          std::to_string(max_batch));
    }
    return batch;
}

Options network_options(const tools::Arguments& given) {
    Options network;
    network.backend = given.choice("--backend", {"auto", "openvino", "tensorrt"});
    if (const auto threads = given.integer("--threads")) {
        if (*threads < 1 || *threads > 4096) {
            throw input_error("--threads " + std::to_string(*threads) + ": give 1 to 4096");
        }
        network.threads = static_cast<int>(*threads);
    }
    if (const auto device = given.integer("--device")) {
        if (*device < 0 || *device > 1023) {
            throw input_error("--device " + std::to_string(*device) + ": give 0 to 1023");
        }
        network.device = static_cast<int>(*device);
    }
    network.trust = given.has("--trust");
    network.on_warning = [](std::string_view line) { tools::note(program, std::string(line)); };
    return network;
}

/// Everything about the files that would otherwise be found out only after a minute of measuring.
void check_files(const std::vector<std::string>& engines, const std::optional<std::string>& json_file) {
    for (std::size_t i = 0; i < engines.size(); ++i) {
        if (std::find(engines.begin(), engines.begin() + static_cast<std::ptrdiff_t>(i), engines[i]) !=
            engines.begin() + static_cast<std::ptrdiff_t>(i)) {
            throw input_error("--engine " + engines[i] + " is given twice; leave one out");
        }
    }
    if (!json_file) {
        return;
    }
    tools::check_output_file("--json", *json_file);
    for (const std::string& engine : engines) {
        for (const std::string& taken : {engine, engine + ".json"}) {
            if (tools::resolved(*json_file) == tools::resolved(taken)) {
                throw input_error("--json " + *json_file +
                                  ": would replace a file of this command; choose another name");
            }
        }
    }
}

Request request_from(const tools::Arguments& given, int argc, const char* const* argv) {
    Request request;
    set_measures(given.text("--measure").value_or("latency"), request);
    for (const std::string& engine : given.texts("--engine")) {
        request.engines.push_back(tools::tidy_path(engine));
    }
    if (!given.positional().empty()) {
        throw input_error("Got unexpected extra argument (" + given.positional().front() + ") (see " + program +
                          " --help)");
    }
    if (request.engines.empty()) {
        throw input_error("nothing to measure: name an artefact, --engine FILE");
    }
    if (given.has("--json")) {
        request.json_file = tools::tidy_path(given.required("--json"));
    }
    check_files(request.engines, request.json_file);
    request.bench = bench_settings(given);
    request.power_settings = power_settings(given, request.bench.seed);
    request.power_source = given.text("--power-source").value_or(request.power_source);
    check_power_source(request.power_source);
    request.root = given.text(root_option.name).value_or("");
    request.subjects = {network_options(given), batch_of(given), request.bench.seed};
    request.command.assign(argv + 1, argv + argc);
    return request;
}

std::string utc_now() {
    const std::time_t now = std::time(nullptr);
    std::tm parts{};
    gmtime_r(&now, &parts);
    char text[32];
    std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S+00:00", &parts);
    return text;
}

/// What was measured so far, and what a result says of it.
class Bench {
public:
    explicit Bench(const Request& request) : request_(request) {}

    int run() {
        open();
        started_ = utc_now();
        environment_ = read_environment(request_.root);
        before_ = take_snapshot(request_.root);
        if (request_.power) {
            open_the_meter();
        }
        measure();
        after_ = take_snapshot(request_.root);
        describe();
        const std::optional<Error> not_written = write_result();
        tools::print(report());
        if (not_written) {
            throw Error(*not_written);
        }
        if (partial_) {
            const std::string kept = request_.json_file ? " and in the file" : "";
            tools::note(program, *partial_ + "; what was measured until then is above" + kept);
            return partial_code;
        }
        if (missing_power_) {
            throw Error(*missing_power_);
        }
        return 0;
    }

private:
    /// What hindered the file of --json: what was measured is printed all the same.
    std::optional<Error> write_result() {
        if (!request_.json_file) {
            return std::nullopt;
        }
        try {
            tools::write_file(*request_.json_file, result_json());
            return std::nullopt;
        } catch (const Error& error) {
            return error;
        }
    }

    void open() {
        for (const std::string& engine : request_.engines) {
            subjects_.push_back(std::make_unique<Subject>(engine, request_.subjects));
            tools::stop_if_interrupted();
        }
        names_ = line_names(subjects_);
        for (std::size_t i = 0; i < subjects_.size(); ++i) {
            Subject* subject = subjects_[i].get();
            works_.push_back({names_[i], [subject] { subject->infer(); }, subject->batch()});
        }
    }

    /// Where power is all that was asked for and there is no meter, that is the end; else the rest is delivered first.
    void open_the_meter() {
        try {
            meter_ = open_meter(request_.power_source, request_.root);
        } catch (const NoPowerError& error) {
            lose_power(error, error.probes);
        }
    }

    void lose_power(const Error& error, const std::vector<Probe>& probes) {
        if (!request_.latency) {
            throw Error(error);
        }
        missing_power_ = error;
        missing_power_json_ = missing_power_json(error.what(), probes);
    }

    void measure() {
        try {
            if (request_.latency) {
                latency_ = measure_latency(works_, request_.bench, {now_ns, tools::interrupted});
                figures_ = figures_of(*latency_);
                partial_ = latency_->partial;
            }
            if (meter_ && !partial_) {
                measure_the_power();
            }
        } catch (const NothingKept&) {
            if (!latency_) {
                tools::stop_if_interrupted();
            }
            partial_ = "interrupted in power";
            lose_power({ErrorCode::unavailable, "interrupted before three rounds were complete"}, {});
        }
    }

    void measure_the_power() {
        try {
            power_ = measure_power(works_, *meter_, request_.power_settings, tools::interrupted, request_.root);
            if (power_->partial) {
                partial_ = "power was " + *power_->partial;
            }
        } catch (const Error& error) {
            lose_power(error, {});
        }
    }

    void describe() {
        std::int64_t threads = 1;
        std::string fed;
        for (std::size_t i = 0; i < subjects_.size(); ++i) {
            const Subject& subject = *subjects_[i];
            const Backend backend = subject.backend();
            lines_.push_back({names_[i], subject.path(), backend.runtime, backend.version, backend.device,
                              backend.threads, subject.batch()});
            threads = std::max(threads, backend.threads);
            fed += (fed.empty() ? "" : "; ") + subject.path() + ": " + tools::joined(subject.inputs_in_words(), ", ");
        }
        definitions_ = {"input: " + fed + ", random"};
        if (latency_) {
            add(definitions_, latency_definitions(*latency_));
        }
        if (power_) {
            add(definitions_, power_->definitions);
        }
        definitions_.push_back("machine: " + environment_.line() + "; load average " + load_text(before_) +
                               " before, " + load_text(after_) + " after");
        if (partial_) {
            doubts_.push_back(*partial_ + ": what was to follow is missing; measure again");
        }
        add(doubts_, environment_doubts(environment_, threads, before_.load_average, after_.load_average));
        if (latency_) {
            add(doubts_, latency_doubts(*latency_, figures_, lines_));
            for (std::size_t i = 0; i < subjects_.size(); ++i) {
                if (subjects_[i]->leaves_upsampling()) {
                    doubts_.push_back(
                        names_[i] +
                        ": the network ends at logits of a lower resolution; bringing them to "
                        "the image's size and choosing the classes is not in its time, as it is in that of "
                        "a deploy file");
                }
            }
        }
        if (power_) {
            add(doubts_, power_->doubts);
            if (!request_.json_file) {
                doubts_.emplace_back(
                    "what was recorded of power is lost: give --json FILE to compute intervals from it");
            }
        }
    }

    static void add(std::vector<std::string>& lines, const std::vector<std::string>& more) {
        lines.insert(lines.end(), more.begin(), more.end());
    }

    static std::string load_text(const Snapshot& snapshot) {
        return snapshot.load_average ? fixed(*snapshot.load_average, 1) : "unknown";
    }

    std::string result_json() const {
        std::vector<std::string> files;
        std::vector<std::string> lines;
        std::vector<std::pair<std::string, std::string>> libraries;
        for (std::size_t i = 0; i < subjects_.size(); ++i) {
            files.push_back(subjects_[i]->file_json());
            lines.push_back(subjects_[i]->line_json(lines_[i].name));
            const std::pair<std::string, std::string> library{lines_[i].runtime, lines_[i].version};
            if (std::find(libraries.begin(), libraries.end(), library) == libraries.end()) {
                libraries.push_back(library);
            }
        }
        return json::object({{"schema_version", "3"},
                             {"program", json::text(program)},
                             {"command", json::of(request_.command)},
                             {"started", json::of(started_)},
                             {"partial", json::of(partial_)},
                             {"environment", environment_json(environment_, version(), libraries)},
                             {"before", snapshot_json(before_)},
                             {"after", snapshot_json(after_)},
                             {"files", json::array(files)},
                             {"lines", json::array(lines)},
                             {"latency", latency_ ? latency_json(*latency_, figures_) : "null"},
                             {"power", power_ ? power_->part_json : missing_power_json_},
                             {"definitions", json::of(definitions_)},
                             {"doubts", json::of(doubts_)}}) +
               "\n";
    }

    std::string report() const {
        std::string text = partial_ ? "partial: " + *partial_ + "\n\n" : "";
        std::vector<std::string> energy;
        if (latency_) {
            text += latency_table(lines_, figures_);
        }
        if (power_) {
            text += (latency_ ? "\n" : "") + power_->table;
            energy = power_->sentences;
        } else if (missing_power_) {
            energy = {std::string("not measured: ") + missing_power_->what()};
        }
        return text + list("energy", energy) + list("definitions", definitions_) + list("doubts", doubts_);
    }

    const Request& request_;
    std::vector<std::unique_ptr<Subject>> subjects_;
    std::vector<std::string> names_;
    std::vector<Work> works_;
    std::unique_ptr<Meter> meter_;
    std::string started_;
    Environment environment_;
    Snapshot before_;
    Snapshot after_;
    std::optional<LatencyResult> latency_;
    std::vector<LineFigures> figures_;
    std::optional<PowerMeasurement> power_;
    std::optional<Error> missing_power_;
    std::string missing_power_json_ = "null";
    std::optional<std::string> partial_;
    std::vector<LineFacts> lines_;
    std::vector<std::string> definitions_;
    std::vector<std::string> doubts_;
};

/// What each line of standard input says of the rails, as JSON.
void show_parsed_lines() {
    for (std::string line; std::getline(std::cin, line);) {
        tools::print(rails_json(parse_tegrastats(line)) + "\n");
    }
}

/// The meter that power would be read with.
void show_meter(const std::string& source, const std::string& root) {
    const std::unique_ptr<Meter> meter = open_meter(source, root);
    // tegrastats has printed one line already.
    const std::optional<Reading> reading = meter->read();
    tools::print(json::object({{"meter", meter_json(meter->info())},
                               {"readings_mw", reading ? json::of(reading->values_mw) : "null"}}) +
                 "\n");
}

int run(int argc, const char* const* argv) {
    std::vector<tools::Option> known(std::begin(options), std::end(options));
    known.push_back(root_option);
    const tools::Arguments given(program, argc, argv, known);
    if (given.has("--help")) {
        tools::print(help());
        return 0;
    }
    if (given.has("--version")) {
        tools::print(std::string(program) + " " + version() + " (" + backends() + ")\n");
        return 0;
    }
    if (given.has("--parse-tegrastats")) {
        show_parsed_lines();
        return 0;
    }
    if (given.has("--show-meter")) {
        show_meter(given.text("--power-source").value_or("auto"), given.text(root_option.name).value_or(""));
        return 0;
    }
    const Request request = request_from(given, argc, argv);
    tools::watch_for_interrupts();
    return Bench(request).run();
}

}  // namespace

int main(int argc, char** argv) {
    return tools::run_command(program, [=] { return run(argc, argv); });
}
