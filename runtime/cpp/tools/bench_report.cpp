#include "bench_report.hpp"

#include <algorithm>

#include "arguments.hpp"
#include "bench_json.hpp"
#include "bench_text.hpp"

namespace espnet::bench {

namespace {

// Medians of a line's rounds that lie further apart than this share tell of a machine that is not steady.
constexpr double steady_share = 0.10;
constexpr std::size_t shown_lines = 4;

std::string summary_json(const Summary& summary) {
    json::Members bounds;
    for (const auto& [name, ends] : summary.bounds_ms) {
        bounds.emplace_back(name, json::array({json::of(ends.first), json::of(ends.second)}));
    }
    return json::object({{"n", json::number(summary.n)},
                         {"p50_ms", json::of(summary.p50_ms)},
                         {"p90_ms", json::of(summary.p90_ms)},
                         {"p95_ms", json::of(summary.p95_ms)},
                         {"p99_ms", json::of(summary.p99_ms)},
                         {"mean_ms", json::of(summary.mean_ms)},
                         {"min_ms", json::of(summary.min_ms)},
                         {"max_ms", json::of(summary.max_ms)},
                         {"stddev_ms", json::of(summary.stddev_ms)},
                         {"bounds_ms", json::object(bounds)},
                         {"percentile_rule", json::text(percentile_rule)}});
}

std::string ratio_json(const Ratio& ratio) {
    return json::object({{"median", json::of(ratio.median)},
                         {"minimum", json::of(ratio.minimum)},
                         {"maximum", json::of(ratio.maximum)},
                         {"rounds", json::number(ratio.rounds)},
                         {"low", json::of(ratio.low)},
                         {"high", json::of(ratio.high)}});
}

std::string settings_json(const BenchSettings& settings) {
    return json::object({{"rounds", json::of(settings.rounds)},
                         {"iterations", json::of(settings.iterations)},
                         {"block_s", json::of(settings.block_s)},
                         {"warmup_iterations", json::of(settings.warmup_iterations)},
                         {"warmup_s", json::of(settings.warmup_s)},
                         {"max_warmup_s", json::of(settings.max_warmup_s)},
                         {"rate_hz", "null"},
                         {"stages", "false"},
                         {"preset", "null"},
                         {"seed", json::of(settings.seed)}});
}

std::string line_json(const LatencySamples& line, const LineFigures& figures) {
    return json::object({{"name", json::of(line.name)},
                         {"warmup_ns", json::of(line.warmup_ns)},
                         {"steady", json::of(line.steady)},
                         {"discarded_ns", json::of(line.discarded_ns)},
                         {"starts_ns", json::of(line.starts_ns)},
                         {"samples_ns", json::of(line.samples_ns)},
                         {"elapsed_ns", json::of(line.elapsed_ns)},
                         {"summary", summary_json(figures.summary)},
                         {"throughput_per_s", json::of(figures.throughput_per_s)},
                         {"ratio", figures.ratio ? ratio_json(*figures.ratio) : "null"}});
}

/// Two decimals, or two significant digits where that says more.
std::string ratio_figure(double ratio) {
    return ratio >= 0.1 ? fixed(ratio, 2) : general(ratio, 2);
}

std::string ratio_text(const std::optional<Ratio>& ratio) {
    if (!ratio) {
        return "1.00";
    }
    if (!ratio->low || !ratio->high) {
        return ratio_figure(ratio->median) + " [no interval]";
    }
    return ratio_figure(ratio->median) + " [" + ratio_figure(*ratio->low) + ".." + ratio_figure(*ratio->high) + "]";
}

std::string joined(const std::vector<std::string>& names) {
    std::string text;
    for (const std::string& name : names) {
        text += (text.empty() ? "" : ", ") + name;
    }
    return text;
}

/// Medians of a line's rounds that lie furthest apart. Units: ms.
struct Drift {
    std::string name;
    double low = 0;
    double high = 0;
};

void add_drift_doubt(const LatencyResult& latency, std::vector<std::string>& doubts) {
    std::vector<Drift> unsteady;
    for (const LatencySamples& line : latency.lines) {
        const std::vector<double> medians = line.round_medians_ns();
        const auto [least, most] = std::minmax_element(medians.begin(), medians.end());
        if (*most > *least * (1 + steady_share)) {
            unsteady.push_back({line.name, *least / 1e6, *most / 1e6});
        }
    }
    if (unsteady.empty()) {
        return;
    }
    std::stable_sort(unsteady.begin(), unsteady.end(), [](const Drift& left, const Drift& right) {
        return left.low / left.high < right.low / right.high;
    });
    std::vector<std::string> shown;
    for (const Drift& drift : unsteady) {
        if (shown.size() < shown_lines) {
            shown.push_back(drift.name + " " + percent(drift.high / drift.low - 1, 0) + " (" + fixed(drift.low, 3) +
                            " to " + fixed(drift.high, 3) + " ms)");
        }
    }
    const std::size_t others = unsteady.size() - shown.size();
    doubts.push_back("medians of the rounds lie apart: " + joined(shown) +
                     (others > 0 ? " and " + std::to_string(others) + " more lines" : "") +
                     "; the machine is not steady: let it cool and come to rest, and raise --rounds");
}

void add_tie_doubts(const LatencyResult& latency, const std::vector<LineFigures>& figures,
                    const std::vector<LineFacts>& lines, std::vector<std::string>& doubts) {
    std::vector<std::string> bare;
    std::vector<std::string> tied;
    for (std::size_t i = 0; i < figures.size(); ++i) {
        const std::optional<Ratio>& ratio = figures[i].ratio;
        if (!ratio) {
            continue;
        }
        if (!ratio->low) {
            bare.push_back(lines[i].name);
        } else if (lines[i].batch == lines[0].batch && *ratio->low <= 1 && 1 <= *ratio->high) {
            tied.push_back(lines[i].name);
        }
    }
    if (!bare.empty()) {
        doubts.push_back(joined(bare) + ": the ratio has no interval; " + std::to_string(least_rounds) +
                         " rounds at least are needed: raise --rounds");
    }
    if (!tied.empty()) {
        doubts.push_back(joined(tied) + ": cannot be told apart from " + latency.lines[0].name +
                         ", the interval of the ratio holds 1; raise --rounds");
    }
}

}  // namespace

std::vector<LineFigures> figures_of(const LatencyResult& latency) {
    std::vector<LineFigures> figures;
    for (const LatencySamples& line : latency.lines) {
        LineFigures its;
        its.summary = summarise(line.all_ns());
        its.throughput_per_s = line.throughput_per_s();
        if (&line != &latency.lines.front()) {
            its.ratio = paired_ratio(line.round_medians_ns(), latency.lines.front().round_medians_ns());
        }
        figures.push_back(its);
    }
    return figures;
}

std::string latency_json(const LatencyResult& latency, const std::vector<LineFigures>& figures) {
    std::vector<std::string> lines;
    for (std::size_t i = 0; i < figures.size(); ++i) {
        lines.push_back(line_json(latency.lines[i], figures[i]));
    }
    return json::object({{"settings", settings_json(latency.settings)},
                         {"order", json::of(latency.order)},
                         {"lines", json::array(lines)}});
}

std::string table(const std::vector<std::vector<std::string>>& rows, std::size_t text_columns) {
    std::vector<std::size_t> widths(rows.front().size());
    for (const auto& row : rows) {
        for (std::size_t i = 0; i < row.size(); ++i) {
            widths[i] = std::max(widths[i], row[i].size());
        }
    }
    std::string text;
    for (const auto& row : rows) {
        std::string line;
        for (std::size_t i = 0; i < row.size(); ++i) {
            const std::string blanks(widths[i] - row[i].size(), ' ');
            line += (i == 0 ? "" : "  ") + (i < text_columns ? row[i] + blanks : blanks + row[i]);
        }
        text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
    }
    return text;
}

std::string latency_table(const std::vector<LineFacts>& lines, const std::vector<LineFigures>& figures) {
    const bool several = lines.size() > 1;
    const bool batches = std::any_of(lines.begin(), lines.end(), [](const LineFacts& line) { return line.batch > 1; });
    std::vector<std::string> header{"runtime", "version", "device", "threads"};
    if (several) {
        header.insert(header.begin(), "engine");
    }
    if (batches) {
        header.emplace_back("batch");
    }
    for (const char* name : {"n", "p50 ms", "p90 ms", "p95 ms", "p99 ms", "images/s", "ratio"}) {
        header.emplace_back(name);
    }
    std::vector<std::vector<std::string>> rows{header};
    for (std::size_t i = 0; i < lines.size(); ++i) {
        const LineFacts& line = lines[i];
        const Summary& summary = figures[i].summary;
        std::vector<std::string> row{line.runtime, line.version, line.device, std::to_string(line.threads)};
        if (several) {
            row.insert(row.begin(), tools::one_line(line.file));
        }
        if (batches) {
            row.push_back(std::to_string(line.batch));
        }
        row.push_back(std::to_string(summary.n));
        for (const double value : {summary.p50_ms, summary.p90_ms, summary.p95_ms, summary.p99_ms}) {
            row.push_back(fixed(value, 3));
        }
        row.push_back(general(figures[i].throughput_per_s, 4));
        row.push_back(ratio_text(figures[i].ratio));
        rows.push_back(row);
    }
    return table(rows, several ? 4 : 3);
}

std::vector<std::string> latency_definitions(const LatencyResult& latency) {
    const BenchSettings& settings = latency.settings;
    std::vector<std::string> definitions{
        "latency: one call of infer, from the input arrays ready in memory to the output arrays ready in memory, "
        "copies to and from a device included; no file is read, no picture decoded",
        std::string("p50 to p99: percentiles over the n samples of all rounds, ") + percentile_rule,
        "images/s: images (or words) that came out per second of the timed blocks, all streams together",
    };
    if (latency.lines.size() > 1) {
        definitions.push_back(
            "ratio: time relative to " + latency.lines[0].name +
            " (2.00 takes twice as long); the medians of the two blocks of a round are divided, the median over the "
            "rounds is given, and in brackets its 95 % interval");
    }
    definitions.push_back(std::to_string(settings.rounds) +
                          " rounds of one block for each line, in random order (seed " + std::to_string(settings.seed) +
                          "); a block is 1 discarded inference, then at least " + std::to_string(settings.iterations) +
                          " timed ones" + (settings.block_s > 0 ? " and " + general(settings.block_s) + " s" : "") +
                          "; warm-up until three windows agree within 5 %, at least " +
                          std::to_string(settings.warmup_iterations) + " inferences and " + general(settings.warmup_s) +
                          " s, at most " + general(settings.max_warmup_s) + " s");
    return definitions;
}

std::vector<std::string> latency_doubts(const LatencyResult& latency, const std::vector<LineFigures>& figures,
                                        const std::vector<LineFacts>& lines) {
    std::vector<std::string> doubts;
    std::size_t n = figures.front().summary.n;
    for (const LineFigures& its : figures) {
        n = std::min(n, its.summary.n);
    }
    if (n == 1) {
        doubts.emplace_back(
            "one sample has no percentiles: p50 to p99 are that sample; raise --rounds and --iterations");
    } else {
        const std::vector<std::string> short_of = percentile_doubts(n);
        doubts.insert(doubts.end(), short_of.begin(), short_of.end());
    }
    std::vector<std::string> restless;
    for (const LatencySamples& line : latency.lines) {
        if (!line.steady) {
            restless.push_back(line.name);
        }
    }
    if (!restless.empty()) {
        doubts.push_back(joined(restless) + ": not steady after " + general(latency.settings.max_warmup_s) +
                         " s of warm-up; stop other work, lock the clocks, or raise --max-warmup");
    }
    add_drift_doubt(latency, doubts);
    add_tie_doubts(latency, figures, lines, doubts);
    return doubts;
}

std::string list(const std::string& title, const std::vector<std::string>& lines) {
    std::string text;
    for (const std::string& line : lines) {
        text += (text.empty() ? "\n" + title + ":\n" : "") + "  - " + tools::one_line(line) + "\n";
    }
    return text;
}

}  // namespace espnet::bench
