#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace espnet::tools {

// UTF-8 text as Python's `str` treats it, as far as messages and lists of words need it.

/// The first byte that is no UTF-8; npos where all of it is.
std::size_t utf8_problem(const std::string& text) noexcept;

/// Number of characters; a byte that is no UTF-8 counts as one.
std::size_t characters(const std::string& text) noexcept;

/// The first `count` characters.
std::string first_characters(const std::string& text, std::size_t count);

/// `text` with blanks behind it up to so many characters.
std::string padded(std::string text, std::size_t width);

/// What white space separates.
std::vector<std::string> words_of(const std::string& text);

std::string joined(const std::vector<std::string>& parts, const std::string& between);

/// One line that does nothing to a terminal: white space is a blank, what is not printable is written as its code.
std::string one_line(const std::string& text);

/// In quotes, with what is not printable written as its code, as Python's repr shows a text.
std::string quoted(const std::string& text);

/// A name without line breaks and control characters, which are blanks.
std::string printable_name(const std::string& text);

/// The shortest text that reads back as the same number, with a ".0" where it is whole: what Python prints.
std::string number_text(double value);

/// The way that a path is written in messages and results: "a//./b/" is "a/b", as Python's pathlib has it.
std::string tidy_path(const std::string& path);

}  // namespace espnet::tools
