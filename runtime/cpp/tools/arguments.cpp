#include "arguments.hpp"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>

namespace espnet::tools {

namespace {

constexpr int interrupted_code = 130;  // 128 + SIGINT, as shells report it

volatile std::sig_atomic_t interrupt_seen = 0;

extern "C" void remember_interrupt(int /*number*/) {
    interrupt_seen = 1;
}

struct Interrupted {};

/// Writing to standard output failed.
struct OutputError {
    int number;
};

const Option* find_option(Span<const Option> options, const std::string& name) {
    const auto* found = std::find_if(options.begin(), options.end(), [&](const Option& o) { return name == o.name; });
    return found == options.end() ? nullptr : found;
}

bool is_option(const std::string& word) {
    return word.size() > 1 && word[0] == '-';
}

/// What the library says, in the words of a command.
std::string in_options(std::string message) {
    const std::string of_library = "open it with trust";
    const std::size_t at = message.find(of_library);
    return at == std::string::npos ? message : message.replace(at, of_library.size(), "pass --trust");
}

/// Of a failure to write to standard output: the text of commands.py.
std::string output_problem(int number) {
    const bool full = number == ENOSPC || number == EDQUOT;
    return std::string("output: ") + std::strerror(number) + "; " +
           (full ? "free some space or choose another disk" : "check the path and the disk");
}

int reported(const std::string& program, const std::string& message, int code) {
    note(program, message);
    return code;
}

}  // namespace

Arguments::Arguments(const std::string& program, int argc, const char* const* argv, Span<const Option> options)
    : program_(program) {
    for (int i = 1; i < argc; ++i) {
        if (std::strcmp(argv[i], "--help") == 0 || std::strcmp(argv[i], "--version") == 0) {
            values_[argv[i]];
            return;
        }
    }
    bool only_positional = false;
    for (int i = 1; i < argc; ++i) {
        const std::string word = argv[i];
        if (only_positional || !is_option(word)) {
            positional_.push_back(word);
            continue;
        }
        if (word == "--") {
            only_positional = true;
            continue;
        }
        const std::size_t equals = word.find('=');
        const std::string name = word.substr(0, equals);
        const Option* option = find_option(options, name);
        if (option == nullptr) {
            throw wrong("No such option: " + name);
        }
        std::vector<std::string>& values = values_[name];
        if (option->metavar == nullptr) {
            if (equals != std::string::npos) {
                throw wrong("Option " + quoted(name) + " does not take a value.");
            }
        } else if (equals != std::string::npos) {
            values.push_back(word.substr(equals + 1));
        } else if (++i < argc) {
            values.emplace_back(argv[i]);
        } else {
            throw wrong("Option " + quoted(name) + " requires an argument.");
        }
    }
}

std::optional<std::string> Arguments::text(const std::string& name) const {
    const auto found = values_.find(name);
    if (found == values_.end() || found->second.empty()) {
        return std::nullopt;
    }
    return found->second.back();
}

std::vector<std::string> Arguments::texts(const std::string& name) const {
    const auto found = values_.find(name);
    return found == values_.end() ? std::vector<std::string>{} : found->second;
}

std::string Arguments::required(const std::string& name) const {
    const std::optional<std::string> given = text(name);
    if (!given) {
        throw wrong("Missing option " + quoted(name) + ".");
    }
    return *given;
}

std::optional<std::int64_t> Arguments::integer(const std::string& name) const {
    const std::optional<std::string> given = text(name);
    if (!given) {
        return std::nullopt;
    }
    errno = 0;
    char* end = nullptr;
    const long long value = std::strtoll(given->c_str(), &end, 10);
    if (given->empty() || end != given->c_str() + given->size() || errno == ERANGE) {
        throw wrong("Invalid value for " + quoted(name) +
                    ": Input should be a valid integer, unable to parse string as an integer");
    }
    return value;
}

std::optional<double> Arguments::number(const std::string& name) const {
    const std::optional<std::string> given = text(name);
    if (!given) {
        return std::nullopt;
    }
    char* end = nullptr;
    const double value = std::strtod(given->c_str(), &end);
    if (given->empty() || end != given->c_str() + given->size()) {
        throw wrong("Invalid value for " + quoted(name) +
                    ": Input should be a valid number, unable to parse string as a number");
    }
    return value;
}

std::string Arguments::choice(const std::string& name, const std::vector<std::string>& choices) const {
    const std::string given = text(name).value_or(choices.front());
    if (std::find(choices.begin(), choices.end(), given) != choices.end()) {
        return given;
    }
    std::string list;
    for (const std::string& choice : choices) {
        list += (list.empty() ? "" : ", ") + quoted(choice);
    }
    throw wrong("Invalid value for " + quoted(name) + ": Value error, " + quoted(given) + " is not one of " + list +
                ".");
}

Error Arguments::wrong(const std::string& message) const {
    return {ErrorCode::input, message + " (see " + program_ + " --help)"};
}

std::string option_lines(Span<const Option> options) {
    constexpr std::size_t column = 28;
    std::string lines;
    for (const Option& option : options) {
        std::string left = std::string("  ") + option.name;
        if (option.metavar != nullptr) {
            left += std::string(" ") + option.metavar;
        }
        left.resize(std::max(column, left.size() + 2), ' ');
        lines += left + option.help + "\n";
    }
    return lines;
}

int run_command(const std::string& program, const std::function<int()>& command) {
    // A reader that goes away ends the program in good order, and not in the middle of a file.
    std::signal(SIGPIPE, SIG_IGN);
    // Nor must a limit on the size of files, which writing reports.
    std::signal(SIGXFSZ, SIG_IGN);
    try {
        return command();
    } catch (const Error& error) {
        return reported(program, in_options(error.what()), static_cast<int>(error.code()));
    } catch (const Interrupted&) {
        return reported(program, "interrupted; no file is half written", interrupted_code);
    } catch (const OutputError& error) {
        return error.number == EPIPE
                   ? 0
                   : reported(program, output_problem(error.number), static_cast<int>(ErrorCode::input));
    } catch (const std::bad_alloc&) {
        return reported(program, "not enough memory; close other programs, or give less at once",
                        static_cast<int>(ErrorCode::unavailable));
    } catch (const std::exception& error) {
        return reported(program, std::string("a fault of this program: ") + error.what(),
                        static_cast<int>(ErrorCode::internal));
    }
}

void print(const std::string& text) {
    errno = 0;
    if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
        throw OutputError{errno};
    }
}

void note(const std::string& program, const std::string& message) {
    const std::string line = program + ": " + one_line(message) + "\n";
    // Nothing can be said about it where this fails.
    static_cast<void>(std::fwrite(line.data(), 1, line.size(), stderr));
}

void watch_for_interrupts() {
    struct sigaction action {};
    action.sa_handler = remember_interrupt;
    sigemptyset(&action.sa_mask);
    // Twice is no impatience: timeout sends it to the program and to its group.
    sigaction(SIGTERM, &action, nullptr);
    // A second Ctrl-C ends it at once.
    action.sa_flags = SA_RESETHAND;
    sigaction(SIGINT, &action, nullptr);
}

bool interrupted() noexcept {
    return interrupt_seen != 0;
}

void stop_if_interrupted() {
    if (interrupted()) {
        throw Interrupted{};
    }
}

}  // namespace espnet::tools
