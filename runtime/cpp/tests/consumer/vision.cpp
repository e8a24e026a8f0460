#include "vision.hpp"

#include <espnet_embedded/network_onnx.hpp>

espnet::Network open_vision_network() {
    return espnet::Network::open(espnet::embedded::network_onnx);
}
