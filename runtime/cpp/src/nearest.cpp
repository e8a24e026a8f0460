#include "nearest.hpp"

#include <cstring>

#include "views.hpp"

namespace espnet {

namespace {

/// The next position of an axis, or -1 where rounding has led beyond its end.
int position(double& at, double step, int size) {
    const int here = static_cast<int>(at);
    at += step;
    return here < size ? here : -1;
}

}  // namespace

void Nearest::run(const LabelView& from, const LabelView& to) {
    if (from_width_ != from.width || to_width_ != to.width) {
        columns_.resize(static_cast<std::size_t>(to.width));
        const double step = static_cast<double>(from.width) / to.width;
        double at = step * 0.5;
        for (int& column : columns_) {
            column = position(at, step, from.width);
        }
        from_width_ = from.width;
        to_width_ = to.width;
    }
    const double step = static_cast<double>(from.height) / to.height;
    double at = step * 0.5;
    for (int i = 0; i < to.height; ++i) {
        std::uint8_t* row = to.data + i * stride_of(to);
        const int source = position(at, step, from.height);
        if (source < 0) {
            std::memset(row, 0, static_cast<std::size_t>(to.width));
            continue;
        }
        const std::uint8_t* labels = from.data + source * stride_of(from);
        for (const int column : columns_) {
            *row++ = column < 0 ? std::uint8_t{0} : labels[column];
        }
    }
}

}  // namespace espnet
