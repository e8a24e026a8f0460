#include "bench_latency.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>

#include <espnet/error.hpp>

#include "bench_random.hpp"
#include "bench_text.hpp"

namespace espnet::bench {

namespace {

constexpr double ns_per_s = 1e9;
constexpr double longest_s = 3600;

void check_range(const char* name, double value, double least, double most, const std::string& shown) {
    // Written so that NaN is refused, too.
    if (!(least <= value && value <= most)) {
        throw Error(ErrorCode::input,
                    std::string(name) + " " + shown + ": give " + general(least) + " to " + general(most));
    }
}

/// Rounds to the nearest, ties to even, as Python.
std::int64_t ns_of(double seconds) {
    return std::llrint(seconds * ns_per_s);
}

struct Inferences {
    std::vector<std::int64_t> starts_ns;
    std::vector<std::int64_t> durations_ns;
    std::int64_t ended_ns = 0;

    std::size_t size() const { return starts_ns.size(); }
};

class Measuring {
public:
    Measuring(const std::vector<Work>& works, const BenchSettings& settings, const Surroundings& surroundings)
        : works_(works), settings_(settings), surroundings_(surroundings) {}

    LatencyResult run() {
        LatencyResult result;
        result.settings = settings_;
        for (const Work& work : works_) {
            result.lines.push_back(warmed_up(work));
        }
        Random random(static_cast<std::uint64_t>(settings_.seed));
        for (std::int64_t round = 0; round < settings_.rounds; ++round) {
            const std::vector<std::size_t> order = random.permutation(works_.size());
            if (!add_round(result, order)) {
                if (round == 0) {
                    throw NothingKept{};
                }
                result.partial =
                    "interrupted in round " + std::to_string(round + 1) + " of " + std::to_string(settings_.rounds);
                break;
            }
        }
        return result;
    }

private:
    std::int64_t clock() const { return surroundings_.clock(); }

    void time_one(const Work& work, Inferences& inferences) const {
        const std::int64_t called = clock();
        work.call();
        const std::int64_t ended = clock();
        inferences.starts_ns.push_back(called);
        inferences.durations_ns.push_back(ended - called);
        inferences.ended_ns = ended;
    }

    /// Windows of inferences until the line has come to rest or the time is over.
    LatencySamples warmed_up(const Work& work) const {
        LatencySamples line;
        line.name = work.name;
        line.images = work.images;
        const std::int64_t began = clock();
        const std::int64_t earliest = began + ns_of(settings_.warmup_s);
        const std::int64_t latest = began + ns_of(settings_.max_warmup_s);
        std::vector<std::vector<std::int64_t>> windows;
        while (true) {
            if (surroundings_.interrupted()) {
                throw NothingKept{};
            }
            const std::int64_t now = clock();
            line.steady = is_steady(windows);
            const auto done = static_cast<std::int64_t>(line.warmup_ns.size());
            if (done >= settings_.warmup_iterations && now >= earliest && (line.steady || now >= latest)) {
                return line;
            }
            const Inferences window = warm_up_window(work, latest, settings_.warmup_iterations - done);
            line.warmup_ns.insert(line.warmup_ns.end(), window.durations_ns.begin(), window.durations_ns.end());
            // One that was cut short says nothing about rest.
            if (clock() - now >= steady_window_ns && window.size() >= steady_window_inferences) {
                windows.push_back(window.durations_ns);
            }
        }
    }

    /// One window, cut short at `latest` where it is not `missing` any inferences.
    Inferences warm_up_window(const Work& work, std::int64_t latest, std::int64_t missing) const {
        Inferences window;
        const std::int64_t end = clock() + steady_window_ns;
        while (!surroundings_.interrupted()) {
            const std::int64_t now = clock();
            const bool wanted = now >= latest ? static_cast<std::int64_t>(window.size()) < missing
                                              : window.size() < steady_window_inferences || now < end;
            if (!wanted) {
                break;
            }
            time_one(work, window);
        }
        return window;
    }

