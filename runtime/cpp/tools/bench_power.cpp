#include "bench_power.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <ctime>
#include <exception>
#include <thread>

#include "bench_json.hpp"
#include "bench_random.hpp"
#include "bench_report.hpp"
#include "bench_text.hpp"

namespace espnet::bench {

namespace {

// The numbers of power/campaign.py, with their reasons there.
constexpr std::int64_t ns_per_s = 1'000'000'000;
constexpr std::int64_t default_sample_period_ns = 10'000'000;
constexpr std::int64_t conditions_period_ns = ns_per_s;
constexpr std::int64_t marks_per_window = 1000;
constexpr int probe_inferences = 3;
constexpr std::int64_t warmup_ns = 2 * ns_per_s;
constexpr int max_warmup_passes = 10;
constexpr std::int64_t rest_ns = 2 * ns_per_s;
constexpr std::size_t min_rests = 5;
constexpr std::size_t max_rests = 15;
constexpr std::int64_t least_power_rounds = 3;
constexpr std::int64_t silence_ns = 3 * ns_per_s;
// Of the last three means, from their mean.
constexpr double steady_tolerance = 0.02;
constexpr std::size_t steady_means = 3;

struct Interrupted {};

double real(std::int64_t value) {
    return static_cast<double>(value);
}

bool has_come_to_rest(const std::vector<double>& means) {
    if (means.size() < steady_means) {
        return false;
    }
    const std::vector<double> last(means.end() - static_cast<std::ptrdiff_t>(steady_means), means.end());
    double mean = 0;
    for (const double value : last) {
        mean += value / static_cast<double>(steady_means);
    }
    return std::all_of(last.begin(), last.end(),
                       [&](double value) { return std::abs(value - mean) <= steady_tolerance * std::abs(mean); });
}

/// A load that runs: how many inferences are done, and when.
class Run {
public:
    Run(const Work& work, const PowerSurroundings& surroundings, std::int64_t duration_ns)
        : work_(work), surroundings_(surroundings), mark_ns_(duration_ns / marks_per_window) {
        stretch_.start_ns = now_ns_ = surroundings_.clock();
        stretch_.marks.push_back({now_ns_, 0});
    }

    std::int64_t start_ns() const { return stretch_.start_ns; }
    std::int64_t now() const { return now_ns_; }

    /// Compute until then, and once at least.
    void until(std::int64_t end_ns) {
        do {
            infer();
        } while (now_ns_ < end_ns);
        mark();
    }

    void times(std::int64_t inferences) {
        for (std::int64_t i = 0; i < inferences; ++i) {
            infer();
        }
        mark();
    }

    void pause(std::int64_t pause_ns) {
        if (pause_ns <= 0) {
            return;
        }
        surroundings_.sleep_ns(pause_ns);
        const std::int64_t start_ns = now_ns_;
        now_ns_ = surroundings_.clock();
        stretch_.pauses.emplace_back(start_ns, now_ns_);
        mark();
    }

    Stretch ended(const std::string& kind, std::optional<std::int64_t> round, std::int64_t window_start_ns,
                  std::int64_t window_end_ns) {
        stretch_.kind = kind;
        stretch_.name = work_.name;
        stretch_.round = round;
        stretch_.end_ns = now_ns_;
        stretch_.window_start_ns = window_start_ns;
        stretch_.window_end_ns = window_end_ns;
        return std::move(stretch_);
    }

private:
    void infer() {
        if (surroundings_.interrupted()) {
            throw Interrupted{};
        }
        work_.call();
        ++done_;
        now_ns_ = surroundings_.clock();
        if (now_ns_ - stretch_.marks.back().time_ns >= mark_ns_) {
            mark();
        }
    }

    void mark() {
        if (stretch_.marks.back().time_ns < now_ns_) {
            stretch_.marks.push_back({now_ns_, done_});
        }
    }

    const Work& work_;
    const PowerSurroundings& surroundings_;
    std::int64_t mark_ns_;
    std::int64_t now_ns_ = 0;
    std::int64_t done_ = 0;
    Stretch stretch_;
};

class Campaign {
public:
    Campaign(const std::vector<Work>& works, const Sampler& sampler, const PowerSettings& settings,
             const PowerSurroundings& surroundings)
        : works_(works), sampler_(sampler), settings_(settings), surroundings_(surroundings) {}

