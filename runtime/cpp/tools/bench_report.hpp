#pragma once

#include <optional>
#include <string>
#include <vector>

#include "bench_environment.hpp"
#include "bench_latency.hpp"

namespace espnet::bench {

/// What a table has of a line besides its figures.
struct LineFacts {
    std::string name;
    std::string file;
    std::string runtime;
    std::string version;
    std::string device;
    std::int64_t threads = 1;
    std::int64_t batch = 1;
};

/// Figures of a line, formed from its samples.
struct LineFigures {
    Summary summary;
    double throughput_per_s = 0;
    std::optional<Ratio> ratio;  ///< to the first line; none for that
};

std::vector<LineFigures> figures_of(const LatencyResult& latency);

/// The part `latency` of a result.
std::string latency_json(const LatencyResult& latency, const std::vector<LineFigures>& figures);

/// Columns that are aligned, the first `text_columns` to the left, the others to the right.
std::string table(const std::vector<std::vector<std::string>>& rows, std::size_t text_columns);

std::string latency_table(const std::vector<LineFacts>& lines, const std::vector<LineFigures>& figures);

std::vector<std::string> latency_definitions(const LatencyResult& latency);

/// What the samples themselves say against the figures, each with its remedy.
std::vector<std::string> latency_doubts(const LatencyResult& latency, const std::vector<LineFigures>& figures,
                                        const std::vector<LineFacts>& lines);

/// A title and its lines, as `  - line`; "" where there is none.
std::string list(const std::string& title, const std::vector<std::string>& lines);

}  // namespace espnet::bench
