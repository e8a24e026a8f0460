#include "text.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace espnet::tools {

namespace {

/// A code point and its bytes; where the text is no UTF-8 the byte itself, with `is_text` false.
struct Character {
    char32_t code;
    std::size_t bytes;
    bool is_text;
};

Character character_at(const std::string& text, std::size_t at) noexcept {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char first = byte(at);
    if (first < 0x80) {
        return {first, 1, true};
    }
    const std::size_t bytes = first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : first >= 0xc0 ? 2 : 1;
    if (bytes == 1 || at + bytes > text.size()) {
        return {first, 1, false};
    }
    char32_t code = first & (0xffU >> (bytes + 1));
    for (std::size_t i = 1; i < bytes; ++i) {
        if ((byte(at + i) & 0xc0) != 0x80) {
            return {first, 1, false};
        }
        code = (code << 6) | (byte(at + i) & 0x3fU);
    }
    constexpr char32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    const bool is_valid = code >= smallest[bytes] && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
    return is_valid ? Character{code, bytes, true} : Character{first, 1, false};
}

bool is_space(char32_t code) noexcept {
    return code == 0x20 || (code >= 0x09 && code <= 0x0d) || (code >= 0x1c && code <= 0x1f) || code == 0x85 ||
           code == 0xa0 || code == 0x1680 || (code >= 0x2000 && code <= 0x200a) || code == 0x2028 || code == 0x2029 ||
           code == 0x202f || code == 0x205f || code == 0x3000;
}

/// Not: control characters, marks that turn the direction of writing, and what nobody sees.
bool is_printable(char32_t code) noexcept {
    const bool control = code < 0x20 || (code >= 0x7f && code <= 0xa0) || code == 0xad;
    const bool mark = (code >= 0x200b && code <= 0x200f) || (code >= 0x2028 && code <= 0x202f) ||
                      (code >= 0x2060 && code <= 0x206f) || code == 0x061c || code == 0xfeff;
    const bool no_text = (code >= 0xe000 && code <= 0xf8ff) || (code & 0xfffeU) == 0xfffe || code >= 0xe0000;
    return !(control || mark || no_text);
}

std::string escaped(char32_t code) {
    char text[16];
    const char* format = code > 0xffff ? "\\U%08lx" : code > 0xff ? "\\u%04lx" : "\\x%02lx";
    std::snprintf(text, sizeof text, format, static_cast<unsigned long>(code));
    return text;
}

std::string printable(const std::string& text) {
    std::string shown;
    for (std::size_t at = 0; at < text.size();) {
        const Character character = character_at(text, at);
        const bool is_shown = character.is_text && is_printable(character.code);
        shown += is_shown ? text.substr(at, character.bytes) : escaped(character.code);
        at += character.bytes;
    }
    return shown;
}

}  // namespace

std::size_t utf8_problem(const std::string& text) noexcept {
    for (std::size_t at = 0; at < text.size();) {
        const Character character = character_at(text, at);
        if (!character.is_text) {
            return at;
        }
        at += character.bytes;
    }
    return std::string::npos;
}

std::size_t characters(const std::string& text) noexcept {
    std::size_t count = 0;
    for (std::size_t at = 0; at < text.size(); at += character_at(text, at).bytes) {
        ++count;
    }
    return count;
}

std::string first_characters(const std::string& text, std::size_t count) {
    std::size_t at = 0;
    for (; count > 0 && at < text.size(); --count) {
        at += character_at(text, at).bytes;
    }
    return text.substr(0, at);
}

std::string padded(std::string text, std::size_t width) {
    const std::size_t length = characters(text);
    text.append(width > length ? width - length : 0, ' ');
    return text;
}

std::vector<std::string> words_of(const std::string& text) {
    std::vector<std::string> words;
    bool in_word = false;
    for (std::size_t at = 0; at < text.size();) {
        const Character character = character_at(text, at);
        const bool is_gap = character.is_text && is_space(character.code);
        if (!is_gap && !in_word) {
            words.emplace_back();
        }
        if (!is_gap) {
            words.back().append(text, at, character.bytes);
        }
        in_word = !is_gap;
        at += character.bytes;
    }
    return words;
}

std::string joined(const std::vector<std::string>& parts, const std::string& between) {
    std::string text;
    for (const std::string& part : parts) {
        text += (&part == &parts.front() ? "" : between) + part;
    }
    return text;
}

std::string one_line(const std::string& text) {
    return printable(joined(words_of(text), " "));
}

std::string quoted(const std::string& text) {
    const bool has_single = text.find('\'') != std::string::npos;
    const char quote = has_single && text.find('"') == std::string::npos ? '"' : '\'';
    std::string inside;
    for (const char character : text) {
        const char* code = character == '\t' ? "\\t" : character == '\n' ? "\\n" : character == '\r' ? "\\r" : nullptr;
        inside += code != nullptr                           ? code
                  : character == '\\' || character == quote ? std::string("\\") + character
                                                            : std::string(1, character);
    }
    return quote + printable(inside) + quote;
}

std::string printable_name(const std::string& text) {
    std::string name;
    for (std::size_t at = 0; at < text.size();) {
        const Character character = character_at(text, at);
        name += is_printable(character.code) ? text.substr(at, character.bytes) : " ";
        at += character.bytes;
    }
    return joined(words_of(name), " ");
}

std::string number_text(double value) {
    if (std::isnan(value)) {
        return "nan";
    }
    if (std::isinf(value)) {
        return value < 0 ? "-inf" : "inf";
    }
    char text[40];
    int digits = 0;
    do {
        std::snprintf(text, sizeof text, "%.*e", digits++, value);
    } while (std::strtod(text, nullptr) != value);
    const int exponent = std::atoi(std::strchr(text, 'e') + 1);
    if (exponent >= -4 && exponent < 16) {
        std::snprintf(text, sizeof text, "%.*f", std::max(1, digits - 1 - exponent), value);
    }
    return text;
}

std::string tidy_path(const std::string& path) {
    std::string tidy = !path.empty() && path[0] == '/' ? "/" : "";
    for (std::size_t begin = 0; begin < path.size();) {
        const std::size_t end = std::min(path.find('/', begin), path.size());
        const std::string part = path.substr(begin, end - begin);
        if (!part.empty() && part != ".") {
            tidy += (tidy.empty() || tidy.back() == '/' ? "" : "/") + part;
        }
        begin = end + 1;
    }
    return tidy.empty() ? "." : tidy;
}

}  // namespace espnet::tools