    Recording run() {
        std::vector<std::int64_t> inference_ns;
        for (const Work& work : works_) {
            inference_ns.push_back(first_inference_ns(work));
        }
        declare_sensor();
        // A window that does not fit is refused before minutes are spent on it.
        plan(inference_ns);
        recording_.steady = warm_up(inference_ns);
        // First inferences build, allocate, and run at low clocks: only a warm device tells how long one takes.
        plan(inference_ns);
        recording_.machine.first = surroundings_.conditions();
        recording_.seed = settings_.seed;
        idle();
        measure_rounds();
        recording_.machine.second = surroundings_.conditions();
        return std::move(recording_);
    }

private:
    std::int64_t clock() const { return surroundings_.clock(); }

    void sleep(std::int64_t time_ns) const {
        if (time_ns > 0) {
            surroundings_.sleep_ns(time_ns);
        }
        if (surroundings_.interrupted()) {
            throw Interrupted{};
        }
    }

    Error silent(const std::string& what) const {
        const std::string reason = sampler_.last_failure();
        return {ErrorCode::unavailable, sampler_.meter().device + ": " + what +
                                            (reason.empty() ? "" : " (" + reason + ")") +
                                            "; try another --power-source"};
    }

    std::int64_t first_inference_ns(const Work& work) const {
        std::int64_t shortest_ns = INT64_MAX;
        for (int i = 0; i < probe_inferences; ++i) {
            const std::int64_t start_ns = clock();
            work.call();
            shortest_ns = std::min(shortest_ns, clock() - start_ns);
        }
        return std::max<std::int64_t>(1, shortest_ns);
    }

    void declare_sensor() {
        const MeterInfo& meter = sampler_.meter();
        std::vector<std::string> names = meter.power_total;
        if (names.empty()) {
            for (const Channel& channel : meter.channels) {
                names.push_back(channel.name);
            }
        }
        recording_.sensor = declared_sensor(meter, names);
        recording_.sensor_notes.emplace_back(
            "how the sensor measures was not looked at with a probe load, as espnet-bench does, and is taken as "
            "declared");
        if (!recording_.sensor.update_period_ns) {
            throw Error(ErrorCode::unavailable, meter.device +
                                                    ": how often it measures is not known; try another "
                                                    "--power-source");
        }
    }

    void plan(const std::vector<std::int64_t>& inference_ns) {
        recording_.plans.clear();
        std::int64_t period_ns = INT64_MAX;
        for (std::size_t i = 0; i < works_.size(); ++i) {
            const Plan plan = plan_for(recording_.sensor, inference_ns[i], settings_.window_s, settings_.rounds);
            period_ns = std::min(period_ns, plan.sample_period_ns);
            recording_.plans.emplace_back(works_[i].name, plan);
        }
        surroundings_.set_sample_period_ns(period_ns);
    }

    /// Run all loads in turn until the power of whole passes is steady; false where it never was.
    bool warm_up(std::vector<std::int64_t>& inference_ns) {
        std::vector<double> powers_mw;
        for (int pass = 0; pass < max_warmup_passes; ++pass) {
            const std::int64_t start_ns = clock();
            for (std::size_t i = 0; i < works_.size(); ++i) {
                Run run(works_[i], surroundings_, warmup_ns);
                run.until(run.start_ns() + warmup_ns);
                const Stretch stretch = run.ended("warmup", std::nullopt, run.start_ns(), run.now());
                inference_ns[i] =
                    std::max<std::int64_t>(1, (stretch.end_ns - stretch.start_ns) / stretch.marks.back().inferences);
                recording_.stretches.push_back(stretch);
            }
            const auto power_mw = sampler_.mean_mw(start_ns, clock());
            if (!power_mw) {
                throw silent("no reading came in during the warm-up");
            }
            powers_mw.push_back(*power_mw);
            if (has_come_to_rest(powers_mw)) {
                return true;
            }
        }
        return false;
    }

