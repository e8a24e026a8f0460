#pragma once

#include <espnet/espnet.hpp>

espnet::Network open_vision_network();
