#include <algorithm>
#include <cmath>

#include <espnet/network.hpp>

namespace espnet {

void softmax(Span<const float> logits, float* probabilities) {
    if (logits.empty()) {
        return;
    }
    const double highest = *std::max_element(logits.begin(), logits.end());
    // The highest becomes 0, so that no exponential overflows. Twice the exponentials, and no memory for them.
    double total = 0;
    for (const float logit : logits) {
        total += std::exp(static_cast<double>(logit) - highest);
    }
    for (std::size_t i = 0; i < logits.size(); ++i) {
        probabilities[i] = static_cast<float>(std::exp(static_cast<double>(logits[i]) - highest) / total);
    }
}

}  // namespace espnet
