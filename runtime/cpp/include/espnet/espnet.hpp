#pragma once

// Everything of the C++ interface.
#include <espnet/error.hpp>
#include <espnet/image.hpp>
#include <espnet/network.hpp>
#include <espnet/span.hpp>
#include <espnet/tensor.hpp>
