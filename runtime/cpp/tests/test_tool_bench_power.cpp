// What is recorded of power, on a machine that is made up: time passes where the test says, and the meter shows what
// the machine draws.
#include <doctest/doctest.h>

#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <thread>

#include "bench_boards.hpp"
#include "bench_json.hpp"
#include "bench_plan.hpp"
#include "bench_power.hpp"
#include "bench_subject.hpp"
#include "bench_tegrastats.hpp"

using namespace espnet;
using namespace espnet::bench;

namespace {

constexpr std::int64_t ms = 1'000'000;
constexpr double idle_mw = 4000;

/// Shows the power of the moment on two rails, a quarter of it on the second.
class MadeUpMeter : public Meter {
public:
    MadeUpMeter(std::int64_t period_ns, std::int64_t window_ns) {
        info_.source = "ina3221";
        info_.device = "a made-up board";
        info_.scope = "all of it";
        info_.power_total = {"VDD_IN"};
        info_.condition_names = {"temperature_c"};
        SensorFacts sensor{period_ns, window_ns, 1.0, 0.015, 2.0, "made up"};
        info_.channels = {{"VDD_IN", sensor}, {"VDD_SOC", sensor}};
    }

    const MeterInfo& info() const noexcept override { return info_; }

    std::optional<Reading> read() override {
        if (broken) {
            throw std::runtime_error("the chip is gone");
        }
        return Reading{time_ns, {power_mw, power_mw / 4}};
    }

    std::vector<std::optional<double>> read_conditions() override { return {41.5}; }

    std::int64_t time_ns = 0;
    double power_mw = idle_mw;
    bool broken = false;

private:
    MeterInfo info_;
};

class Machine {
public:
    explicit Machine(std::int64_t period_ns = 10 * ms, std::int64_t window_ns = 10 * ms)
        : meter(period_ns, window_ns), sampler(meter, [this] { return now_ns; }) {}

    Work load(const std::string& name, std::int64_t duration_ns, double power_mw) {
        return {name,
                [this, duration_ns, power_mw] {
                    pass(duration_ns, power_mw);
                    ++inferences;
                },
                1};
    }

    PowerSurroundings surroundings() {
        return {[this] { return now_ns; }, [this](std::int64_t time_ns) { pass(time_ns, idle_mw); },
                [this] { return now_ns >= interrupt_ns; }, [] { return Conditions{}; },
                [this](std::int64_t period_ns) { sample_period_ns = period_ns; }};
    }

    void pass(std::int64_t time_ns, double power_mw) {
        const std::int64_t end_ns = now_ns + time_ns;
        while (next_sample_ns <= end_ns) {
            now_ns = meter.time_ns = next_sample_ns;
            // The least noise that a reading has.
            meter.power_mw = power_mw + static_cast<double>(next_sample_ns / sample_period_ns % 3 - 1);
            sampler.sample();
            next_sample_ns += sample_period_ns;
        }
        now_ns = end_ns;
    }

    std::int64_t now_ns = 1;
    std::int64_t interrupt_ns = INT64_MAX;
    std::int64_t sample_period_ns = 10 * ms;
    std::int64_t next_sample_ns = 10 * ms;
    std::int64_t inferences = 0;
    MadeUpMeter meter;
    Sampler sampler;
};

int count(const Recording& recording, const std::string& kind) {
    int found = 0;
    for (const Stretch& stretch : recording.stretches) {
        found += stretch.kind == kind ? 1 : 0;
    }
    return found;
}

}  // namespace

