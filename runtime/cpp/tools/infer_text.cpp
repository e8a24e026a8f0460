#include "infer_text.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <espnet/error.hpp>

#include "arguments.hpp"
#include "artefact.hpp"
#include "infer_names.hpp"
#include "text.hpp"

namespace espnet::tools {

namespace fs = std::filesystem;
using nlohmann::json;

namespace {

constexpr std::size_t most_words = 65536;  // as many classes as a manifest may have
constexpr std::size_t most_bytes = std::size_t{8} << 20;
constexpr const char* end_of_sentence = "<eos>";
constexpr const char* unknown_word = "<unk>";

std::string shown(const std::string& word) {
    return quoted(first_characters(word, 40));
}

std::string text_of(const std::string& path) {
    return utf8_file(path, most_bytes, "a vocabulary has one word per line, in the order of training",
                     "a vocabulary has at most " + std::to_string(most_bytes) + "; check the path");
}

std::string sha256_of_text(const std::string& path) {
    // Of the bytes as they are, with the mark of their order.
    std::ifstream file(path, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    return sha256_of({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
}

std::vector<std::string> lines_of(std::string text) {
    if (!text.empty() && text.back() == '\n') {
        text.pop_back();
    }
    std::vector<std::string> lines;
    for (std::size_t begin = 0; begin <= text.size();) {
        const std::size_t end = std::min(text.find('\n', begin), text.size());
        lines.push_back(text.substr(begin, end - begin));
        begin = end + 1;
    }
    return lines;
}

Vocabulary read_vocabulary(const std::string& path) {
    Vocabulary vocabulary{path, lines_of(text_of(path)), {}};
    const auto wrong = [&](const std::string& problem) { return Error(ErrorCode::input, path + ": " + problem); };
    const std::size_t count = vocabulary.words.size();
    if (count < 2 || count > most_words) {
        throw wrong(std::to_string(count) + " lines, a vocabulary has 2 to " + std::to_string(most_words) +
                    " words; check the path");
    }
    for (std::size_t i = 0; i < count; ++i) {
        const std::string& word = vocabulary.words[i];
        if (words_of(word) != std::vector<std::string>{word}) {
            throw wrong("line " + std::to_string(i + 1) + " is " + shown(word) + "; give one word per line");
        }
        const auto [first, is_new] = vocabulary.tokens.emplace(word, i);
        if (!is_new) {
            throw wrong(shown(word) + " is on line " + std::to_string(first->second + 1) + " and on line " +
                        std::to_string(i + 1) + "; a word has one number");
        }
    }
    return vocabulary;
}

std::string exported_vocabulary(const std::string& engine, const json& recorded) {
    if (recorded.is_null()) {
        throw Error(ErrorCode::input, engine + ": was exported without a vocabulary; give the one it was trained " +
                                          "with: --vocabulary FILE");
    }
    // The name alone: a manifest from elsewhere must not lead out of its folder.
    const fs::path beside(engine);
    const std::string path = (beside.parent_path() / fs::path(recorded.at("name").get<std::string>()).filename());
    std::error_code ignored;
    if (!fs::is_regular_file(path, ignored)) {
        throw Error(ErrorCode::input, path + ": no such file; put it back beside " + beside.filename().string() +
                                          ", or give one with --vocabulary FILE");
    }
    const std::string expected = recorded.at("sha256").get<std::string>();
    static_cast<void>(text_of(path));  // bounds what is hashed
    const std::string actual = sha256_of_text(path);
    if (actual != expected) {
        throw Error(ErrorCode::check, path + ": sha256 " + actual.substr(0, 16) + "..., the manifest says " +
                                          expected.substr(0, 16) +
                                          "...; export again, or give the right one with --vocabulary FILE");
    }
    return path;
}

/// The tokens of a text; a line's end is <eos>, and a word that the vocabulary lacks is <unk>, and goes to `unknown`.
std::vector<std::int64_t> encoded(const Vocabulary& vocabulary, const std::string& text,
                                  std::vector<std::string>& unknown) {
    std::string on_one_line;
    const bool has_end = vocabulary.tokens.count(end_of_sentence) != 0;
    for (const char character : text) {
        on_one_line += character != '\n' ? std::string(1, character)
                       : has_end         ? std::string(" ") + end_of_sentence + " "
                                         : " ";
    }
    const auto stand_in = vocabulary.tokens.find(unknown_word);
    std::vector<std::int64_t> tokens;
    for (const std::string& word : words_of(on_one_line)) {
        auto found = vocabulary.tokens.find(word);
        if (found == vocabulary.tokens.end()) {
            unknown.push_back(word);
            found = stand_in;
        }
        if (found == vocabulary.tokens.end()) {
            throw Error(ErrorCode::input, quoted(word) + " is none of the " + std::to_string(vocabulary.words.size()) +
                                              " words of the vocabulary, which has no " + unknown_word +
                                              "; use words that it has (punctuation and capitals count)");
        }
        tokens.push_back(found->second);
    }
    return tokens;
}

std::vector<double> probabilities_of(Span<const float> logits) {
    const double highest = *std::max_element(logits.begin(), logits.end());
    std::vector<double> shares;
    double sum = 0;
    for (const float logit : logits) {
        shares.push_back(std::exp(static_cast<double>(logit) - highest));
        sum += shares.back();
    }
    for (double& share : shares) {
        share /= sum;
    }
    return shares;
}

/// The most probable word but <unk>, which stands for words that nobody can read; the lowest token on a tie.
std::int64_t chosen(const std::vector<double>& probabilities, const Vocabulary& vocabulary) {
    std::vector<double> allowed = probabilities;
    const auto never = vocabulary.tokens.find(unknown_word);
    if (never != vocabulary.tokens.end()) {
        allowed[static_cast<std::size_t>(never->second)] = 0;
    }
    return std::max_element(allowed.begin(), allowed.end()) - allowed.begin();
}

std::vector<std::string> without_repeats(const std::vector<std::string>& words) {
    std::vector<std::string> unique;
    for (const std::string& word : words) {
        if (std::find(unique.begin(), unique.end(), word) == unique.end()) {
            unique.push_back(word);
        }
    }
    return unique;
}

}  // namespace

Vocabulary find_vocabulary(const std::string& engine, const NetworkInfo& network, const json& recorded,
                           const std::optional<std::string>& given) {
    Vocabulary vocabulary = read_vocabulary(given ? *given : exported_vocabulary(engine, recorded));
    if (vocabulary.words.size() != static_cast<std::size_t>(network.num_classes)) {
        throw Error(ErrorCode::input, vocabulary.path + ": " + std::to_string(vocabulary.words.size()) +
                                          " words, the network has " + std::to_string(network.num_classes) +
                                          "; give the vocabulary that it was trained with");
    }
    if (given && !recorded.is_null() && sha256_of_text(*given) != recorded.at("sha256").get<std::string>()) {
        note("espnet-infer", *given + ": is not " + recorded.at("name").get<std::string>() +
                                 " that was exported with the network; its words may be the wrong ones");
    }
    return vocabulary;
}

OrderedJson continue_text(Network& network, const Vocabulary& vocabulary, const std::string& text, std::int64_t words) {
    std::vector<std::string> unknown;
    const std::vector<std::int64_t> tokens = encoded(vocabulary, text, unknown);
    if (tokens.empty()) {
        throw Error(ErrorCode::input, "--text has no word; give at least one");
    }
    if (!unknown.empty()) {
        note("espnet-infer", std::string("not in the vocabulary, read as ") + unknown_word + ": " +
                                 joined(without_repeats(unknown), " "));
    }
    print(joined(words_of(text), " "));
    for (std::size_t i = 0; i + 1 < tokens.size(); ++i) {
        network.step(tokens[i]);
    }
    OrderedJson said = OrderedJson::array();
    bool at_line_start = false;
    std::int64_t token = tokens.back();
    for (std::int64_t i = 0; i < words; ++i) {
        stop_if_interrupted();
        const std::vector<double> probabilities = probabilities_of(network.step(token));
        token = chosen(probabilities, vocabulary);
        const std::string& word = vocabulary.words[static_cast<std::size_t>(token)];
        print(word == end_of_sentence ? "\n" : (at_line_start ? "" : " ") + word);
        at_line_start = word == end_of_sentence;
        said.push_back(
            {{"word", word}, {"token", token}, {"probability", probabilities[static_cast<std::size_t>(token)]}});
    }
    if (!at_line_start) {
        print("\n");
    }
    // The most probable word alone: what espnet-run calls temperature 0, where the other two do not matter.
    return {{"text", text}, {"unknown_words", unknown}, {"temperature", 0.0}, {"top", 1}, {"seed", 0}, {"words", said}};
}

}  // namespace espnet::tools