    template <typename Member>
    std::int64_t longest(Member member) const {
        std::int64_t most = 0;
        for (const auto& entry : recording_.plans) {
            most = std::max(most, entry.second.*member);
        }
        return most;
    }

    /// Nothing computes, and everything stays loaded and ready.
    void idle() {
        come_to_rest();
        Stretch stretch;
        stretch.kind = "idle";
        stretch.start_ns = clock();
        sleep(longest(&Plan::idle_ns));
        stretch.window_start_ns = stretch.start_ns + longest(&Plan::settle_ns);
        stretch.window_end_ns = clock();
        sleep(longest(&Plan::tail_ns));
        stretch.end_ns = clock();
        recording_.stretches.push_back(stretch);
    }

    /// Wait until idle power is steady: fans, clocks and leakage fall for seconds after a load.
    void come_to_rest() {
        std::vector<double> powers_mw;
        for (std::size_t i = 0; i < max_rests; ++i) {
            const std::int64_t start_ns = clock();
            sleep(rest_ns);
            const auto power_mw = sampler_.mean_mw(start_ns, clock());
            if (!power_mw) {
                throw silent("no reading came in during idle");
            }
            powers_mw.push_back(*power_mw);
            if (powers_mw.size() >= min_rests && has_come_to_rest(powers_mw)) {
                return;
            }
        }
        recording_.sensor_notes.push_back("idle had not come to rest after " +
                                          std::to_string(max_rests * rest_ns / ns_per_s) +
                                          " s: stop other work on the machine, lock its clocks");
    }

    /// All rounds, and idle after them. After an interrupt the complete rounds stay, where they are enough.
    void measure_rounds() {
        Random random(static_cast<std::uint64_t>(settings_.seed));
        const std::int64_t rounds = longest(&Plan::rounds);
        for (std::int64_t round = 0; round < rounds; ++round) {
            const std::size_t before = recording_.stretches.size();
            try {
                for (const std::size_t index : random.permutation(works_.size())) {
                    measure_load(index, round);
                }
            } catch (const Interrupted&) {
                if (round < least_power_rounds) {
                    throw;
                }
                recording_.stretches.resize(before);
                recording_.partial =
                    "interrupted in round " + std::to_string(round + 1) + " of " + std::to_string(rounds);
                return;
            }
        }
        try {
            idle();
        } catch (const Interrupted&) {
            recording_.partial = "interrupted in idle after the rounds";
        }
    }

    /// Load until the readings show nothing else, then the window, then load until the readings have shown it.
    void measure_load(std::size_t index, std::int64_t round) {
        const Plan& chosen = recording_.plans[index].second;
        if (clock() - sampler_.last_ns() > silence_ns + 10 * chosen.period_ns) {
            throw silent("it has stopped to answer");
        }
        // Each round meets the sensor at another phase: what sliding leaves shows as scatter, and averages out.
        sleep(std::llrint(real(round) / real(chosen.rounds) * real(chosen.period_ns)));
        Run run(works_[index], surroundings_, chosen.window_ns);
        run.until(run.start_ns() + chosen.settle_ns);
        const std::int64_t window_start_ns = run.now();
        if (chosen.phases_ns.empty()) {
            run.until(window_start_ns + chosen.window_ns);
        } else {
            run_groups(run, chosen);
        }
        const std::int64_t window_end_ns = run.now();
        run.until(run.now() + chosen.tail_ns);
        recording_.stretches.push_back(run.ended("load", round, window_start_ns, window_end_ns));
    }

    /// Slide the load along the sensor's period: of the phases that are left always the one that comes next.
    static void run_groups(Run& run, const Plan& chosen) {
        const std::int64_t start_ns = run.now();
        const auto wait_ns = [&](std::int64_t phase_ns) {
            const std::int64_t left = (phase_ns - (run.now() - start_ns)) % chosen.period_ns;
            return left < 0 ? left + chosen.period_ns : left;
        };
        std::vector<std::int64_t> phases_ns = chosen.phases_ns;
        while (!phases_ns.empty()) {
            const auto next =
                std::min_element(phases_ns.begin(), phases_ns.end(),
                                 [&](std::int64_t left, std::int64_t right) { return wait_ns(left) < wait_ns(right); });
            run.pause(wait_ns(*next));
            run.times(chosen.group_inferences);
            phases_ns.erase(next);
        }
        // Back to the phase of the start: the pauses together are whole periods then.
        run.pause(wait_ns(0));
    }

