#pragma once

#include <string>
#include <vector>

namespace espnet::tools {

/// The text of a file, without the mark of its byte order.
///
/// Args:
///     advice: what such a file is, for messages: "{path}: no such file; {advice}".
///     too_large: "{path}: 123 bytes, {too_large}".
///
/// Throws Error (input): it is no file, has more than `most_bytes`, or is not UTF-8.
std::string utf8_file(const std::string& path, std::size_t most_bytes, const std::string& advice,
                      const std::string& too_large);

/// The names of all classes in the file `path`, in order (labels.py): one per line, a JSON list, or a JSON object with
/// the numbers of the classes as keys.
///
/// Throws Error (input): it cannot be read, or does not hold exactly one name for each class.
std::vector<std::string> class_names(const std::string& path, int num_classes);

}  // namespace espnet::tools
