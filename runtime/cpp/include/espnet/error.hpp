#pragma once

#include <stdexcept>
#include <string>

#include <espnet/export.h>

namespace espnet {

/// What kind of thing went wrong. The numbers are the exit codes of the project's commands.
enum class ErrorCode : int {
    internal = 1,     ///< a fault of this library
    input = 2,        ///< what the caller gave is wrong: a path, a shape, an image
    unavailable = 3,  ///< hardware, library or memory that is needed is not there
    check = 4,        ///< a check failed: no manifest, another checksum, an output that is not finite
};

/// The one exception that this library throws. `what()` is one line: what is wrong, both values, the way out; the text
/// is the one that the Python package gives for the same mistake.
class ESPNET_API Error : public std::runtime_error {
public:
    Error(ErrorCode code, const std::string& message);
    ~Error() override;

    Error(const Error&) = default;
    Error& operator=(const Error&) = default;

    ErrorCode code() const noexcept { return code_; }

private:
    ErrorCode code_;
};

}  // namespace espnet
