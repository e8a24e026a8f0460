// Power by tegrastats, run beside the measurement and read line by line: power/tegrastats_meter.py. Lines are stamped
// when they arrive.
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "arguments.hpp"
#include "bench_boards.hpp"
#include "bench_json.hpp"
#include "bench_latency.hpp"
#include "bench_meter.hpp"
#include "bench_tegrastats.hpp"
#include "text.hpp"

namespace espnet::bench {

namespace {

constexpr const char* program_name = "tegrastats";
constexpr const char* usual_folder = "/usr/bin";
constexpr int interval_ms = 100;
constexpr std::int64_t ns_per_ms = 1'000'000;
// To its first line; from one line to the next, then it counts as failed; to end when it is asked to.
constexpr std::int64_t first_line_ms = 5000 + interval_ms;
constexpr std::int64_t stall_ms = 3000;
constexpr int end_ms = 500;
// Lines that may come before one with plausible powers.
constexpr int tries = 3;
constexpr std::size_t max_said_chars = 200;
// No Jetson draws as much.
constexpr std::int64_t max_plausible_mw = 1'000'000;
constexpr const char* read_the_chips = "read the chips in /sys/bus/i2c/drivers, or measure at the power adapter";
constexpr const char* no_rails =
    "run as root, which AGX Orin with Jetson Linux 35 needs; TX2 NX and older releases have none: read the chips in "
    "/sys/bus/i2c/drivers, or measure at the power adapter";

std::string seconds(std::int64_t milliseconds) {
    const std::string text = tools::number_text(static_cast<double>(milliseconds) / 1e3);
    return text.size() > 2 && text.compare(text.size() - 2, 2, ".0") == 0 ? text.substr(0, text.size() - 2) : text;
}

/// Where the program is: on PATH, else where Jetson Linux has it.
std::optional<std::string> found_program() {
    const char* path = std::getenv("PATH");
    std::string folders = std::string(path != nullptr ? path : "/bin:/usr/bin") + ":" + usual_folder;
    for (std::size_t at = 0; at <= folders.size();) {
        const std::size_t colon = std::min(folders.find(':', at), folders.size());
        const std::string folder = folders.substr(at, colon - at);
        const std::string program = (folder.empty() ? "." : folder) + "/" + program_name;
        if (access(program.c_str(), X_OK) == 0) {
            return program;
        }
        at = colon + 1;
    }
    return std::nullopt;
}

/// This process's environment, with the decimal point of a number.
class ChildEnvironment {
public:
    ChildEnvironment() {
        for (char** entry = environ; *entry != nullptr; ++entry) {
            if (std::strncmp(*entry, "LC_ALL=", 7) != 0) {
                entries_.push_back(*entry);
            }
        }
        entries_.push_back(locale_);
        entries_.push_back(nullptr);
    }

    char** data() { return entries_.data(); }

private:
    char locale_[9] = "LC_ALL=C";
    std::vector<char*> entries_;
};

/// The program that runs, and the pipe that it prints into.
class Process {
public:
    /// Throws std::runtime_error: it cannot be started.
    explicit Process(const std::string& program) {
        std::array<int, 2> ends{};
        if (pipe2(ends.data(), O_CLOEXEC) != 0) {
            throw std::runtime_error(std::string("cannot be started: ") + std::strerror(errno));
        }
        output_ = ends[0];
        posix_spawn_file_actions_t actions;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
        posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
        posix_spawn_file_actions_adddup2(&actions, ends[1], 2);
        posix_spawnattr_t attributes;
        posix_spawnattr_init(&attributes);
        // Ctrl-C is for us, who end it in good order.
        posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF);
        // If we are killed it must end by itself, at its next line into a pipe that nobody reads.
        sigset_t ignored_by_us;
        sigemptyset(&ignored_by_us);
        sigaddset(&ignored_by_us, SIGPIPE);
        sigaddset(&ignored_by_us, SIGXFSZ);
        posix_spawnattr_setsigdefault(&attributes, &ignored_by_us);
        const std::string interval = std::to_string(interval_ms);
        std::array<std::string, 3> words{program, "--interval", interval};
        std::array<char*, 4> arguments{words[0].data(), words[1].data(), words[2].data(), nullptr};
        ChildEnvironment environment;
        const int error =
            posix_spawn(&id_, program.c_str(), &actions, &attributes, arguments.data(), environment.data());
        posix_spawn_file_actions_destroy(&actions);
        posix_spawnattr_destroy(&attributes);
        close(ends[1]);
        if (error != 0) {
            close(output_);
            throw std::runtime_error(std::string("cannot be started: ") + std::strerror(error));
        }
    }

    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;