    const std::vector<Work>& works_;
    const Sampler& sampler_;
    const PowerSettings& settings_;
    const PowerSurroundings& surroundings_;
    Recording recording_;
};

std::string stretch_json(const Stretch& stretch) {
    std::vector<std::string> marks;
    for (const Mark& mark : stretch.marks) {
        marks.push_back("{\"time_ns\": " + json::of(mark.time_ns) + ", \"inferences\": " + json::of(mark.inferences) +
                        "}");
    }
    std::vector<std::string> pauses;
    for (const auto& [start_ns, end_ns] : stretch.pauses) {
        pauses.push_back("{\"start_ns\": " + json::of(start_ns) + ", \"end_ns\": " + json::of(end_ns) + "}");
    }
    return json::object({{"kind", json::of(stretch.kind)},
                         {"name", json::of(stretch.name)},
                         {"round", json::of(stretch.round)},
                         {"start_ns", json::of(stretch.start_ns)},
                         {"end_ns", json::of(stretch.end_ns)},
                         {"window_start_ns", json::of(stretch.window_start_ns)},
                         {"window_end_ns", json::of(stretch.window_end_ns)},
                         {"marks", json::array(marks)},
                         {"pauses", json::array(pauses)}});
}

std::string recording_json(const Recording& recording, const Sampler& sampler) {
    std::vector<std::string> stretches;
    for (const Stretch& stretch : recording.stretches) {
        stretches.push_back(stretch_json(stretch));
    }
    json::Members plans;
    for (const auto& [name, plan] : recording.plans) {
        plans.emplace_back(name, plan_json(plan));
    }
    return json::object({{"meter", meter_json(sampler.meter())},
                         {"readings", sampler.readings_json()},
                         {"conditions", sampler.conditions_json()},
                         {"stretches", json::array(stretches)},
                         {"sensor", sensor_json(recording.sensor)},
                         {"sensor_notes", json::of(recording.sensor_notes)},
                         {"steady", json::of(recording.steady)},
                         {"plans", json::object(plans)},
                         {"seed", json::of(recording.seed)},
                         {"cost", sampler.cost_json()},
                         {"machine", json::array({conditions_json(recording.machine.first),
                                                  conditions_json(recording.machine.second)})},
                         {"partial", json::of(recording.partial)}});
}

/// Plain means of one load over its windows; `energy_mj` and `net_mj` are of one inference.
struct LoadMeans {
    double power_mw = 0;
    double energy_mj = 0;
    double net_mj = 0;
    double inference_ms = 0;
};

std::vector<double> idles_mw_of(const Recording& recording, const Sampler& sampler) {
    std::vector<double> means;
    for (const Stretch& stretch : recording.stretches) {
        if (stretch.kind == "idle") {
            if (const auto mean = sampler.mean_mw(stretch.window_start_ns, stretch.window_end_ns)) {
                means.push_back(*mean);
            }
        }
    }
    return means;
}

/// What the pauses drew is taken off, and the mean over the windows is given; none where a window has no reading.
std::optional<LoadMeans> means_of(const std::string& name, const Recording& recording, const Sampler& sampler,
                                  double idle_mw) {
    LoadMeans means;
    double windows = 0;
    for (const Stretch& stretch : recording.stretches) {
        if (stretch.kind != "load" || stretch.name != name) {
            continue;
        }
        const auto mean_mw = sampler.mean_mw(stretch.window_start_ns, stretch.window_end_ns);
        if (!mean_mw) {
            return std::nullopt;
        }
        const double window_s = real(stretch.window_end_ns - stretch.window_start_ns) / 1e9;
        const double paused_s = real(stretch.paused_ns_in_window()) / 1e9;
        const double inferences = stretch.inferences_in_window();
        const double energy_mj = (*mean_mw * window_s - idle_mw * paused_s) / inferences;
        const double inference_s = (window_s - paused_s) / inferences;
        means.power_mw += energy_mj / inference_s;
        means.energy_mj += energy_mj;
        means.net_mj += energy_mj - idle_mw * inference_s;
        means.inference_ms += 1e3 * inference_s;
        windows += 1;
    }
    if (windows == 0) {
        return std::nullopt;
    }
    return LoadMeans{means.power_mw / windows, means.energy_mj / windows, means.net_mj / windows,
                     means.inference_ms / windows};
}

std::string rails_text(const std::string& name, const Recording& recording, const Sampler& sampler) {
    std::string text;
    for (std::size_t i = 0; i < sampler.meter().channels.size(); ++i) {
        std::vector<double> means;
        for (const Stretch& stretch : recording.stretches) {
            if (stretch.kind == "load" && stretch.name == name) {
                if (const auto mean = sampler.mean_mw(i, stretch.window_start_ns, stretch.window_end_ns)) {
                    means.push_back(*mean);
                }
            }
        }
        const std::string power =
            means.empty() ? "unknown" : fixed(exact_sum(means) / static_cast<double>(means.size()) / 1e3, 3) + " W";
        text += (text.empty() ? "" : ", ") + sampler.meter().channels[i].name + " " + power;
    }
    return text;
}

/// Reads the meter again and again in a thread of its own.
class SamplingThread {
public:
    explicit SamplingThread(Sampler& sampler)
        : thread_([this, &sampler] {
              auto due = std::chrono::steady_clock::now();
              while (!stop_) {
                  sampler.sample();
                  timespec spent{};
                  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
                  sampler.set_cpu_ns(spent.tv_sec * ns_per_s + spent.tv_nsec);
                  // Instants that were missed are not made up for.
                  due = std::max(due + std::chrono::nanoseconds(period_ns_.load()), std::chrono::steady_clock::now());
                  std::this_thread::sleep_until(due);
              }
          }) {}

