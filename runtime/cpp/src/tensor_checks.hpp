#pragma once

#include <string>
#include <vector>

#include <espnet/network.hpp>
#include <espnet/span.hpp>
#include <espnet/tensor.hpp>

namespace espnet {

/// Images or texts at once, at most: more would overflow sizes before it ran out of memory.
constexpr int max_batch = 65536;

/// The batch of what the caller feeds, after comparing names, dtypes and shapes with what the network takes. The texts
/// are those of `checked_feeds` in runtime/runner.py.
///
/// Throws Error (input): something does not fit; the message has the name, what was given and what `source` takes.
int check_inputs(Span<const ConstTensorView> given, const std::vector<TensorInfo>& inputs, const NetworkInfo& info,
                 const std::string& source);

/// The same for where outputs are to go, of a network that computes for `batch`.
void check_outputs(Span<const TensorView> given, const std::vector<TensorInfo>& outputs, int batch,
                   const std::string& source);

/// "float32 (1,3,224,224)"; a free size is "batch", as in manifests.
std::string text_of(DType dtype, const Shape& shape);

/// Whether there is neither an infinity nor a NaN.
bool all_finite(Span<const float> values) noexcept;

}  // namespace espnet