    /// End it and wait until it has ended; it is killed where it does not end by itself.
    ~Process() {
        if (!ended_) {
            kill(id_, SIGTERM);
            if (!wait_for_end(end_ms)) {
                kill(id_, SIGKILL);
                waitpid(id_, &status_, 0);
            }
        }
        close(output_);
    }

    int output() const noexcept { return output_; }

    /// What became of a program that closed its output.
    std::string ending() {
        if (!wait_for_end(end_ms)) {
            return "closed its output";
        }
        return WIFEXITED(status_) ? "ended with exit code " + std::to_string(WEXITSTATUS(status_))
                                  : "was ended by signal " + std::to_string(WTERMSIG(status_));
    }

private:
    bool wait_for_end(int milliseconds) {
        for (int waited = 0; !ended_; waited += 10) {
            ended_ = waitpid(id_, &status_, WNOHANG) == id_;
            if (ended_ || waited >= milliseconds) {
                break;
            }
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        }
        return ended_;
    }

    pid_t id_ = 0;
    int output_ = -1;
    int status_ = 0;
    bool ended_ = false;
};

struct Arrival {
    int number = 0;  ///< counted from 1; 0: none came
    std::int64_t time_ns = 0;
    TegrastatsLine line;
};

/// Reads what the program prints, in a thread of its own.
class Reader {
public:
    explicit Reader(std::string program) : program_(std::move(program)) {
        if (pipe2(wake_.data(), O_CLOEXEC) != 0) {
            throw NoMeter{std::string(program_name) + " cannot be read: " + std::strerror(errno), "close files"};
        }
        thread_ = std::thread([this] { run(); });
    }

    ~Reader() {
        close(wake_[1]);  // the thread sees the end of the pipe
        thread_.join();
        close(wake_[0]);
    }

    Reader(const Reader&) = delete;
    Reader& operator=(const Reader&) = delete;

    /// The newest line, and why no more will come; "" as long as they do.
    std::pair<Arrival, std::string> newest() {
        const std::lock_guard<std::mutex> lock(mutex_);
        return {newest_, problem_};
    }

    /// The same, once there is a line later than the one with the number `after`, or a problem.
    std::pair<Arrival, std::string> wait_for_line(int after) {
        std::unique_lock<std::mutex> lock(mutex_);
        changed_.wait(lock, [&] { return newest_.number > after || !problem_.empty(); });
        return {newest_, problem_};
    }

private:
    void run() {
        std::string problem = watched();
        // Where it never worked there is nothing to hope for.
        if (newest().first.number > 0 && !closed_) {
            problem = watched() + ", after it was started again because it " + problem;
        }
        const std::lock_guard<std::mutex> lock(mutex_);
        problem_ = problem;
        changed_.notify_all();
    }

    /// Run the program until it ends or stalls, and say why.
    std::string watched() {
        try {
            Process process(program_);
            return watch(process);
        } catch (const std::exception& error) {
            return error.what();
        }
    }

