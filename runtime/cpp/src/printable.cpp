#include "printable.hpp"

#include <algorithm>
#include <cstddef>
#include <iterator>

namespace espnet {

namespace {

struct Range {
    char32_t first;
    char32_t last;
};

/// What Python's str.split() splits at.
constexpr Range white_space[] = {{0x09, 0x0D},     {0x1C, 0x20},     {0x85, 0x85},     {0xA0, 0xA0},
                                 {0x1680, 0x1680}, {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F},
                                 {0x205F, 0x205F}, {0x3000, 0x3000}};

/// Control and format characters, surrogates and private ones. Code points that nobody has assigned are left out: their
/// list grows shorter with every version of Unicode.
constexpr Range unprintable[] = {{0x00, 0x1F},       {0x7F, 0x9F},       {0xAD, 0xAD},       {0x600, 0x605},
                                 {0x61C, 0x61C},     {0x6DD, 0x6DD},     {0x70F, 0x70F},     {0x890, 0x891},
                                 {0x8E2, 0x8E2},     {0x180E, 0x180E},   {0x200B, 0x200F},   {0x202A, 0x202E},
                                 {0x2060, 0x206F},   {0xD800, 0xF8FF},   {0xFEFF, 0xFEFF},   {0xFFF0, 0xFFFB},
                                 {0x110BD, 0x110BD}, {0x110CD, 0x110CD}, {0x13430, 0x1343F}, {0x1BCA0, 0x1BCA3},
                                 {0x1D173, 0x1D17A}, {0xE0000, 0xE00FF}, {0xF0000, 0x10FFFF}};

template <std::size_t count>
bool is_one_of(const Range (&ranges)[count], char32_t code) {
    return std::any_of(std::begin(ranges), std::end(ranges),
                       [&](const Range& range) { return range.first <= code && code <= range.last; });
}

struct Character {
    char32_t code;
    std::size_t bytes;
};

/// A byte that is no UTF-8 has the code that Python gives it in the name of a file.
Character first_character(std::string_view text) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const unsigned char lead = byte(0);
    const Character alone{lead < 0x80 ? char32_t{lead} : char32_t{0xDC00} + lead, 1};
    const std::size_t bytes = lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF8 ? 4 : 1;
    if (bytes == 1 || bytes > text.size()) {
        return alone;
    }
    char32_t code = lead & (0x7Fu >> bytes);
    for (std::size_t i = 1; i < bytes; ++i) {
        if ((byte(i) & 0xC0u) != 0x80u) {
            return alone;
        }
        code = code << 6 | (byte(i) & 0x3Fu);
    }
    constexpr char32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    const bool is_surrogate = code >= 0xD800 && code <= 0xDFFF;
    return code < smallest[bytes] || code > 0x10FFFF || is_surrogate ? alone : Character{code, bytes};
}

/// "\x1b", "\u202e", "\U000e0001".
std::string escaped(char32_t code) {
    const int digits = code < 0x100 ? 2 : code < 0x10000 ? 4 : 8;
    std::string text = digits == 2 ? "\\x" : digits == 4 ? "\\u" : "\\U";
    for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) {
        text += "0123456789abcdef"[code >> shift & 15u];
    }
    return text;
}

}  // namespace

std::string one_line(std::string_view text) {
    std::string line;
    bool between_words = false;
    while (!text.empty()) {
        const Character next = first_character(text);
        if (is_one_of(white_space, next.code)) {
            between_words = true;
        } else {
            line += between_words && !line.empty() ? " " : "";
            between_words = false;
            line += is_one_of(unprintable, next.code) ? escaped(next.code) : std::string(text.substr(0, next.bytes));
        }
        text.remove_prefix(next.bytes);
    }
    return line;
}

std::string in_quotes(std::string_view text) {
    const bool double_quotes = text.find('\'') != text.npos && text.find('"') == text.npos;
    const char quote = double_quotes ? '"' : '\'';
    std::string result(1, quote);
    while (!text.empty()) {
        const Character next = first_character(text);
        const char letter = text.front();
        if (letter == quote || letter == '\\') {
            result += {'\\', letter};
        } else if (letter == '\n' || letter == '\r' || letter == '\t') {
            result += letter == '\n' ? "\\n" : letter == '\r' ? "\\r" : "\\t";
        } else if (letter != ' ' && (is_one_of(white_space, next.code) || is_one_of(unprintable, next.code))) {
            result += escaped(next.code);
        } else {
            result += text.substr(0, next.bytes);
        }
        text.remove_prefix(next.bytes);
    }
    return result + quote;
}

}  // namespace espnet
