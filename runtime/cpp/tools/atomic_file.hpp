#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace espnet::tools {

/// Replace `path` by `data` in one step: a reader sees the old file or the new one, never a part (files.py).
///
/// Throws Error (input): the folder cannot be written, the disk is full, or `path` is a folder or a device; what was
/// there is then untouched.
void write_file(const std::string& path, const std::vector<std::uint8_t>& data);
void write_file(const std::string& path, const std::string& text);

/// Make the folder and those above it, where they are missing.
///
/// Throws Error (input): that is not possible.
void make_folders(const std::string& path);

/// Find out before the work whether a result can be written to `path`; `option`, such as "--json", is for messages.
///
/// Throws Error (input): `path` is a folder or a device, or its folder is not there or not writable.
void check_output_file(const std::string& option, const std::string& path);

/// The path from the root, without links: equal for two names of one file. It need not be there.
std::string resolved(const std::string& path);

}  // namespace espnet::tools