TEST_CASE("idle, rounds of all loads, idle; and the plain means") {
    Machine machine;
    const std::vector<Work> works{machine.load("z", 5 * ms, 12000), machine.load("a", 10 * ms, 8000)};
    PowerSettings settings;
    settings.rounds = 5;
    const Recording recording = record_power(works, machine.sampler, settings, machine.surroundings());
    CHECK(recording.steady);
    CHECK_FALSE(recording.partial.has_value());
    CHECK(count(recording, "idle") == 2);
    CHECK(count(recording, "load") == 10);
    CHECK(recording.plans.front().first == "z");
    const PowerMeasurement power = described_power(recording, machine.sampler);
    // 5 ms at 12 W, and at 8 W more than idle.
    CHECK(power.table.find("60.0") != std::string::npos);
    CHECK(power.table.find("40.0") != std::string::npos);
    // For the Python package to form its figures from.
    if (const char* path = std::getenv("ESPNET_POWER_PART")) {
        std::ofstream(path) << power.part_json;
    }
}

TEST_CASE("a sensor that looks part of the time is slid along") {
    Machine machine(100 * ms, 25 * ms);
    const std::vector<Work> works{machine.load("a", 20 * ms, 10000)};
    PowerSettings settings;
    settings.rounds = 3;
    const Recording recording = record_power(works, machine.sampler, settings, machine.surroundings());
    const Plan& plan = recording.plans.front().second;
    REQUIRE(plan.phases_ns.size() == 24);
    CHECK(plan.group_inferences == 25);
    for (const Stretch& stretch : recording.stretches) {
        if (stretch.kind == "load") {
            CHECK_FALSE(stretch.pauses.empty());
            // The pauses together are whole periods.
            CHECK((stretch.window_end_ns - stretch.window_start_ns) % (100 * ms) == 0);
            CHECK(stretch.inferences_in_window() == doctest::Approx(600));
            CHECK(stretch.paused_ns_in_window() > 0);
        }
    }
}

TEST_CASE("an interrupt after three rounds keeps them") {
    Machine machine;
    const std::vector<Work> works{machine.load("a", 10 * ms, 8000)};
    const PowerSettings settings;
    machine.interrupt_ns = 80'000 * ms;
    const Recording recording = record_power(works, machine.sampler, settings, machine.surroundings());
    REQUIRE(recording.partial.has_value());
    CHECK(recording.partial->find("of 9") != std::string::npos);
    CHECK(count(recording, "load") >= 3);
    Machine sooner;
    sooner.interrupt_ns = 20'000 * ms;
    CHECK_THROWS_AS(record_power({sooner.load("a", 10 * ms, 8000)}, sooner.sampler, settings, sooner.surroundings()),
                    NothingKept);
}

TEST_CASE("a meter that stops to answer ends it, with its reason") {
    Machine machine;
    machine.meter.broken = true;
    try {
        record_power({machine.load("a", 10 * ms, 8000)}, machine.sampler, {}, machine.surroundings());
        FAIL("it went on");
    } catch (const Error& error) {
        CHECK(error.code() == ErrorCode::unavailable);
        CHECK(std::string(error.what()) ==
              "a made-up board: no reading came in during the warm-up (the chip is gone); try another --power-source");
    }
}

TEST_CASE("a window that does not fit the sensor is refused") {
    SensorFacts facts;
    facts.update_period_ns = 100 * ms;
    CHECK_THROWS_WITH(plan_for(facts, ms, 0.1, std::nullopt),
                      "a window of 0.1 s does not fit a sensor that renews its reading every 0.1 s and averages over 1 "
                      "s: take 1 to 3600 s");
    CHECK_THROWS_WITH(plan_for(facts, ms, std::nullopt, 2),
                      "2 rounds: at least 3 are needed for an interval, 9 are usual");
}