    ~SamplingThread() {
        stop_ = true;
        thread_.join();
    }

    void set_period_ns(std::int64_t period_ns) { period_ns_ = period_ns; }

private:
    std::atomic<std::int64_t> period_ns_{default_sample_period_ns};
    std::atomic<bool> stop_{false};
    std::thread thread_;
};

/// In slices, so that Ctrl-C need not wait for its end.
void sleep_in_slices(std::int64_t time_ns, const std::function<bool()>& interrupted) {
    constexpr std::int64_t slice_ns = 50'000'000;
    const std::int64_t end_ns = now_ns() + time_ns;
    while (!interrupted()) {
        const std::int64_t left_ns = end_ns - now_ns();
        if (left_ns <= 0) {
            return;
        }
        std::this_thread::sleep_for(std::chrono::nanoseconds(std::min(left_ns, slice_ns)));
    }
}

}  // namespace

Sampler::Sampler(Meter& meter, std::function<std::int64_t()> clock)
    : meter_(meter), clock_(std::move(clock)), started_ns_(clock_()) {}

void Sampler::sample() {
    try {
        const std::optional<Reading> reading = meter_.read();
        const std::int64_t now = clock_();
        const bool looks = now >= next_conditions_ns_;
        const std::vector<std::optional<double>> values =
            looks ? meter_.read_conditions() : std::vector<std::optional<double>>{};
        const std::lock_guard<std::mutex> lock(mutex_);
        if (reading) {
            ++count_;
            // One that is not later than the row before it says nothing new.
            if (readings_.empty() || reading->time_ns > readings_.back().first) {
                readings_.emplace_back(reading->time_ns, reading->values_mw);
            }
        }
        if (looks) {
            next_conditions_ns_ = now + conditions_period_ns;
            conditions_.emplace_back(now, values);
        }
    } catch (const std::exception& error) {
        const std::lock_guard<std::mutex> lock(mutex_);
        ++failures_;
        last_failure_ = error.what();
    }
}

std::int64_t Sampler::last_ns() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return readings_.empty() ? started_ns_ : readings_.back().first;
}

