#pragma once

#include <vector>

#include <espnet/image.hpp>

namespace espnet {

/// A label map at another size, each pixel from its nearest neighbour: the same as Pillow's NEAREST, whose positions
/// are added up step by step. Keeps its table.
class Nearest {
public:
    void run(const LabelView& from, const LabelView& to);

private:
    int from_width_ = 0;
    int to_width_ = 0;
    std::vector<int> columns_;  // -1: beyond the last, after rounding
};

}  // namespace espnet
