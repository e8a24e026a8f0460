#include <doctest/doctest.h>

#include <espnet/error.hpp>

#include "backend.hpp"
#include "cuda_driver.hpp"
#include "shim.hpp"

using namespace espnet;

// This program does not see the driver's stand-in; on a machine with a driver there is nothing to test.
TEST_CASE("Without a driver no object of TensorRT is made, and the message says what was probed") {
    const CudaProbe probe = probe_cuda();
    if (probe.device) {
        MESSAGE("skipped: this machine has a driver and the GPU " << *probe.device);
        return;
    }
    CHECK_FALSE(probe.reason.empty());
    const std::vector<std::uint8_t> bytes = shim::plan({});
    Artefact artefact;
    artefact.path = "models/seg.trt";
    artefact.bytes = bytes;
    std::string said;
    try {
        open_tensorrt(artefact, {});
    } catch (const Error& error) {
        CHECK(error.code() == ErrorCode::unavailable);
        said = error.what();
    }
    CHECK(said == "models/seg.trt: an engine runs on a GPU (probed: " + probe.reason +
                      "; tensorrt is built in); run the ONNX file that it was built from, espnet-export writes both");
    CHECK(shim::calls("createInferRuntime") == 0);
}