TEST_CASE("lines of tegrastats that are cut or foreign give no wrong number") {
    CHECK_FALSE(parse_tegrastats("VDD_IN 3056/3056").is_tegrastats);
    CHECK_FALSE(parse_tegrastats("RAM 1/2MB " + std::string(max_tegrastats_line, 'x')).is_tegrastats);
    const std::string line = "RAM 1/2MB CPU@40C tj@41.5C NC 0mW/0mW NC 0mW/0mW VDD_IN 5299mW/5300mW VDD_SOC 100mW/10";
    const TegrastatsLine parsed = parse_tegrastats(line);
    REQUIRE(parsed.rails.size() == 1);
    CHECK(parsed.find("VDD_IN")->current_mw == 5299);
    CHECK(parsed.repeated == std::set<std::string>{"NC"});
    CHECK(*parsed.hottest_c == 41.5);
    for (std::size_t size = 0; size < line.size(); ++size) {
        parse_tegrastats(line.substr(0, size));
        parse_tegrastats(line.substr(size));
    }
}

namespace {

/// A tegrastats of the test's own, first on PATH; both end with it.
class MadeUpProgram {
public:
    explicit MadeUpProgram(const std::string& script) : path_(std::getenv("PATH")) {
        REQUIRE(mkdtemp(folder_) != nullptr);
        std::ofstream(program()) << "#!/bin/sh\n" << script << "\n";
        chmod(program().c_str(), 0755);
        setenv("PATH", (std::string(folder_) + ":" + path_).c_str(), 1);
    }

    ~MadeUpProgram() {
        setenv("PATH", path_.c_str(), 1);
        unlink(program().c_str());
        rmdir(folder_);
    }

private:
    std::string program() const { return std::string(folder_) + "/tegrastats"; }

    std::string path_;
    char folder_[32] = "/tmp/tegrastats-XXXXXX";
};

}  // namespace

TEST_CASE("a tegrastats that ends is started again, once") {
    const MadeUpProgram program("echo RAM 1/2MB VDD_IN 5000mW/5000mW; exit 3");
    const std::unique_ptr<Meter> meter = open_tegrastats("NVIDIA Jetson Xavier NX");
    std::string problem;
    int readings = 0;
    while (problem.empty()) {
        try {
            readings += meter->read() ? 1 : 0;
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
        } catch (const std::runtime_error& error) {
            problem = error.what();
        }
    }
    CHECK(readings >= 1);
    CHECK(problem == "tegrastats ended with exit code 3, after it was started again because it ended with exit code 3");
}

TEST_CASE("a tegrastats that runs on is ended with the meter") {
    const MadeUpProgram program("trap '' TERM; while true; do echo RAM 1/2MB VDD_IN 5000mW/5000mW; sleep 0.02; done");
    const auto began = std::chrono::steady_clock::now();
    {
        const std::unique_ptr<Meter> meter = open_tegrastats("NVIDIA Jetson Xavier NX");
        CHECK(meter->read()->values_mw.front() == 5000);
        CHECK(meter->info().power_total == std::vector<std::string>{"VDD_IN"});
    }
    CHECK(std::chrono::steady_clock::now() - began < std::chrono::seconds(5));
}

TEST_CASE("a total is given only for rails that are known to add up") {
    CHECK(total_of({"VDD_IN", "VDD_CPU_GPU_CV", "VDD_SOC"}, "NVIDIA Jetson Xavier NX Developer Kit").rails ==
          std::vector<std::string>{"VDD_IN"});
    CHECK(total_of({"VDD_IN", "VDD_IN"}, "NVIDIA Jetson Xavier NX").reason.has_value());
    CHECK(total_of({"VDD_CPU_CV", "VIN_SYS_5V0"}, "Jetson AGX Orin").rails.empty());
}

TEST_CASE("what computes is read from the backend's own words") {
    const Backend openvino = parsed_backend("openvino 2026.4.1, cpu, 2 threads");
    CHECK(openvino.runtime == "openvino");
    CHECK(openvino.version == "2026.4.1");
    CHECK(openvino.threads == 2);
    const Backend tensorrt = parsed_backend("tensorrt 8.5.2, cuda (Orin (nvgpu)), no CUDA graph");
    CHECK(tensorrt.device == "cuda");
    CHECK(*tensorrt.device_name == "Orin (nvgpu)");
    CHECK_FALSE(*tensorrt.graph);
}