std::optional<double> Sampler::mean_mw(std::int64_t start_ns, std::int64_t end_ns) const {
    std::vector<std::size_t> channels;
    const std::vector<std::string>& total = meter().power_total;
    for (std::size_t i = 0; i < meter().channels.size(); ++i) {
        if (total.empty() || std::find(total.begin(), total.end(), meter().channels[i].name) != total.end()) {
            channels.push_back(i);
        }
    }
    return mean_of(channels, start_ns, end_ns);
}

std::optional<double> Sampler::mean_mw(std::size_t channel, std::int64_t start_ns, std::int64_t end_ns) const {
    return mean_of({channel}, start_ns, end_ns);
}

std::optional<double> Sampler::mean_of(const std::vector<std::size_t>& channels, std::int64_t start_ns,
                                       std::int64_t end_ns) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    double sum = 0;
    std::size_t count = 0;
    const auto first = std::lower_bound(readings_.begin(), readings_.end(), start_ns,
                                        [](const auto& row, std::int64_t time_ns) { return row.first < time_ns; });
    for (auto row = first; row != readings_.end() && row->first <= end_ns; ++row) {
        const bool whole = std::all_of(channels.begin(), channels.end(),
                                       [&](std::size_t channel) { return row->second[channel].has_value(); });
        if (whole) {
            for (const std::size_t channel : channels) {
                sum += *row->second[channel];
            }
            ++count;
        }
    }
    return count < 2 ? std::nullopt : std::make_optional(sum / static_cast<double>(count));
}

std::string Sampler::samples_json(const Rows& rows, const std::vector<std::string>& names) {
    std::vector<std::int64_t> time_ns;
    for (const auto& row : rows) {
        time_ns.push_back(row.first);
    }
    json::Members columns;
    for (std::size_t i = 0; i < names.size(); ++i) {
        std::vector<std::optional<double>> column;
        for (const auto& row : rows) {
            column.push_back(row.second[i]);
        }
        columns.emplace_back(names[i], json::of(column));
    }
    return json::object({{"time_ns", json::of(time_ns)}, {"columns", json::object(columns)}});
}

std::string Sampler::readings_json() const {
    std::vector<std::string> names;
    for (const Channel& channel : meter().channels) {
        names.push_back(channel.name);
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    return samples_json(readings_, names);
}

std::string Sampler::conditions_json() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return samples_json(conditions_, meter().condition_names);
}

std::string Sampler::cost_json() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return json::object({{"readings", json::of(count_)},
                         {"failures", json::of(failures_)},
                         {"last_failure", last_failure_.empty() ? "null" : json::of(last_failure_)},
                         {"cpu_ns", json::of(cpu_ns_)},
                         {"wall_ns", json::of(clock_() - started_ns_)}});
}

std::string Sampler::last_failure() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return last_failure_;
}

void Sampler::set_cpu_ns(std::int64_t cpu_ns) {
    const std::lock_guard<std::mutex> lock(mutex_);
    cpu_ns_ = cpu_ns;
}

double Stretch::inferences_in_window() const {
    const auto done_at = [this](std::int64_t time_ns) {
        const auto after = std::upper_bound(marks.begin(), marks.end(), time_ns,
                                            [](std::int64_t time, const Mark& mark) { return time < mark.time_ns; });
        if (after == marks.end()) {
            return real(marks.back().inferences);
        }
        const Mark& before = *(after - 1);
        const double share = real(time_ns - before.time_ns) / real(after->time_ns - before.time_ns);
        return real(before.inferences) + share * real(after->inferences - before.inferences);
    };
    return done_at(window_end_ns) - done_at(window_start_ns);
}

std::int64_t Stretch::paused_ns_in_window() const {
    std::int64_t paused_ns = 0;
    for (const auto& [pause_start_ns, pause_end_ns] : pauses) {
        paused_ns += std::max<std::int64_t>(
            0, std::min(pause_end_ns, window_end_ns) - std::max(pause_start_ns, window_start_ns));
    }
    return paused_ns;
}

Recording record_power(const std::vector<Work>& works, const Sampler& sampler, const PowerSettings& settings,
                       const PowerSurroundings& surroundings) {
    try {
        return Campaign(works, sampler, settings, surroundings).run();
    } catch (const Interrupted&) {
        throw NothingKept{};
    }
}

