#pragma once

#include <cstdint>
#include <vector>

namespace espnet::bench {

/// The numbers of NumPy's `default_rng(seed)`: PCG64 (O'Neill 2014, XSL-RR 128/64) seeded by a SeedSequence. So a seed
/// gives the same order of the blocks, and the same resamples, as in the Python package.
class Random {
public:
    explicit Random(std::uint64_t seed);

    std::uint64_t next_64();

    /// Half of a 64-bit number, the lower half first.
    std::uint32_t next_32();

    /// `integers(0, bound)`: below `bound`, which is 1 at least.
    std::uint32_t below(std::uint32_t bound);

    /// `permutation(size)`: the numbers from 0 on in a random order.
    std::vector<std::size_t> permutation(std::size_t size);

    /// A number from N(0, 1), by Box and Muller; not NumPy's.
    double normal();

private:
    unsigned __int128 state_ = 0;
    unsigned __int128 increment_ = 0;
    std::uint32_t spare_ = 0;
    bool has_spare_ = false;
};

}  // namespace espnet::bench