    /// False where it was interrupted: then nothing is added.
    bool add_round(LatencyResult& result, const std::vector<std::size_t>& order) const {
        std::vector<Inferences> discarded(works_.size());
        std::vector<Inferences> timed(works_.size());
        std::vector<std::int64_t> elapsed_ns(works_.size());
        for (const std::size_t index : order) {
            time_one(works_[index], discarded[index]);
            const std::int64_t start = clock();
            timed[index] = timed_block(works_[index], start + ns_of(settings_.block_s));
            elapsed_ns[index] = timed[index].ended_ns - start;
            if (surroundings_.interrupted()) {
                return false;
            }
        }
        std::vector<std::string> names;
        for (const std::size_t index : order) {
            names.push_back(works_[index].name);
        }
        result.order.push_back(names);
        for (std::size_t i = 0; i < works_.size(); ++i) {
            LatencySamples& line = result.lines[i];
            line.discarded_ns.push_back(discarded[i].durations_ns.front());
            line.starts_ns.push_back(std::move(timed[i].starts_ns));
            line.samples_ns.push_back(std::move(timed[i].durations_ns));
            line.elapsed_ns.push_back(elapsed_ns[i]);
        }
        return true;
    }

    Inferences timed_block(const Work& work, std::int64_t end) const {
        Inferences block;
        // Grown before and not while it is timed.
        block.starts_ns.reserve(static_cast<std::size_t>(settings_.iterations));
        block.durations_ns.reserve(static_cast<std::size_t>(settings_.iterations));
        while ((static_cast<std::int64_t>(block.size()) < settings_.iterations || clock() < end) &&
               !surroundings_.interrupted()) {
            time_one(work, block);
        }
        return block;
    }

    const std::vector<Work>& works_;
    const BenchSettings& settings_;
    const Surroundings& surroundings_;
};

}  // namespace

void BenchSettings::check() const {
    check_range("rounds", static_cast<double>(rounds), 1, 10'000, std::to_string(rounds));
    check_range("iterations", static_cast<double>(iterations), 1, 10'000'000, std::to_string(iterations));
    check_range("block_s", block_s, 0, longest_s, shortest(block_s));
    check_range("warmup_iterations", static_cast<double>(warmup_iterations), 0, 1'000'000,
                std::to_string(warmup_iterations));
    check_range("warmup_s", warmup_s, 0, longest_s, shortest(warmup_s));
    check_range("max_warmup_s", max_warmup_s, 0, longest_s, shortest(max_warmup_s));
    check_range("seed", static_cast<double>(seed), 0, 9.2233720368547758e18, std::to_string(seed));
    if (max_warmup_s < warmup_s) {
        throw Error(ErrorCode::input, "max_warmup_s " + general(max_warmup_s) + " is below warmup_s " +
                                          general(warmup_s) + ": give at least as much");
    }
}

std::vector<std::int64_t> LatencySamples::all_ns() const {
    std::vector<std::int64_t> all;
    for (const std::vector<std::int64_t>& block : samples_ns) {
        all.insert(all.end(), block.begin(), block.end());
    }
    return all;
}

std::vector<double> LatencySamples::round_medians_ns() const {
    std::vector<double> medians;
    for (const std::vector<std::int64_t>& block : samples_ns) {
        medians.push_back(median(block));
    }
    return medians;
}

double LatencySamples::throughput_per_s() const {
    const std::int64_t elapsed = std::accumulate(elapsed_ns.begin(), elapsed_ns.end(), std::int64_t{0});
    // Whole numbers until the division, as in Python: rounded once.
    const auto done = static_cast<long double>(images) * static_cast<long double>(all_ns().size()) * 1e9L;
    return static_cast<double>(done / static_cast<long double>(elapsed));
}

std::int64_t now_ns() {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

LatencyResult measure_latency(const std::vector<Work>& works, const BenchSettings& settings,
                              const Surroundings& surroundings) {
    settings.check();
    if (works.empty()) {
        throw Error(ErrorCode::input, "nothing to measure: give one line at least");
    }
    return Measuring(works, settings, surroundings).run();
}

}  // namespace espnet::bench
