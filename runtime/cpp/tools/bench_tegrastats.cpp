#include "bench_tegrastats.hpp"

#include <algorithm>
#include <cstdlib>

#include "bench_json.hpp"

namespace espnet::bench {

namespace {

// A sensor without power: the highest negative number of its register.
constexpr double gated_c = -256;

bool is_blank(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

bool is_capital(char c) {
    return c >= 'A' && c <= 'Z';
}

bool is_letter(char c) {
    return is_capital(c) || (c >= 'a' && c <= 'z');
}

std::vector<std::string> words_in(const std::string& line) {
    std::vector<std::string> words;
    bool inside = false;
    for (const char c : line) {
        if (is_blank(c)) {
            inside = false;
        } else if (inside) {
            words.back() += c;
        } else {
            words.emplace_back(1, c);
            inside = true;
        }
    }
    return words;
}

/// Reads a word from the left; once something does not fit, nothing does.
class Scanner {
public:
    explicit Scanner(const std::string& word) : word_(word) {}

    void literal(const std::string& text) {
        fits_ = fits_ && word_.compare(at_, text.size(), text) == 0;
        at_ += fits_ ? text.size() : 0;
    }

    bool next_is(char c) const { return fits_ && at_ < word_.size() && word_[at_] == c; }

    /// Up to `most` digits, one at least.
    std::string digits(std::size_t most) {
        const std::size_t first = at_;
        while (fits_ && at_ < word_.size() && at_ - first < most && is_digit(word_[at_])) {
            ++at_;
        }
        fits_ = fits_ && at_ > first;
        return word_.substr(first, at_ - first);
    }

    std::int64_t signed_number(std::size_t most_digits) {
        const bool negative = next_is('-');
        at_ += negative ? 1 : 0;
        const std::int64_t value = std::atoll(digits(most_digits).c_str());
        return negative ? -value : value;
    }

    /// 34.843 or -256.
    double degrees() {
        const std::size_t first = at_;
        at_ += next_is('-') ? 1 : 0;
        digits(3);
        if (next_is('.')) {
            ++at_;
            digits(4);
        }
        return std::strtod(word_.substr(first, at_ - first).c_str(), nullptr);
    }

    /// Letters, digits and underscores, one at least.
    std::string name(std::size_t most) {
        const std::size_t first = at_;
        while (fits_ && at_ < word_.size() && at_ - first < most &&
               (is_letter(word_[at_]) || is_digit(word_[at_]) || word_[at_] == '_')) {
            ++at_;
        }
        fits_ = fits_ && at_ > first;
        return word_.substr(first, at_ - first);
    }

    bool fits() const { return fits_; }
    bool fits_wholly() const { return fits_ && at_ == word_.size(); }

private:
    const std::string& word_;
    std::size_t at_ = 0;
    bool fits_ = true;
};

struct Temperature {
    std::string name;
    double now_c = 0;
    bool has_peak = false;
};

std::optional<Temperature> temperature_in(const std::string& word) {
    Scanner scanner(word);
    Temperature found;
    found.name = scanner.name(32);
    scanner.literal("@");
    found.now_c = scanner.degrees();
    scanner.literal("C");
    if (scanner.next_is('/')) {
        scanner.literal("/");
        scanner.degrees();
        scanner.literal("C");
        found.has_peak = true;
    }
    return scanner.fits_wholly() ? std::make_optional(found) : std::nullopt;
}

/// 2344/7852MB, behind RAM.
bool is_ram(const std::string& word) {
    Scanner scanner(word);
    scanner.digits(9);
    scanner.literal("/");
    scanner.digits(9);
    scanner.literal("MB");
    return scanner.fits_wholly();
}

bool is_rail_name(const std::string& word, bool with_unit) {
    const bool begins = with_unit ? is_letter(word[0]) : is_capital(word[0]);
    return begins && word.size() <= 64 && std::all_of(word.begin(), word.end(), [&](char c) {
               return is_digit(c) || c == '_' || (with_unit ? is_letter(c) : is_capital(c));
           });
}

std::optional<RailPower> power_in(const std::string& word, bool with_unit) {
    const char* unit = with_unit ? "mW" : "";
    Scanner scanner(word);
    RailPower power;
    power.current_mw = scanner.signed_number(7);
    scanner.literal(unit);
    scanner.literal("/");
    power.average_mw = scanner.signed_number(7);
    scanner.literal(unit);
    if (with_unit && scanner.next_is('/')) {
        scanner.literal("/");
        power.peak_mw = scanner.signed_number(7);
        scanner.literal(unit);
    }
    return scanner.fits_wholly() ? std::make_optional(power) : std::nullopt;
}

using Rails = std::vector<std::pair<std::string, RailPower>>;

Rails rails_of_form(const std::vector<std::string>& words, std::size_t first, bool with_unit) {
    Rails rails;
    for (std::size_t i = first; i + 1 < words.size(); ++i) {
        if (!is_rail_name(words[i], with_unit)) {
            continue;
        }
        const auto power = power_in(words[i + 1], with_unit);
        // Followed by a number, one without a unit is broken in two.
        const bool broken = !with_unit && i + 2 < words.size() && is_digit(words[i + 2][0]);
        if (power && !broken) {
            rails.emplace_back(words[i], *power);
        }
    }
    return rails;
}

/// A line is of one form: all with units or none, all with peaks or none. `has_peaks`: whether its temperatures have.
Rails rails_in(const std::vector<std::string>& words, std::size_t first, bool has_peaks) {
    Rails rails = rails_of_form(words, first, true);
    if (rails.empty()) {
        rails = rails_of_form(words, first, false);
    }
    const auto remove = [&](const auto& is_unwanted) {
        rails.erase(std::remove_if(rails.begin(), rails.end(), is_unwanted), rails.end());
    };
    // a/b as well, once their unit is cut off.
    remove([](const auto& rail) { return rail.first == "RAM" || rail.first == "SWAP" || rail.first == "IRAM"; });
    const bool any_peak =
        std::any_of(rails.begin(), rails.end(), [](const auto& rail) { return rail.second.peak_mw.has_value(); });
    if (any_peak) {
        remove([](const auto& rail) { return !rail.second.peak_mw; });
    } else if (has_peaks && rails.size() == 1) {
        rails.clear();  // its own was cut off
    }
    return rails;
}

std::string small_letters(std::string text) {
    for (char& c : text) {
        c = is_capital(c) ? static_cast<char>(c - 'A' + 'a') : c;
    }
    return text;
}

/// PMIC is no measurement: it is always 50 or 100.
std::optional<double> hottest_of(const std::vector<Temperature>& temperatures) {
    std::map<std::string, double> now_c;
    for (const Temperature& temperature : temperatures) {
        now_c[small_letters(temperature.name)] = temperature.now_c;
    }
    std::optional<double> hottest;
    for (const auto& [name, value] : now_c) {
        if (name == "tj" && value != gated_c) {
            return value;
        }
        if (name != "pmic" && value != gated_c) {
            hottest = std::max(hottest.value_or(gated_c), value);
        }
    }
    return hottest;
}

}  // namespace

const RailPower* TegrastatsLine::find(const std::string& rail) const {
    const auto found = std::find_if(rails.begin(), rails.end(), [&](const auto& one) { return one.first == rail; });
    return found == rails.end() ? nullptr : &found->second;
}

TegrastatsLine parse_tegrastats(const std::string& line) {
    TegrastatsLine parsed;
    if (line.size() > max_tegrastats_line) {
        return parsed;
    }
    const std::vector<std::string> words = words_in(line);
    std::size_t first = 0;
    while (first + 1 < words.size() && !(words[first] == "RAM" && is_ram(words[first + 1]))) {
        ++first;
    }
    if (first + 1 >= words.size()) {
        return parsed;
    }
    parsed.is_tegrastats = true;
    std::vector<Temperature> temperatures;
    for (std::size_t i = first; i < words.size(); ++i) {
        if (const auto found = temperature_in(words[i])) {
            temperatures.push_back(*found);
        }
    }
    const bool has_peaks =
        std::any_of(temperatures.begin(), temperatures.end(), [](const Temperature& one) { return one.has_peak; });
    const Rails rails = rails_in(words, first, has_peaks);
    for (const auto& rail : rails) {
        const auto times =
            std::count_if(rails.begin(), rails.end(), [&](const auto& other) { return other.first == rail.first; });
        if (times > 1) {
            parsed.repeated.insert(rail.first);
        } else {
            parsed.rails.push_back(rail);
        }
    }
    parsed.hottest_c = hottest_of(temperatures);
    return parsed;
}

std::string rails_json(const TegrastatsLine& line) {
    std::string text;
    for (const auto& [name, power] : line.rails) {
        text += (text.empty() ? "" : ", ") + json::text(name) + ": [" + json::of(power.current_mw) + ", " +
                json::of(power.average_mw) + ", " + json::of(power.peak_mw) + "]";
    }
    return "{" + text + "}";
}

}  // namespace espnet::bench