    std::string watch(Process& process) {
        std::int64_t limit_ms = first_line_ms;
        std::int64_t last_ns = now_ns();
        begun_.clear();
        last_words_.clear();
        std::array<char, 1 << 16> chunk{};
        while (true) {
            const std::int64_t left_ms = limit_ms - (now_ns() - last_ns) / ns_per_ms;
            if (left_ms <= 0) {
                return "printed no line for " + seconds(limit_ms) + " s" + said();
            }
            std::array<pollfd, 2> watched{{{process.output(), POLLIN, 0}, {wake_[0], POLLIN, 0}}};
            if (poll(watched.data(), watched.size(), static_cast<int>(left_ms)) < 0 && errno != EINTR) {
                return std::string("cannot be read: ") + std::strerror(errno);
            }
            if (watched[1].revents != 0) {
                closed_ = true;
                return "is closed";
            }
            if (watched[0].revents == 0) {
                continue;
            }
            const ssize_t size = read(process.output(), chunk.data(), chunk.size());
            if (size <= 0) {
                return process.ending() + said();
            }
            if (take(std::string(chunk.data(), static_cast<std::size_t>(size)))) {
                limit_ms = stall_ms;
                last_ns = now_ns();
            }
        }
    }

    /// Keep what arrived; whether there was a line of tegrastats. Of a line that is too long nothing is kept.
    bool take(const std::string& chunk) {
        const std::int64_t arrived_ns = now_ns();
        bool taken = false;
        for (const char c : chunk) {
            if (c != '\n') {
                if (begun_.size() <= max_tegrastats_line) {
                    begun_ += c;
                }
                continue;
            }
            taken = keep(begun_, arrived_ns) || taken;
            begun_.clear();
        }
        return taken;
    }

    bool keep(const std::string& text, std::int64_t arrived_ns) {
        TegrastatsLine line = parse_tegrastats(text);
        if (!line.is_tegrastats) {
            const std::string words = tools::first_characters(tools::one_line(text), max_said_chars);
            last_words_ = words.empty() ? last_words_ : words;
            return false;
        }
        const std::lock_guard<std::mutex> lock(mutex_);
        newest_ = {newest_.number + 1, arrived_ns, std::move(line)};
        changed_.notify_all();
        return true;
    }

    std::string said() const { return last_words_.empty() ? "" : " (" + last_words_ + ")"; }

