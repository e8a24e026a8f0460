#include <espnet/error.hpp>

#include "printable.hpp"

namespace espnet {

// Names from files and what other libraries say are part of messages, and may hold anything.
Error::Error(ErrorCode code, const std::string& message) : std::runtime_error(one_line(message)), code_(code) {}

Error::~Error() = default;

}  // namespace espnet
