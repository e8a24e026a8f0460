// language_model lm.onnx 20 7 42: reads the tokens 7 and 42, then goes on for 20 tokens with the most probable one each
// time. A token is the number of a line of the vocabulary beside the file.
#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include <espnet/espnet.hpp>

int main(int count, char** arguments) {
    if (count < 4) {
        std::fprintf(stderr, "usage: %s lm.onnx number_of_tokens token...\n", arguments[0]);
        return 2;
    }
    try {
        espnet::Network net = espnet::Network::open(arguments[1]);
        espnet::Span<const float> logits;
        for (int index = 3; index < count; ++index) {
            logits = net.step(std::strtoll(arguments[index], nullptr, 10));
        }
        for (long left = std::strtol(arguments[2], nullptr, 10); left > 0; --left) {
            const auto token = std::max_element(logits.begin(), logits.end()) - logits.begin();
            std::printf("%lld\n", static_cast<long long>(token));
            logits = net.step(token);
        }
        return 0;
    } catch (const espnet::Error& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return static_cast<int>(error.code());
    }
}