    std::string program_;
    std::array<int, 2> wake_{};
    bool closed_ = false;  ///< of the thread alone
    std::string begun_;
    std::string last_words_;
    std::mutex mutex_;
    std::condition_variable changed_;
    Arrival newest_;
    std::string problem_;
    std::thread thread_;
};

std::vector<std::string> names_in(const TegrastatsLine& line) {
    std::vector<std::string> names;
    for (const auto& rail : line.rails) {
        if (rail.first != not_connected) {
            names.push_back(rail.first);
        }
    }
    return names;
}

Total total_in(const TegrastatsLine& line, const std::optional<std::string>& model) {
    std::vector<std::string> names = names_in(line);
    for (const std::string& name : line.repeated) {
        names.insert(names.end(), 2, name);
    }
    return total_of(names, model);
}

/// Why a line's powers are no measurement, and the way out; none where they may be one.
std::optional<NoMeter> doubt(const TegrastatsLine& line, const Total& total) {
    const std::string prints = std::string(program_name) + " prints ";
    const std::vector<std::string> names = names_in(line);
    if (names.empty()) {
        return NoMeter{prints + "no power rails", no_rails};
    }
    std::string highest = names.front();
    for (const std::string& name : names) {
        if (std::abs(line.find(name)->current_mw) > std::abs(line.find(highest)->current_mw)) {
            highest = name;
        }
    }
    const std::int64_t most_mw = line.find(highest)->current_mw;
    if (std::abs(most_mw) > max_plausible_mw) {
        return NoMeter{prints + std::to_string(most_mw) + " mW for " + highest + ", more than any board draws",
                       read_the_chips};
    }
    if (most_mw == 0) {
        return NoMeter{prints + "0 mW for every rail", no_rails};
    }
    std::int64_t sum_mw = 0;
    for (const std::string& name : total.rails) {
        sum_mw += line.find(name)->current_mw;
    }
    if (!total.rails.empty() && sum_mw <= 0) {
        return NoMeter{prints + "0 mW or less for " + tools::joined(total.rails, " + ") + ", a board that runs",
                       read_the_chips};
    }
    return std::nullopt;
}

Channel channel_of(const std::string& name, const std::optional<std::string>& board) {
    SensorFacts sensor;
    sensor.update_period_ns = interval_ms * ns_per_ms;
    sensor.step_mw = step_mw(name, board);
    if (name == "VIN") {
        sensor.source = "INA238 on the carrier board";
        return {name, sensor};
    }
    return {name, of_ina3221(sensor, ina3221_source)};
}

MeterInfo info_of(const TegrastatsLine& line, const Total& total, const std::string& program,
                  const std::optional<std::string>& model) {
    MeterInfo info;
    info.source = program_name;
    info.device = tools::first_characters(
        tools::one_line(total.board ? *total.board : model.value_or("a Jetson whose model is not known")),
        max_said_chars);
    info.scope = total.scope;
    for (const std::string& name : names_in(line)) {
        info.channels.push_back(channel_of(name, total.board));
    }
    info.power_total = total.rails;
    info.no_total_reason = total.reason;
    if (line.hottest_c) {
        info.condition_names = {"temperature_c"};
    }
    info.facts = {{"program", json::text(program)}, {"interval_ms", json::of(interval_ms)}};
    return info;
}

class TegrastatsMeter : public Meter {
public:
    TegrastatsMeter(const std::string& program, const std::optional<std::string>& model) : reader_(program) {
        std::optional<NoMeter> answer;
        for (int number = 0; number < tries; ++number) {
            const auto [arrival, problem] = reader_.wait_for_line(number);
            if (arrival.number <= number) {
                const NoMeter ended{std::string(program_name) + " " + problem,
                                    "see what it says: " + program + " --interval " + std::to_string(interval_ms)};
                throw NoMeter(answer.value_or(ended));
            }
            const Total total = total_in(arrival.line, model);
            answer = doubt(arrival.line, total);
            if (!answer) {
                info_ = info_of(arrival.line, total, program, model);
                return;
            }
        }
        throw NoMeter(*answer);
    }

    const MeterInfo& info() const noexcept override { return info_; }

    std::optional<Reading> read() override {
        const auto [arrival, problem] = reader_.newest();
        if (arrival.number == seen_) {
            if (!problem.empty()) {
                throw std::runtime_error(std::string(program_name) + " " + problem);
            }
            return std::nullopt;
        }
        seen_ = arrival.number;
        Reading reading{arrival.time_ns, {}};
        for (const Channel& channel : info_.channels) {
            const RailPower* power = arrival.line.find(channel.name);
            const bool plausible = power != nullptr && std::abs(power->current_mw) <= max_plausible_mw;
            reading.values_mw.push_back(plausible ? std::make_optional(static_cast<double>(power->current_mw))
                                                  : std::nullopt);
        }
        return reading;
    }

    std::vector<std::optional<double>> read_conditions() override {
        std::vector<std::optional<double>> values(info_.condition_names.size());
        if (!values.empty()) {
            values.front() = reader_.newest().first.line.hottest_c;
        }
        return values;
    }

private:
    Reader reader_;
    MeterInfo info_;
    int seen_ = 0;
};

}  // namespace

std::unique_ptr<Meter> open_tegrastats(const std::optional<std::string>& model) {
    const std::optional<std::string> program = found_program();
    if (!program) {
        throw NoMeter{std::string(program_name) + " is neither on PATH nor in " + usual_folder,
                      "nothing to do: Jetson boards have it"};
    }
    return std::make_unique<TegrastatsMeter>(*program, model);
}

}  // namespace espnet::bench
