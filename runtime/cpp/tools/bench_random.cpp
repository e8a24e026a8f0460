#include "bench_random.hpp"

#include <array>
#include <cmath>
#include <numeric>
#include <utility>

namespace espnet::bench {

namespace {

using Wide = unsigned __int128;

constexpr Wide multiplier = (Wide{2549297995355413924ULL} << 64) | 4865540595714422341ULL;
constexpr double two_pi = 6.283185307179586;

/// NumPy's SeedSequence: a pool of four words into which the seed is mixed, and words that are drawn from it.
class SeedSequence {
public:
    explicit SeedSequence(std::uint64_t seed) {
        const std::array<std::uint32_t, 4> entropy{static_cast<std::uint32_t>(seed),
                                                   static_cast<std::uint32_t>(seed >> 32), 0, 0};
        std::uint32_t constant = 0x43b0d7e5;
        for (std::size_t i = 0; i < pool_.size(); ++i) {
            pool_[i] = hashed(entropy[i], constant);
        }
        for (std::size_t from = 0; from < pool_.size(); ++from) {
            for (std::size_t to = 0; to < pool_.size(); ++to) {
                if (from != to) {
                    pool_[to] = mixed(pool_[to], hashed(pool_[from], constant));
                }
            }
        }
    }

    /// Four words of 64 bits.
    std::array<std::uint64_t, 4> state() const {
        std::array<std::uint64_t, 4> words{};
        std::uint32_t constant = 0x8b51f9dd;
        for (std::size_t i = 0; i < 2 * words.size(); ++i) {
            std::uint32_t value = pool_[i % pool_.size()] ^ constant;
            constant *= 0x58f38ded;
            value *= constant;
            value ^= value >> 16;
            words[i / 2] |= std::uint64_t{value} << (32 * (i % 2));
        }
        return words;
    }

private:
    static std::uint32_t hashed(std::uint32_t value, std::uint32_t& constant) {
        value ^= constant;
        constant *= 0x931e8875;
        value *= constant;
        return value ^ (value >> 16);
    }

    static std::uint32_t mixed(std::uint32_t x, std::uint32_t y) {
        const std::uint32_t result = 0xca01f9dd * x - 0x4973f715 * y;
        return result ^ (result >> 16);
    }

    std::array<std::uint32_t, 4> pool_{};
};

}  // namespace

Random::Random(std::uint64_t seed) {
    const std::array<std::uint64_t, 4> words = SeedSequence(seed).state();
    increment_ = (((Wide{words[2]} << 64) | words[3]) << 1) | 1;
    state_ = increment_ + ((Wide{words[0]} << 64) | words[1]);
    state_ = state_ * multiplier + increment_;
}

std::uint64_t Random::next_64() {
    state_ = state_ * multiplier + increment_;
    const auto folded = static_cast<std::uint64_t>(state_ >> 64) ^ static_cast<std::uint64_t>(state_);
    const auto turn = static_cast<unsigned>(state_ >> 122);
    return (folded >> turn) | (folded << (-turn & 63U));
}

std::uint32_t Random::next_32() {
    if (has_spare_) {
        has_spare_ = false;
        return spare_;
    }
    const std::uint64_t both = next_64();
    has_spare_ = true;
    spare_ = static_cast<std::uint32_t>(both >> 32);
    return static_cast<std::uint32_t>(both);
}

std::uint32_t Random::below(std::uint32_t bound) {
    // Lemire (2019), "Fast random integer generation in an interval". Of a single number nothing is drawn.
    if (bound <= 1) {
        return 0;
    }
    std::uint64_t product = std::uint64_t{next_32()} * bound;
    if (static_cast<std::uint32_t>(product) < bound) {
        const std::uint32_t threshold = (0U - bound) % bound;
        while (static_cast<std::uint32_t>(product) < threshold) {
            product = std::uint64_t{next_32()} * bound;
        }
    }
    return static_cast<std::uint32_t>(product >> 32);
}

std::vector<std::size_t> Random::permutation(std::size_t size) {
    std::vector<std::size_t> order(size);
    std::iota(order.begin(), order.end(), std::size_t{0});
    for (std::size_t last = size; last-- > 1;) {
        // Numbers of as many bits as needed until one is small enough.
        std::uint32_t mask = static_cast<std::uint32_t>(last);
        for (const unsigned shift : {1U, 2U, 4U, 8U, 16U}) {
            mask |= mask >> shift;
        }
        std::uint32_t chosen = next_32() & mask;
        while (chosen > last) {
            chosen = next_32() & mask;
        }
        std::swap(order[last], order[chosen]);
    }
    return order;
}

double Random::normal() {
    const double radius = (static_cast<double>(next_64() >> 11) + 1) * 0x1p-53;
    const double turn = static_cast<double>(next_64() >> 11) * 0x1p-53;
    return std::sqrt(-2 * std::log(radius)) * std::cos(two_pi * turn);
}

}  // namespace espnet::bench
