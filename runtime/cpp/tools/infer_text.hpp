#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include <espnet/network.hpp>
#include <nlohmann/json.hpp>

#include "ordered_json.hpp"

namespace espnet::tools {

/// The words of a language model in the order of their tokens (vocabulary.py).
struct Vocabulary {
    std::string path;
    std::vector<std::string> words;
    std::map<std::string, std::int64_t> tokens;
};

/// The vocabulary that was given, or the one that was exported with the network, beside which it lies.
///
/// Args:
///     recorded: `vocabulary` of the manifest; null where it was exported without.
///
/// Throws Error. input: there is none, it is not a vocabulary, or it has another number of words than the network;
/// check: the exported one was changed.
Vocabulary find_vocabulary(const std::string& engine, const NetworkInfo& network, const nlohmann::json& recorded,
                           const std::optional<std::string>& given);

/// Print the text and `words` more, always the most probable one; what --json says of it.
///
/// Throws Error (input): a word of the text is not in the vocabulary, or there is no word in it.
OrderedJson continue_text(Network& network, const Vocabulary& vocabulary, const std::string& text, std::int64_t words);

}  // namespace espnet::tools