PowerMeasurement described_power(const Recording& recording, const Sampler& sampler) {
    const MeterInfo& meter = sampler.meter();
    PowerMeasurement power;
    power.part_json =
        json::object({{"schema_version", "1"}, {"result", "null"}, {"recording", recording_json(recording, sampler)}});
    power.partial = recording.partial;
    const std::vector<double> idles_mw = idles_mw_of(recording, sampler);
    std::optional<double> idle_mw;
    if (!idles_mw.empty()) {
        idle_mw = exact_sum(idles_mw) / static_cast<double>(idles_mw.size());
    }
    // Idle may have changed meanwhile: only where it is known before and after, what lay between is.
    const bool net_is_known = idles_mw.size() >= 2;
    std::vector<std::vector<std::string>> rows{{"measured", "energy mJ", "net mJ", "power W", "ms", "inferences/J"}};
    for (const auto& entry : recording.plans) {
        const std::string& name = entry.first;
        power.sentences.push_back(name + ": " + rails_text(name, recording, sampler));
        const auto means =
            idle_mw && !meter.power_total.empty() ? means_of(name, recording, sampler, *idle_mw) : std::nullopt;
        if (!means) {
            power.sentences.push_back(
                name + ": energy unknown: " + meter.no_total_reason.value_or("a window has no readings"));
            continue;
        }
        const std::string per_joule = means->energy_mj > 0 ? general(1e3 / means->energy_mj, 4) : "unknown";
        rows.push_back({name, fixed(means->energy_mj, 3), net_is_known ? fixed_or_zero(means->net_mj, 3) : "unknown",
                        fixed(means->power_mw / 1e3, 3), fixed(means->inference_ms, 3), per_joule});
    }
    power.table = rows.size() > 1 ? table(rows, 1) : "";
    if (idle_mw && !meter.power_total.empty()) {
        power.sentences.push_back("idle: " + fixed(*idle_mw / 1e3, 3) + " W, " +
                                  (net_is_known ? "mean of before and after" : "measured once; net is unknown"));
    }
    const Plan& plan = recording.plans.front().second;
    power.definitions = {
        "energy: of one inference, by " + meter.source + " of " + meter.device + "; in it: " + meter.scope +
            ". Gross is all that was drawn while it ran, net is what idle, with everything loaded and ready, would not "
            "have drawn in that time",
        "energy and power are plain means over the windows, without an interval: espnet-bench --reanalyse FILE, on any "
        "machine, computes them with their uncertainty from the file of --json",
        "power rounds: " + std::to_string(plan.rounds) + " for each line, in random order (seed " +
            std::to_string(recording.seed) + "), idle before and after; " + plan.reason};
    if (!recording.steady) {
        power.doubts.emplace_back(
            "power was not steady at the end of the warm-up: lock the clocks, stop other work, and measure again");
    }
    power.doubts.insert(power.doubts.end(), recording.sensor_notes.begin(), recording.sensor_notes.end());
    return power;
}

PowerMeasurement measure_power(const std::vector<Work>& works, Meter& meter, const PowerSettings& settings,
                               const std::function<bool()>& interrupted, const std::string& root) {
    Sampler sampler(meter, now_ns);
    Recording recording;
    {
        SamplingThread thread(sampler);
        const PowerSurroundings surroundings{
            now_ns, [&](std::int64_t time_ns) { sleep_in_slices(time_ns, interrupted); }, interrupted,
            [&] { return read_conditions(root); }, [&](std::int64_t period_ns) { thread.set_period_ns(period_ns); }};
        recording = record_power(works, sampler, settings, surroundings);
    }
    return described_power(recording, sampler);
}

std::string missing_power_json(const std::string& reason, const std::vector<Probe>& probes) {
    std::vector<std::string> answers;
    for (const Probe& probe : probes) {
        answers.push_back(json::object({{"source", json::of(probe.source)},
                                        {"answer", json::of(probe.answer)},
                                        {"way_out", json::of(probe.way_out)}}));
    }
    return json::object({{"schema_version", "1"}, {"unavailable", json::of(reason)}, {"probes", json::array(answers)}});
}

}  // namespace espnet::bench
