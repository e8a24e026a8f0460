#pragma once

#include <string>
#include <string_view>

namespace espnet {

/// Text in UTF-8 as one line that does nothing to a terminal: runs of white space are one space, and what is not
/// printable (escape sequences, marks that turn the direction of writing) is written as its code, as errors.one_line
/// of the Python package does it.
std::string one_line(std::string_view text);

/// Text in quotes as Python's repr() writes it.
std::string in_quotes(std::string_view text);

}  // namespace espnet
