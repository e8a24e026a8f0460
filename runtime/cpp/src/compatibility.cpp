#include "compatibility.hpp"

#include <algorithm>

#include "texts.hpp"

namespace espnet {

namespace {

bool holds(const std::vector<std::string>& words, const std::string& word) {
    return std::find(words.begin(), words.end(), word) != words.end();
}

/// What TensorRT-RTX builds for; GPUs of other kinds (9.0, 8.7) need TensorRT.
std::vector<std::string> rtx_capabilities() {
    return {"7.5", "8.0", "8.6", "8.9", "12.0", "12.1"};
}

/// Whether it is newer than all that TensorRT-RTX names: portable engines are for those, too.
bool is_newest(const std::string& compute_capability) {
    const Version newest{12, 1};
    return parse_version(compute_capability) > newest;
}

std::string version_text(const Version& version) {
    return version.empty() ? "of unknown version" : dotted(version);
}

bool covers(const BuiltEngine& engine, const std::string& present) {
    if (holds(*engine.compute_capabilities, present)) {
        return true;
    }
    if (holds(engine.compatible, "ampere+") && engine.builder == tensorrt) {
        return parse_version(present) >= Version{8, 0};
    }
    return engine.and_later && is_newest(present);
}

std::optional<Problem> gpu_problem(const BuiltEngine& engine, const EngineMachine& machine) {
    if (!machine.device) {
        return Problem{Problem::Kind::gpu, "no GPU is here (" + machine.gpu_reason + ")"};
    }
    if (!machine.compute_capability) {
        return Problem{Problem::Kind::gpu, "the driver does not say the compute capability of " + *machine.device,
                       false};
    }
    if (!engine.compute_capabilities) {
        if (engine.device == machine.device) {
            return std::nullopt;
        }
        const std::string known = engine.device ? "only that it was built on " + *engine.device : "nothing";
        return Problem{Problem::Kind::capability, "of the GPU that it is for " + known + " is known", false};
    }
    if (!covers(engine, *machine.compute_capability)) {
        return Problem{Problem::Kind::capability, "it is not for sm " + *machine.compute_capability};
    }
    return std::nullopt;
}

bool first_numbers_agree(const Version& built, const Version& present, std::size_t count) {
    return std::equal(built.begin(), built.begin() + static_cast<std::ptrdiff_t>(count), present.begin());
}

/// All numbers that both have: the build number counts, too, 8.6.1.6 refuses a plan of 8.6.1.2.
bool same(const Version& built, const Version& present) {
    const std::size_t shared = std::min({built.size(), present.size(), std::size_t{4}});
    return shared >= 3 && first_numbers_agree(built, present, shared);
}

/// Engines that were built version-compatible run on newer releases of their own major version and of the next.
bool runs_older(const Version& built, const Version& present) {
    const int next_major = built[0] == 8 ? 10 : built[0] == 10 ? 11 : built[0];
    return Version{built[0], built[1]} >= Version{8, 6} && present > built &&
           (present[0] == built[0] || present[0] == next_major);
}

std::string version_problem(const BuiltEngine& engine, const EngineMachine& machine) {
    const std::string title = title_of(engine.builder);
    const std::string present = version_text(machine.version);
    if (engine.builder == tensorrt_rtx || !holds(engine.compatible, "version") ||
        !runs_older(engine.version, machine.version)) {
        return title + " " + present + " runs only engines of " + present;
    }
    // The lean runtime of the older version is what would run it, from the plan or from a file: both are code for the
    // host, which is not allowed.
    return "it is version-compatible, but " + title + " " + present + " runs it through the lean runtime of " +
           version_text(engine.version) + ", host code that is not allowed here";
}

std::optional<Problem> library_problem(const BuiltEngine& engine, const EngineMachine& machine) {
    const std::string title = title_of(engine.builder);
    if (machine.version.empty()) {
        return Problem{Problem::Kind::library, title + " is not here (" + machine.library_answer + ")"};
    }
    if (engine.version.size() < 3) {
        const bool may_fit = engine.version.size() <= machine.version.size() &&
                             first_numbers_agree(engine.version, machine.version, engine.version.size());
        return Problem{Problem::Kind::version, "the version of " + title + " that built it is not known to the patch",
                       !may_fit};
    }
    if (!same(engine.version, machine.version)) {
        return Problem{Problem::Kind::version, version_problem(engine, machine)};
    }
    return std::nullopt;
}

}  // namespace

std::string BuiltEngine::text() const {
    std::string gpus = "an unknown GPU";
    if (compute_capabilities) {
        gpus = "sm " + joined(*compute_capabilities, ", ") + (and_later ? " and newer" : "");
    }
    if (holds(compatible, "ampere+")) {
        gpus += ", made to run on Ampere and newer";
    }
    return title_of(builder) + " " + version_text(version) + " for " + gpus + (device ? " (" + *device + ")" : "");
}

std::vector<Problem> problems_of(const BuiltEngine& engine, const EngineMachine& machine) {
    std::vector<Problem> problems;
    if (const auto problem = gpu_problem(engine, machine)) {
        problems.push_back(*problem);
    }
    if (const auto problem = library_problem(engine, machine)) {
        problems.push_back(*problem);
    }
    return problems;
}

std::vector<std::string> rtx_portable() {
    return {"8.0", "8.6", "8.9", "12.0"};
}

bool needs_other_builder(const BuiltEngine& engine, const EngineMachine& machine) {
    const std::optional<std::string>& present = machine.compute_capability;
    const bool known = !present || holds(rtx_capabilities(), *present) || is_newest(*present);
    return engine.builder == tensorrt_rtx && !known;
}

std::vector<std::string> capabilities_to_build(const BuiltEngine& engine, const EngineMachine& machine) {
    const std::optional<std::string>& present = machine.compute_capability;
    const std::vector<std::string> named = engine.compute_capabilities.value_or(std::vector<std::string>{});
    if (!present || holds(named, *present)) {
        return engine.and_later ? std::vector<std::string>{} : named;
    }
    return holds(rtx_capabilities(), *present) ? std::vector<std::string>{*present} : std::vector<std::string>{};
}

std::string text_of(const EngineMachine& machine, const std::string& builder) {
    const std::string title = title_of(builder);
    const std::string library = machine.version.empty() ? "no " + title + " (" + machine.library_answer + ")"
                                                        : title + " " + version_text(machine.version);
    if (!machine.device) {
        return library + ", and no GPU (" + machine.gpu_reason + ")";
    }
    return library + " on sm " + machine.compute_capability.value_or("unknown") + " (" + *machine.device + ")";
}

std::string title_of(const std::string& builder) {
    return builder == tensorrt_rtx ? "TensorRT-RTX" : "TensorRT";
}

std::string dotted(const Version& version) {
    std::vector<std::string> parts;
    for (const int number : version) {
        parts.push_back(std::to_string(number));
    }
    return joined(parts, ".");
}

}  // namespace espnet
