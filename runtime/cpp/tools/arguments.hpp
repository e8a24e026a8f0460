#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <espnet/error.hpp>
#include <espnet/span.hpp>

#include "text.hpp"

namespace espnet::tools {

// What the commands share: options, the one line on standard error, exit codes. They behave as those of the Python
// package (commands.py), with the same texts.

/// An option that a command has, such as {"--threads", "N", "CPU threads"}. A flag has no `metavar`.
struct Option {
    const char* name;
    const char* metavar;
    const char* help;
};

/// What was given on the command line. `--name value`, `--name=value`; after `--` everything is positional.
class Arguments {
public:
    /// `--help` and `--version` are known besides `options`; where one is given, mistakes in the rest do not matter.
    ///
    /// Throws Error (input): an option that is not there, without its value, or a flag with one.
    Arguments(const std::string& program, int argc, const char* const* argv, Span<const Option> options);

    bool has(const std::string& name) const { return values_.count(name) != 0; }

    /// The value that was given last.
    std::optional<std::string> text(const std::string& name) const;

    /// All values, in order.
    std::vector<std::string> texts(const std::string& name) const;

    /// Throws Error (input): it is missing.
    std::string required(const std::string& name) const;

    /// Throws Error (input): it is no integer, or does not fit.
    std::optional<std::int64_t> integer(const std::string& name) const;

    /// Throws Error (input): it is no number.
    std::optional<double> number(const std::string& name) const;

    /// One of `choices`; the first where nothing is given.
    ///
    /// Throws Error (input): another value.
    std::string choice(const std::string& name, const std::vector<std::string>& choices) const;

    const std::vector<std::string>& positional() const noexcept { return positional_; }

private:
    Error wrong(const std::string& message) const;

    std::string program_;
    std::map<std::string, std::vector<std::string>> values_;
    std::vector<std::string> positional_;
};

/// A line for each option, for --help.
std::string option_lines(Span<const Option> options);

/// Run a command and give its exit code; what it throws becomes one line on standard error.
///
/// Codes: that of an Error, 130 when interrupted, 0 where the reader of standard output went away (`| head`).
int run_command(const std::string& program, const std::function<int()>& command);

/// Write to standard output at once.
///
/// Throws: what `run_command` turns into an exit code where that fails.
void print(const std::string& text);

/// A line "program: message" on standard error.
void note(const std::string& program, const std::string& message);

/// From now on Ctrl-C and SIGTERM are remembered, for `stop_if_interrupted`; a second one ends the program.
void watch_for_interrupts();

/// Whether Ctrl-C was pressed.
bool interrupted() noexcept;

/// Throws: what `run_command` turns into exit code 130, where Ctrl-C was pressed.
void stop_if_interrupted();

}  // namespace espnet::tools
